import CKernels
import TensorCore

extension Tape {
    /// y = weight * (x - mean(x)) / sqrt(mean((x - mean(x))^2) + epsilon) + bias for each row of x [rows, width], F32 or
    /// BF16 (Ba, Kiros and Hinton, "Layer Normalization", arXiv 1607.06450); y of the type `dtype`, the computation's
    /// where it is nil. Weight and bias, [width] F32, are frozen; without a bias nothing is added.
    ///
    /// Backward, with x_hat = (x - mean) / deviation and g = weight * dy: dx += (g - mean(g) - x_hat mean(g * x_hat)) /
    /// deviation.
    package func layerNorm(
        _ x: Variable, weight: Tensor, bias: Tensor?, epsilon: Float, in dtype: DType? = nil
    ) -> Variable {
        let context = context
        let value = x.value
        let width = value.columns
        precondition(weight.count == width && bias.map { $0.count == width } ?? true)
        let y = Variable(context.tensor(value.shape, dtype), needsGradient: x.needsGradient)
        let means = context.tensor([value.rows], .f32)
        let inverse = context.tensor([value.rows], .f32)
        let (valueCode, code) = (value.dtype.kernelCode, y.value.dtype.kernelCode)
        let output = y.value
        context.parallelRows(value, output, grain: 8) { row, count in
            var norm = tspeft_layernorm(weight: weight.floats, bias: bias?.floats, eps: epsilon)
            tspeft_layernorm_forward(
                value.place(row), valueCode, &norm, output.place(row), code, means.floats + row, inverse.floats + row,
                count, width)
        }
        withExtendedLifetime((weight, bias)) {}
        guard x.needsGradient else { return y }
        let (xSum, ySum) = (x.gradientSum, y.gradientSum)
        record {
            guard let dy = ySum.take() else { return }
            xSum.add(context) { dx, accumulates in
                if !accumulates { dx.clear() }
                context.parallelRows(value, dy, dx, grain: 8) { row, count in
                    tspeft_layernorm_backward(
                        value.place(row), valueCode, weight.floats, means.floats + row, inverse.floats + row,
                        dy.place(row), code, dx.place(row), count, width)
                }
                withExtendedLifetime((weight, means, inverse)) {}
            }
        }
        return y
    }
}
