/// How a threshold follows its gradient estimate.
package enum ThresholdUpdate: String, Sendable, CaseIterable {
    /// Equations 16 to 20 of arXiv 2511.16147: ascent with Adam's normalisation.
    case adam
    /// tau <- tau + alpha s g, the ablation of the paper's appendix A.2.
    case plain
}

/// The settings of threshold training, the same for every module of a run.
package struct ThresholdSettings: Sendable, Equatable {
    /// s, the size of a step of tau. The paper: 4e-5 for generation, 1e-4 for classification.
    package var stepSize: Double
    /// lambda, the reward of each active token, which pushes tau up and so tokens out. The paper: 1e-8 to 1e-3.
    package var lambda: Double
    /// Decay of the mean of g (equation 16).
    package var beta1: Double
    /// Decay of the mean of g squared (equation 17).
    package var beta2: Double
    /// Added to the root of the mean square; ours, the paper gives none.
    package var epsilon: Double
    /// The rule.
    package var update: ThresholdUpdate

    /// Settings; the defaults are the paper's for generation tasks, with LoRA's lambda.
    package init(
        stepSize: Double = 4e-5, lambda: Double = 4.5e-5, beta1: Double = 0.9, beta2: Double = 0.98,
        epsilon: Double = 1e-8, update: ThresholdUpdate = .adam
    ) {
        self.stepSize = stepSize
        self.lambda = lambda
        self.beta1 = beta1
        self.beta2 = beta2
        self.epsilon = epsilon
        self.update = update
    }
}

/// The state of one threshold's training; all of it that a resumed run needs.
package struct ThresholdOptimizer: Sendable, Equatable {
    /// m of equation 16.
    package var mean = 0.0
    /// v of equation 17.
    package var meanSquare = 0.0
    /// k, the updates so far.
    package var stepCount = 0

    /// The state before the first step.
    package init(mean: Double = 0, meanSquare: Double = 0, stepCount: Int = 0) {
        self.mean = mean
        self.meanSquare = meanSquare
        self.stepCount = stepCount
    }

    /// What to add to tau for the whole step's gradient estimate g (equation 15); `rate` is alpha_k.
    package mutating func step(_ g: Double, _ settings: ThresholdSettings, rate: Double = 1) -> Double {
        stepCount += 1
        mean = settings.beta1 * mean + (1 - settings.beta1) * g
        meanSquare = settings.beta2 * meanSquare + (1 - settings.beta2) * g * g
        switch settings.update {
        case .plain:
            return rate * settings.stepSize * g
        case .adam:
            let correctedMean = mean / (1 - power(settings.beta1, stepCount))
            let correctedSquare = meanSquare / (1 - power(settings.beta2, stepCount))
            return rate * settings.stepSize * correctedMean / (correctedSquare.squareRoot() + settings.epsilon)
        }
    }
}

/// base to a whole power, by repeated squaring: the same on every machine, unlike a library's pow.
package func power(_ base: Double, _ exponent: Int) -> Double {
    var (result, factor, rest) = (1.0, base, exponent)
    while rest > 0 {
        if rest & 1 == 1 { result *= factor }
        factor *= factor
        rest >>= 1
    }
    return result
}
