import Adapters
import Testing

/// Equations 16 to 20 of arXiv 2511.16147, worked out by hand.
@Suite struct ThresholdOptimizerTests {
    /// Doubles against a calculation in another order.
    private static let tolerance = 1e-14

    private func near(_ found: Double, _ expected: Double) -> Bool {
        abs(found - expected) <= Self.tolerance * abs(expected)
    }

    @Test func threeStepsAreEquations16To20() {
        let settings = ThresholdSettings(stepSize: 0.01, beta1: 0.9, beta2: 0.98, epsilon: 1e-8)
        var optimizer = ThresholdOptimizer()

        // m = 0.1 * 2, v = 0.02 * 4; corrected by 1 - 0.9 and 1 - 0.98 they are g and g^2.
        #expect(near(optimizer.step(2, settings), 0.01 * 2 / (2 + 1e-8)))
        #expect(near(optimizer.mean, 0.2) && near(optimizer.meanSquare, 0.08))

        // m = 0.9 * 0.2 - 0.1, v = 0.98 * 0.08 + 0.02; corrections 1 - 0.81 and 1 - 0.9604.
        let second = optimizer.step(-1, settings)
        #expect(near(optimizer.mean, 0.08) && near(optimizer.meanSquare, 0.0984))
        #expect(near(second, 0.01 * (0.08 / 0.19) / ((0.0984 / 0.0396).squareRoot() + 1e-8)))

        // m = 0.9 * 0.08 + 0.05, v = 0.98 * 0.0984 + 0.005; corrections 1 - 0.729 and 1 - 0.941192. alpha_k = 0.25.
        let third = optimizer.step(0.5, settings, rate: 0.25)
        #expect(near(optimizer.mean, 0.122) && near(optimizer.meanSquare, 0.101432))
        #expect(near(third, 0.25 * 0.01 * (0.122 / 0.271) / ((0.101432 / 0.058808).squareRoot() + 1e-8)))
        #expect(optimizer.stepCount == 3)
    }

    @Test func firstStepIsAboutSWhateverTheSizeOfG() {
        let settings = ThresholdSettings(stepSize: 4e-5)
        for g in [1e3, 1, 1e-4, -1e-4, -7] {
            var optimizer = ThresholdOptimizer()
            let move = optimizer.step(g, settings)
            #expect(abs(move - (g > 0 ? 4e-5 : -4e-5)) < 4e-5 * 1e-3)
        }
    }

    @Test func epsilonKeepsNoGradientFromMovingTau() {
        var optimizer = ThresholdOptimizer()
        #expect(optimizer.step(0, ThresholdSettings()) == 0)
    }

    @Test func plainUpdateIsProportional() {
        let settings = ThresholdSettings(stepSize: 0.01, update: .plain)
        var optimizer = ThresholdOptimizer()
        #expect(optimizer.step(3, settings) == 0.01 * 3)
        #expect(optimizer.step(-2, settings, rate: 0.5) == 0.5 * 0.01 * -2)
        #expect(optimizer.stepCount == 2)
    }

    @Test func stateTakenUpGoesOnAsBefore() {
        let settings = ThresholdSettings()
        var whole = ThresholdOptimizer()
        for g in [1.0, -3, 0.5] { _ = whole.step(g, settings) }
        var resumed = ThresholdOptimizer(
            mean: whole.mean, meanSquare: whole.meanSquare, stepCount: whole.stepCount)
        #expect(resumed.step(0.25, settings) == whole.step(0.25, settings))
        #expect(resumed == whole)
    }

    @Test func powersAreProducts() {
        #expect(power(0.5, 0) == 1 && power(0.5, 1) == 0.5 && power(0.5, 10) == 0x1p-10)
        #expect(abs(power(0.98, 32_000) / 1.7e-281 - 1) < 0.1)
    }
}
