import Compute
import TensorCore

/// x / sqrt(mean(x^2) + epsilon) * weight over rows (Zhang and Sennrich, arXiv 1910.07467), with a frozen weight.
struct RMSNorm {
    /// [width], F32.
    let weight: Tensor
    /// What is added to the mean square.
    let epsilon: Float

    /// The rows of x [tokens, width], normalised, in the computation's type.
    func forward(_ x: Variable, on tape: Tape) -> Variable { tape.rmsNorm(x, weight: weight, epsilon: epsilon) }

    /// Each head of x [tokens, heads * width], normalised by itself.
    func forward(heads x: Variable, on tape: Tape) -> Variable {
        let heads = x.reshaped([x.value.count / weight.count, weight.count])
        return forward(heads, on: tape).reshaped(x.value.shape)
    }
}
