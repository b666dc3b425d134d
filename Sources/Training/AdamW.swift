import Adapters
import CKernels
import Compute
import TensorCore

/// The settings of AdamW.
package struct AdamWSettings: Sendable, Equatable {
    /// Decay of the mean of the gradient.
    package var beta1: Double
    /// Decay of the mean of its square.
    package var beta2: Double
    /// Added to the root of the mean square.
    package var epsilon: Double
    /// Decoupled weight decay, a factor on the learning rate.
    package var weightDecay: Double

    /// Settings; the defaults are PyTorch's but for no weight decay.
    package init(beta1: Double = 0.9, beta2: Double = 0.999, epsilon: Double = 1e-8, weightDecay: Double = 0) {
        self.beta1 = beta1
        self.beta2 = beta2
        self.epsilon = epsilon
        self.weightDecay = weightDecay
    }
}

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

    /// An optimizer with moments of zero.
    package init(_ parameters: [AdapterParameter], _ settings: AdamWSettings, _ context: ComputeContext) {
        self.settings = settings
        self.context = context
        stepCount = 0
        slots = parameters.map {
            ($0, context.zeros($0.value.shape, .f32), context.zeros($0.value.shape, .f32))
        }
    }

    /// Takes up the count of steps of an earlier run; the moments are written into `slots`.
    package func resume(atStep count: Int) {
        stepCount = count
    }

    /// The Euclidean norm of all gradients together.
    package func gradientNorm() -> Double {
        var sums = [Double](repeating: 0, count: slots.count)
        sums.withUnsafeMutableBufferPointer { sums in
            context.parallelItems(slots.count) { item, _ in
                let gradient = slots[item].parameter.gradient
                sums[item] = tspeft_sum_squares(gradient.floats, gradient.count)
            }
        }
        return sums.reduce(0, +).squareRoot()
    }

    /// One step with the learning rate `rate`; gradients are multiplied by `gradientScale` first (clipping).
    package func step(rate: Double, gradientScale: Double) {
        stepCount += 1
        let correction1 = 1 - power(settings.beta1, stepCount)
        let correction2 = 1 - power(settings.beta2, stepCount)
        context.parallelItems(slots.count) { item, _ in
            let slot = slots[item]
            tspeft_adamw(
                slot.parameter.value.floats, slot.parameter.gradient.floats, slot.mean.floats, slot.meanSquare.floats,
                slot.parameter.value.count, Float(gradientScale), Float(rate), settings.beta1, settings.beta2,
                Float(settings.epsilon), Float(settings.weightDecay), Float(correction1),
                Float(correction2))
        }
    }
}
