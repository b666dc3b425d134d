import CKernels
import TensorCore

/// The non-linearity of a feed-forward network or a head.
package enum HiddenActivation: Sendable, CaseIterable {
    /// Hyperbolic tangent.
    case tanh
    /// max(x, 0).
    case relu
    /// x / (1 + exp(-x)).
    case silu
    /// x Phi(x) with the normal distribution's Phi (Hendrycks and Gimpel, arXiv 1606.08415).
    case gelu
    /// Its approximation x / (1 + exp(-2 sqrt(2/pi) (x + 0.044715 x^3))), the form with tanh.
    case geluTanh
    /// x / (1 + exp(-1.702 x)).
    case quickGelu

    fileprivate var kernelCode: Int32 {
        switch self {
        case .tanh: Int32(TSPEFT_TANH)
        case .relu: Int32(TSPEFT_RELU)
        case .silu: Int32(TSPEFT_SILU)
        case .gelu: Int32(TSPEFT_GELU)
        case .geluTanh: Int32(TSPEFT_GELU_TANH)
        case .quickGelu: Int32(TSPEFT_QUICK_GELU)
        }
    }
}

extension Tape {
    /// f(x), elementwise, of x's shape and type; f(x) * factor where there is one, of the same shape and type.
    ///
    /// Backward: dx += dout factor f'(x), dfactor += dout f(x).
    package func activated(
        _ x: Variable, _ activation: HiddenActivation, times factor: Variable? = nil
    ) -> Variable {
        let context = context
        let (value, factorValue) = (x.value, factor?.value)
        precondition(factorValue.map { $0.shape == value.shape && $0.dtype == value.dtype } ?? true)
        let needsGradient = x.needsGradient || factor?.needsGradient ?? false
        let out = Variable(context.tensor(value.shape, value.dtype), needsGradient: needsGradient)
        let (kind, code, output) = (activation.kernelCode, value.dtype.kernelCode, out.value)
        context.parallelRuns(value, factorValue ?? value, output, grain: 2048) { row, column, count in
            tspeft_activation_forward(
                kind, value.place(row, column), factorValue?.place(row, column), output.place(row, column), code,
                count)
        }
        guard needsGradient else { return out }
        let outSum = out.gradientSum
        let xSum = x.needsGradient ? x.gradientSum : nil
        let factorSum = factor.flatMap { $0.needsGradient ? $0.gradientSum : nil }
        record {
            guard let dout = outSum.take() else { return }
            let dx = context.tensor(dout.shape, dout.dtype)
            let dfactor = factorValue.map { context.tensor($0.shape, $0.dtype) }
            context.parallelRuns(value, factorValue ?? value, dout, dx, dfactor ?? dx, grain: 2048) {
                row, column, count in
                tspeft_activation_backward(
                    kind, value.place(row, column), factorValue?.place(row, column), dout.place(row, column),
                    dx.place(row, column), dfactor?.place(row, column), code, count)
            }
            xSum?.add(context, giving: dx)
            if let dfactor { factorSum?.add(context, giving: dfactor) }
        }
        return out
    }

    /// x with each element dropped with probability `rate`, the others multiplied by 1 / (1 - rate); of x's shape and
    /// type. The mask is that of `key`, by the element's place in x.
    ///
    /// Backward: dx += dout under the same mask.
    package func dropped(_ x: Variable, rate: Float, key: UInt64) -> Variable {
        let context = context
        let y = Variable(context.tensor(x.value.shape, x.value.dtype), needsGradient: x.needsGradient)
        context.dropout(x.value, into: y.value, key: key, rate: rate)
        guard x.needsGradient else { return y }
        let (xSum, ySum) = (x.gradientSum, y.gradientSum)
        record {
            guard let dy = ySum.take() else { return }
            context.dropout(dy, into: dy, key: key, rate: rate)
            xSum.add(context, giving: dy)
        }
        return y
    }
}
