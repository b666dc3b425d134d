import Adapters
import Testing

/// The gate's decisions and the estimate g of arXiv 2511.16147, with numbers worked out by hand.
@Suite struct TokenGateTests {
    private func decide(_ gate: TokenGate, _ updates: [Float], _ outputs: [Float]) -> GateDecision {
        updates.withUnsafeBufferPointer { updates in
            outputs.withUnsafeBufferPointer { gate.decide(updateNorms: updates, outputNorms: $0) }
        }
    }

    private func accumulate(_ gate: TokenGate, _ mu: [Float], _ decision: GateDecision) {
        mu.withUnsafeBufferPointer { gate.accumulate(mu: $0, decision) }
    }

    @Test func ratiosOfZerosFollowTheConventions() {
        let decision = decide(TokenGate(tau: 0.5), [0, 1, 0, 1], [0, 0, 3, 4])
        #expect(decision.ratios == [0, .infinity, 0, 0.25])
        #expect(decision.isActive == [false, true, false, false])
        #expect(decision.active == .rows([1]) && decision.activeCount == 1)
    }

    @Test func ratioEqualToTauPasses() {
        let decision = decide(TokenGate(tau: 0.25), [1, 1, 1], [4, Float(4).nextUp, Float(4).nextDown])
        #expect(decision.isActive == [true, false, true])
    }

    @Test(arguments: [0, -0.001, -.infinity] as [Float]) func everyTokenPassesUpToTauZero(tau: Float) {
        let decision = decide(TokenGate(tau: tau), [0, 0, 2], [0, 1, 1])
        #expect(decision.isActive == [true, true, true])
        #expect(decision.active == .all && decision.activeCount == 3)
    }

    @Test func noTokenPassesAGateAtInfinity() {
        let decision = decide(TokenGate(tau: .infinity), [0, 3], [1, 1e-30])
        #expect(decision.active == .rows([]) && decision.activeCount == 0)
    }

    @Test func brokenUpdateIsNotHidden() {
        let decision = decide(TokenGate(tau: 0.5), [.nan, .infinity, 0], [1, .infinity, 1])
        #expect(decision.isActive == [true, true, false])
    }

    /// Tokens: mu >= 0 or not, active or not, and mu of either zero. Equation 15 takes mu where its sign says that the
    /// decision was right, and lambda for each active token.
    @Test func gradientEstimateIsEquation15() {
        let gate = TokenGate(tau: 0.5)
        let decision = decide(gate, [1, 1, 0, 0, 1, 0], [1, 1, 1, 1, 1, 1])
        #expect(decision.isActive == [true, true, false, false, true, false])
        accumulate(gate, [1, -2, 3, -4, 0, -0.0], decision)
        #expect(gate.step.gradient(lambda: 0.125) == 1 + 0.125 + 0.125 - 4 + 0.125)
    }

    @Test func batchesOfAStepAddUp() {
        let (whole, parts) = (TokenGate(tau: 0.5), TokenGate(tau: 0.5))
        let updates: [Float] = [1, 0.25, 2, 0, 1, 3]
        let outputs: [Float] = [1, 1, 1, 1, 4, 0]
        let mu: [Float] = [1, -2, -3, 4, -0.5, 8]
        accumulate(whole, mu, decide(whole, updates, outputs))
        for part in [0..<2, 2..<6] {
            let decision = decide(parts, Array(updates[part]), Array(outputs[part]))
            accumulate(parts, Array(mu[part]), decision)
        }
        for gate in [whole, parts] {
            // Active: 1, 2 and infinity; of these mu >= 0 for the first and the last. Skipped with mu < 0: the second
            // and fifth.
            #expect(gate.step.gradient(lambda: 0.5) == (1 + 8) + 3 * 0.5 - 2 - 0.5)
            #expect(gate.step.tokens == 6 && gate.step.activeTokens == 3 && gate.step.sparsity == 0.5)
            #expect(gate.stepLargestRatio == .infinity)
            // The mean of the finite ones' sum over all tokens.
            #expect(gate.step.meanRatio == Float(3.5 / 6))
            gate.beginStep()
            #expect(gate.step == GateSums() && gate.step.sparsity == 0 && gate.step.meanRatio == 0)
            #expect(gate.stepLargestRatio == 0)
        }
    }

    @Test func tauMovesByTheStepsEstimate() {
        let gate = TokenGate(tau: 0.5)
        let decision = decide(gate, [1, 0], [1, 1])
        accumulate(gate, [3, -1], decision)
        let settings = ThresholdSettings(stepSize: 0.01, lambda: 1, update: .plain)
        gate.updateThreshold(settings)
        #expect(gate.tau == Float(0.5 + 0.01 * (3 + 1 - 1)))
        gate.updateThreshold(settings, rate: 0.5)
        #expect(gate.tau == Float(Double(Float(0.53)) + 0.5 * 0.01 * 3))
        #expect(gate.optimizer.stepCount == 2)
    }
}
