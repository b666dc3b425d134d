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
    /// For each row whether it is a token that sums and statistics count; nil where all are.
    package let isCounted: [Bool]?

    /// Whether row `index` counts.
    package func counts(_ index: Int) -> Bool { isCounted?[index] ?? true }
}

/// What a gate has seen in an optimizer step: sums, which those of several processes add up to.
package struct GateSums: Sendable, Equatable {
    /// sum_i [ (mu_i >= 0) == (r_i >= tau) ] mu_i, equation 15 without lambda.
    package var agreeingMu = 0.0
    /// Tokens seen.
    package var tokens = 0
    /// Of these, tokens that passed.
    package var activeTokens = 0
    /// The sum of their r, those that are infinite left out.
    package var ratios = 0.0

    /// Nothing yet.
    package init() {}

    /// g of equation 15: what agrees, and lambda for each token that passed.
    package func gradient(lambda: Double) -> Double { agreeingMu + lambda * Double(activeTokens) }

    /// The share of the tokens that were skipped (equation 21); 0 for none.
    package var sparsity: Double { tokens == 0 ? 0 : 1 - Double(activeTokens) / Double(tokens) }

    /// The mean r of the tokens; 0 for none.
    package var meanRatio: Float { tokens == 0 ? 0 : Float(ratios / Double(tokens)) }
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
    /// The current optimizer step over all its batches: those of this process, and behind the loop's sum those of all.
    package var step = GateSums()
    /// The largest r of the current optimizer step in this process.
    package private(set) var stepLargestRatio: Float = 0

    /// A gate with threshold `tau`.
    package init(tau: Float = 0, optimizer: ThresholdOptimizer = ThresholdOptimizer()) {
        self.tau = tau
        self.optimizer = optimizer
    }

    /// Equation 3 for each token: S_i = 1 where r_i >= tau. A token whose r is NaN passes, so that a broken update
    /// reaches the loss, where it is noticed, and is not skipped in silence.
    ///
    /// - Parameters:
    ///   - updateNorms: |M(x_i)|, [tokens].
    ///   - outputNorms: |W0 x_i|, the frozen layer's bias included, [tokens].
    ///   - isCounted: for each row whether it is a token that counts; nil where all are. It decides nothing.
    package func decide(
        updateNorms: UnsafeBufferPointer<Float>, outputNorms: UnsafeBufferPointer<Float>, isCounted: [Bool]? = nil
    ) -> GateDecision {
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
            ratios: ratios, isActive: isActive, active: count == ratios.count ? .all : .rows(rows), activeCount: count,
            isCounted: isCounted)
    }

    /// Adds a batch's tokens to the step's sums. mu_i = sum_j dl/dh_ij [M(x_i)]_j (equation 9), [rows], for skipped
    /// tokens too, l the loss of the whole optimizer step:
    ///
    ///     g += sum_i { [(mu_i >= 0) == (r_i >= tau)] mu_i + (r_i >= tau) lambda }         (15)
    ///
    /// lambda's part is added by `GateSums.gradient`. Rows that are no tokens add nothing.
    package func accumulate(mu: UnsafeBufferPointer<Float>, _ decision: GateDecision) {
        precondition(mu.count == decision.isActive.count)
        var sum = 0.0
        for index in mu.indices where decision.counts(index) {
            let active = decision.isActive[index]
            if (mu[index] >= 0) == active { sum += Double(mu[index]) }
            step.tokens += 1
            if active { step.activeTokens += 1 }
            stepLargestRatio = max(stepLargestRatio, decision.ratios[index])
            if decision.ratios[index].isFinite { step.ratios += Double(decision.ratios[index]) }
        }
        step.agreeingMu += sum
    }

    /// Moves tau by equations 16 to 20 with the step's g. The step's sums stay readable until `beginStep()`.
    package func updateThreshold(_ settings: ThresholdSettings, rate: Double = 1) {
        tau = Float(Double(tau) + optimizer.step(step.gradient(lambda: settings.lambda), settings, rate: rate))
    }

    /// Clears the sums for the next optimizer step.
    package func beginStep() {
        step = GateSums()
        stepLargestRatio = 0
    }
}
