import CKernels
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

/// The numbers of one AdamW step; see `ComputeContext.adamW`.
package struct AdamWStep: Sendable {
    /// What all steps share.
    package var settings: AdamWSettings
    /// The learning rate.
    package var rate: Double
    /// A factor on the gradients, for clipping.
    package var gradientScale: Double
    /// 1 - beta1^k at the k-th step.
    package var correction1: Double
    /// 1 - beta2^k.
    package var correction2: Double

    /// Numbers as given.
    package init(
        _ settings: AdamWSettings, rate: Double, gradientScale: Double, correction1: Double, correction2: Double
    ) {
        self.settings = settings
        self.rate = rate
        self.gradientScale = gradientScale
        self.correction1 = correction1
        self.correction2 = correction2
    }
}

extension ComputeContext {
    /// One step of AdamW (Loshchilov and Hutter, "Decoupled Weight Decay Regularization", arXiv 1711.05101, in the
    /// order of PyTorch) on some elements, row-major, of a parameter p and its moments m and v, with g = gradientScale
    /// gradient:
    ///
    ///     p -= rate weightDecay p;   m = beta1 m + (1 - beta1) g;   v = beta2 v + (1 - beta2) g^2
    ///     p -= rate (m / correction1) / (sqrt(v / correction2) + epsilon)
    ///
    /// All F32 and of one shape. Runs on the calling thread, so that parts can be shared out by `parallelItems`.
    package func adamW(
        _ parameter: Tensor, gradient: Tensor, mean: Tensor, meanSquare: Tensor, elements: Range<Int>, _ step: AdamWStep
    ) {
        for tensor in [gradient, mean, meanSquare] { precondition(tensor.shape == parameter.shape) }
        precondition(elements.lowerBound >= 0 && elements.upperBound <= parameter.count)
        let (start, settings) = (elements.lowerBound, step.settings)
        var numbers = tspeft_adamw_step(
            gradient_scale: Float(step.gradientScale), lr: Float(step.rate), beta1: settings.beta1,
            beta2: settings.beta2, eps: Float(settings.epsilon), decay: Float(settings.weightDecay),
            correction1: Float(step.correction1), correction2: Float(step.correction2))
        tspeft_adamw(
            parameter.floats + start, gradient.floats + start, mean.floats + start, meanSquare.floats + start,
            elements.count, &numbers)
    }

    /// The sum of the squares of some elements, row-major, of an F32 tensor, in double precision, on the calling
    /// thread.
    package func sumOfSquares(_ x: Tensor, elements: Range<Int>) -> Double {
        precondition(elements.lowerBound >= 0 && elements.upperBound <= x.count)
        return tspeft_sum_squares(x.floats + elements.lowerBound, elements.count)
    }
}
