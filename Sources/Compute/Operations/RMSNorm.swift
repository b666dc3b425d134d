import CKernels
import TensorCore

extension Tape {
    /// y = weight * x / sqrt(mean(x^2) + epsilon) for each row of x [rows, width], F32 or BF16; y in the computation's
    /// type. (Zhang and Sennrich, "Root Mean Square Layer Normalization", arXiv 1910.07467.) A norm by heads is one of
    /// `x.reshaped([tokens * heads, headSize])`.
    ///
    /// Backward: dx += (weight * dy - x_hat mean(weight * dy * x_hat)) / rms, x_hat = x / rms; the weight [width], F32,
    /// is frozen.
    package func rmsNorm(_ x: Variable, weight: Tensor, epsilon: Float) -> Variable {
        let context = context
        let value = x.value
        let width = value.columns
        precondition(weight.count == width)
        let y = Variable(context.tensor(value.shape), needsGradient: x.needsGradient)
        let inverse = context.tensor([value.rows], .f32)
        let (valueCode, code) = (value.dtype.kernelCode, y.value.dtype.kernelCode)
        let output = y.value
        context.parallelRows(value, output, grain: 8) { row, count in
            tspeft_rmsnorm_forward(
                value.place(row), valueCode, weight.floats, epsilon, output.place(row), code, inverse.floats + row,
                count, width)
        }
        guard x.needsGradient else { return y }
        let (xSum, ySum) = (x.gradientSum, y.gradientSum)
        record {
            guard let dy = ySum.take() else { return }
            xSum.add(context) { dx, accumulates in
                if !accumulates { dx.clear() }
                context.parallelRows(value, dy, dx, grain: 8) { row, count in
                    tspeft_rmsnorm_backward(
                        value.place(row), valueCode, weight.floats, inverse.floats + row, dy.place(row), code,
                        dx.place(row), count, width)
                }
            }
        }
        return y
    }
}
