import CKernels
import TensorCore

extension Tape {
    /// y = weight * x / sqrt(mean(x^2) + epsilon) for each row of x [tokens, width] F32; y in the computation's type.
    /// (Zhang and Sennrich, "Root Mean Square Layer Normalization", arXiv 1910.07467.)
    ///
    /// Backward: dx += (weight * dy - x_hat mean(weight * dy * x_hat)) / rms, x_hat = x / rms; the weight [width], F32,
    /// is frozen.
    package func rmsNorm(_ x: Variable, weight: Tensor, epsilon: Float) -> Variable {
        let context = context
        let width = x.value.columns
        let y = Variable(context.tensor(x.value.shape), needsGradient: x.needsGradient)
        let inverse = context.tensor([x.value.rows], .f32)
        let code = y.value.dtype.kernelCode
        context.parallel(x.value.rows, grain: 8) { rows in
            tspeft_rmsnorm_forward(
                x.value.floats + rows.lowerBound * width, weight.floats, epsilon,
                y.value.address + rows.lowerBound * y.value.rowByteCount, code, inverse.floats + rows.lowerBound,
                rows.count, width)
        }
        guard x.needsGradient else { return y }
        record {
            guard let dy = y.takeGradient() else { return }
            x.addGradient(context) { dx, accumulates in
                if !accumulates { dx.clear() }
                context.parallel(dy.rows, grain: 8) { rows in
                    tspeft_rmsnorm_backward(
                        x.value.floats + rows.lowerBound * width, weight.floats, inverse.floats + rows.lowerBound,
                        dy.address + rows.lowerBound * dy.rowByteCount, code, dx.floats + rows.lowerBound * width,
                        rows.count, width)
                }
            }
        }
        return y
    }
}
