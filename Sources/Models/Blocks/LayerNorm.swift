import Compute
import TensorCore

/// A norm of rows.
protocol Norm {
    /// The rows of x [tokens, width], normalised, in the computation's type.
    func forward(_ x: Variable, on tape: Tape) -> Variable
}

extension RMSNorm: Norm {}

/// weight * (x - mean) / sqrt(variance + epsilon) + bias over rows (Ba, Kiros and Hinton, arXiv 1607.06450), with frozen
/// weight and bias.
struct LayerNorm: Norm {
    /// [width], F32.
    let weight: Tensor
    /// [width], F32; nil where nothing is added.
    let bias: Tensor?
    /// What is added to the variance.
    let epsilon: Float

    func forward(_ x: Variable, on tape: Tape) -> Variable { forward(x, on: tape, in: nil) }

    /// The same in `dtype`, the computation's type where it is nil.
    func forward(_ x: Variable, on tape: Tape, in dtype: DType?) -> Variable {
        tape.layerNorm(x, weight: weight, bias: bias, epsilon: epsilon, in: dtype)
    }
}
