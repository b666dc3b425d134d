import TensorCore

/// A frozen weight [outputSize, inputSize] with an optional bias, in the type of the computation. There is one copy,
/// read by the forward and the backward pass alike, and never a gradient of it.
package final class FrozenLinear {
    /// [outputSize, inputSize].
    package let weight: Tensor
    /// [outputSize], F32.
    package let bias: Tensor?
    /// Width of the result.
    package var outputSize: Int { weight.rows }
    /// Width of the input.
    package var inputSize: Int { weight.columns }

    /// A layer over `weight` and `bias`.
    package init(weight: Tensor, bias: Tensor? = nil) {
        precondition(bias.map { $0.count == weight.rows && $0.dtype == .f32 } ?? true)
        self.weight = weight
        self.bias = bias
    }
}

extension Tape {
    /// y = x W' + b for x [tokens, inputSize]; y [tokens, outputSize] in the input's type.
    ///
    /// Backward: dx += dy W.
    package func linear(_ x: Variable, _ layer: FrozenLinear) -> Variable {
        let context = context
        let y = Variable(
            context.tensor([x.value.rows, layer.outputSize], x.value.dtype), needsGradient: x.needsGradient)
        context.products.multiplyRows(
            x.value, layer.weight, .transposed, bias: layer.bias, into: y.value, n: layer.outputSize,
            k: layer.inputSize)
        guard x.needsGradient else { return y }
        let (xSum, ySum) = (x.gradientSum, y.gradientSum)
        record {
            guard let dy = ySum.take() else { return }
            xSum.add(context) { dx, accumulates in
                context.products.multiplyRows(
                    dy, layer.weight, .plain, into: dx, n: layer.inputSize, k: layer.outputSize,
                    accumulates: accumulates)
            }
        }
        return y
    }
}
