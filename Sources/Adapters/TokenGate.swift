/// Which tokens of a batch an update is applied to.
package enum ActiveTokens: Sendable, Equatable {
    /// Every token.
    case all
    /// These rows, rising.
    case rows([Int32])
}

/// What one pass of a batch through a gate decided.
package struct GateDecision: Sendable {
    /// r_i = |M(x_i)| / |W0 x_i| of each token (section 3.1 of arXiv 2511.16147); 0/0 counts as 0, x/0 as infinity.
    package let ratios: [Float]
    /// S_i of each token (equation 3).
    package let isActive: [Bool]
    /// The tokens with S_i = 1.
    package let active: ActiveTokens
    /// How many those are.
    package let activeCount: Int
}

/// The token-level gate of TS-PEFT ("TS-PEFT: Unveiling Token-Level Redundancy in Parameter-Efficient Fine-Tuning",
/// arXiv 2511.16147): the update M(x_i) is applied where its size relative to the frozen output reaches the threshold
/// tau.
///
/// Owns tau, its optimizer state and the sums of the current optimizer step.
package final class TokenGate {
    /// The threshold; 0 at first, when every token passes. Not clamped: below 0 every token passes too.
    package var tau: Float
    /// The state of tau's training.
    package var optimizer: ThresholdOptimizer
    /// g of the current optimizer step (equation 15), summed over all its batches.
    package private(set) var stepGradient = 0.0
    /// Tokens seen in the current optimizer step.
    package private(set) var stepTokens = 0
    /// Of these, tokens that passed.
    package private(set) var stepActiveTokens = 0
    /// The largest r of the current optimizer step.
    package private(set) var stepLargestRatio: Float = 0
    private var stepRatioSum = 0.0

    /// A gate with threshold `tau`.
    package init(tau: Float = 0, optimizer: ThresholdOptimizer = ThresholdOptimizer()) {
        self.tau = tau
        self.optimizer = optimizer
    }

    /// The share of the current step's tokens that were skipped (equation 21); 0 for none.
    package var stepSparsity: Double {
        stepTokens == 0 ? 0 : 1 - Double(stepActiveTokens) / Double(stepTokens)
    }

    /// The mean r of the current step's tokens; 0 for none.
    package var stepMeanRatio: Float { stepTokens == 0 ? 0 : Float(stepRatioSum / Double(stepTokens)) }

    /// Equation 3 for each token: S_i = 1 where r_i >= tau. A token whose r is NaN passes, so that a broken update
    /// reaches the loss, where it is noticed, and is not skipped in silence.
    ///
    /// - Parameters:
    ///   - updateNorms: |M(x_i)|, [tokens].
    ///   - outputNorms: |W0 x_i|, the frozen layer's bias included, [tokens].
    package func decide(updateNorms: UnsafeBufferPointer<Float>, outputNorms: UnsafeBufferPointer<Float>)
        -> GateDecision
    {
        precondition(updateNorms.count == outputNorms.count)
        var ratios = [Float](repeating: 0, count: updateNorms.count)
        var isActive = [Bool](repeating: false, count: updateNorms.count)
        var rows: [Int32] = []
        for index in ratios.indices {
            let update = updateNorms[index]
            let ratio = update == 0 ? 0 : update / outputNorms[index]
            ratios[index] = ratio
            if !(ratio < tau) {
                isActive[index] = true
                rows.append(Int32(index))
            }
        }
        let count = rows.count
        return GateDecision(
            ratios: ratios, isActive: isActive, active: count == ratios.count ? .all : .rows(rows), activeCount: count)
    }

    /// Adds a batch to the step's sums. mu_i = sum_j dl/dh_ij [M(x_i)]_j (equation 9), [tokens], for skipped tokens
    /// too, l the loss of the whole optimizer step:
    ///
    ///     g += sum_i { [(mu_i >= 0) == (r_i >= tau)] mu_i + (r_i >= tau) lambda }         (15)
    package func accumulate(mu: UnsafeBufferPointer<Float>, _ decision: GateDecision, lambda: Double) {
        precondition(mu.count == decision.isActive.count)
        var sum = 0.0
        for index in mu.indices {
            let active = decision.isActive[index]
            if (mu[index] >= 0) == active { sum += Double(mu[index]) }
            if active { sum += lambda }
            stepLargestRatio = max(stepLargestRatio, decision.ratios[index])
            if decision.ratios[index].isFinite { stepRatioSum += Double(decision.ratios[index]) }
        }
        stepGradient += sum
        stepTokens += mu.count
        stepActiveTokens += decision.activeCount
    }

    /// Moves tau by equations 16 to 20 with the step's g. The step's sums stay readable until `beginStep()`.
    package func updateThreshold(_ settings: ThresholdSettings, rate: Double = 1) {
        tau = Float(Double(tau) + optimizer.step(stepGradient, settings, rate: rate))
    }

    /// Clears the sums for the next optimizer step.
    package func beginStep() {
        stepGradient = 0
        stepTokens = 0
        stepActiveTokens = 0
        stepLargestRatio = 0
        stepRatioSum = 0
    }
}
