import Compute
import TensorCore
import TestSupport
import Testing

/// The sums and steps that optimizers and statistics take, on parts of tensors.
@Suite struct OptimizerOperationTests {
    private let context = ComputeContext(dtype: .f32, threadCount: 1)

    private func tensor(_ shape: [Int], _ values: [Float]) -> Tensor {
        let tensor = context.tensor(shape)
        tensor.copy(from: values)
        return tensor
    }

    @Test func outerProductsAreAddedWithTheirWeights() {
        let rows = tensor([2, 2], [1, 2, 3, -1])
        var sums: [Double] = [100, 0, 0, 0]
        rows.addOuterProducts(weights: nil, to: &sums)
        #expect(sums == [110, -1, -1, 5])
        rows.addOuterProducts(weights: [0, 2], to: &sums)
        #expect(sums == [128, -7, -7, 7])
    }

    @Test func sumOfSquaresIsOfTheElementsThatAreAskedFor() {
        let x = tensor([2, 3], [1, 2, 3, 4, 5, 6])
        #expect(context.sumOfSquares(x, elements: 0..<6) == 91)
        #expect(context.sumOfSquares(x, elements: 2..<4) == 25)
        #expect(context.sumOfSquares(x, elements: 3..<3) == 0)
    }

    /// The first step is one of the rate against the gradient's sign, whatever its size.
    @Test func stepMovesTheElementsThatAreAskedFor() {
        let parameter = tensor([2, 2], [1, 1, 1, 1])
        let gradient = tensor([2, 2], [4, -4, 4, 4])
        let mean = context.zeros([2, 2])
        let meanSquare = context.zeros([2, 2])
        context.adamW(
            parameter, gradient: gradient, mean: mean, meanSquare: meanSquare, elements: 1..<3,
            AdamWStep(
                AdamWSettings(beta1: 0.5, beta2: 0.75, epsilon: 0, weightDecay: 0), rate: 0.25, gradientScale: 0.5,
                correction1: 0.5, correction2: 0.25))
        #expect(parameter.toArray() == [1, 1.25, 0.75, 1])
        #expect(mean.toArray() == [0, -1, 1, 0] && meanSquare.toArray() == [0, 1, 1, 0])
    }
}
