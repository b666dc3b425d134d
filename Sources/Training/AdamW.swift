import Adapters
import Compute
import TensorCore

/// AdamW (Loshchilov and Hutter, "Decoupled Weight Decay Regularization", arXiv 1711.05101) over adapter parameters, in
/// F32.
///
/// Owns two moments a parameter.
package final class AdamW {
    /// Its settings.
    package let settings: AdamWSettings
    /// Steps taken.
    package private(set) var stepCount: Int
    /// What is trained, and its moments of the same shape.
    package let slots: [(parameter: AdapterParameter, mean: Tensor, meanSquare: Tensor)]
    private let context: ComputeContext
    /// The parts that threads take: a whole layer's weight is far larger than an adapter's tensors.
    private let parts: [(slot: Int, range: Range<Int>)]

    /// An optimizer with moments of zero.
    ///
    /// - Parameter partSize: elements of a part at most; a multiple of 64, and so of every vector's length, so that the
    ///   cut changes no bit of a step.
    package init(
        _ parameters: [AdapterParameter], _ settings: AdamWSettings, _ context: ComputeContext, partSize: Int = 1 << 22
    ) {
        precondition(partSize % 64 == 0)
        self.settings = settings
        self.context = context
        stepCount = 0
        slots = parameters.map {
            ($0, context.zeros($0.value.shape, .f32), context.zeros($0.value.shape, .f32))
        }
        parts = parameters.enumerated().flatMap { slot, parameter in
            let count = parameter.value.count
            return stride(from: 0, to: count, by: partSize).map {
                (slot, $0..<min(count, $0 + partSize))
            }
        }
    }

    /// Takes up the count of steps of an earlier run; the moments are written into `slots`.
    package func resume(atStep count: Int) {
        stepCount = count
    }

    /// The Euclidean norm of all gradients together.
    package func gradientNorm() -> Double {
        var sums = [Double](repeating: 0, count: parts.count)
        sums.withUnsafeMutableBufferPointer { sums in
            context.parallelItems(parts.count) { item, _ in
                let (slot, range) = parts[item]
                sums[item] = context.sumOfSquares(slots[slot].parameter.gradient, elements: range)
            }
        }
        return sums.reduce(0, +).squareRoot()
    }

    /// One step with the learning rate `rate`; gradients are multiplied by `gradientScale` first (clipping).
    package func step(rate: Double, gradientScale: Double) {
        stepCount += 1
        let step = AdamWStep(
            settings, rate: rate, gradientScale: gradientScale, correction1: 1 - power(settings.beta1, stepCount),
            correction2: 1 - power(settings.beta2, stepCount))
        context.parallelItems(parts.count) { item, _ in
            let (index, range) = parts[item]
            let slot = slots[index]
            context.adamW(
                slot.parameter.value, gradient: slot.parameter.gradient, mean: slot.mean, meanSquare: slot.meanSquare,
                elements: range, step)
        }
    }
}
