import TensorCore

/// A frozen weight [outputSize, inputSize] with an optional bias. There is one copy, read by the forward and the backward
/// pass alike, and never a gradient of it.
package final class FrozenLinear {
    /// [outputSize, inputSize].
    package let matrix: any FrozenMatrix
    /// [outputSize], F32.
    package let bias: Tensor?
    /// Results z become c tanh(z / c) with this c where the layer is an output head; nil for results as they are.
    package let softcap: Float?
    /// Width of the result.
    package var outputSize: Int { matrix.outputSize }
    /// Width of the input.
    package var inputSize: Int { matrix.inputSize }

    /// A layer over `matrix` and `bias`.
    package init(_ matrix: any FrozenMatrix, bias: Tensor? = nil, softcap: Float? = nil) {
        self.softcap = softcap
        precondition(bias.map { $0.count == matrix.outputSize && $0.dtype == .f32 } ?? true)
        self.matrix = matrix
        self.bias = bias
    }

    /// A layer over a weight in a tensor.
    package convenience init(weight: Tensor, bias: Tensor? = nil, softcap: Float? = nil) {
        self.init(DenseMatrix(weight), bias: bias, softcap: softcap)
    }
}

extension Tape {
    /// y = x W' + b for x [tokens, inputSize]; y [tokens, outputSize] in the input's type.
    ///
    /// Backward: dx += dy W.
    package func linear(_ x: Variable, _ layer: FrozenLinear) -> Variable {
        let context = context
        precondition(layer.softcap == nil, "only losses and logits cap their scores")
        let y = Variable(
            context.tensor([x.value.rows, layer.outputSize], x.value.dtype), needsGradient: x.needsGradient)
        layer.matrix.multiply(x.value, bias: layer.bias, into: y.value, context.products)
        guard x.needsGradient else { return y }
        let (xSum, ySum) = (x.gradientSum, y.gradientSum)
        record {
            guard let dy = ySum.take() else { return }
            xSum.add(context) { dx, accumulates in
                layer.matrix.multiplyTransposed(dy, into: dx, accumulates: accumulates, context.products)
            }
        }
        return y
    }
}
