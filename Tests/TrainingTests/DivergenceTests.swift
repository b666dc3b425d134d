import ModelTestSupport
import TensorCore
import Testing

@testable import Training

/// A run that makes the model worse gets told so, and which learning rate to try.
@Suite struct DivergenceTests {
    private func warnings(_ losses: [Double], ratios: [Int: Float] = [:], rate: Double = 1e-2) -> [Int: String] {
        var watch = DivergenceWatch(learningRate: rate, vocabularySize: 2048)
        var warnings: [Int: String] = [:]
        for (index, loss) in losses.enumerated() {
            warnings[index + 1] = watch.look(loss: loss, medianRatio: ratios[index + 1])?.description
        }
        return warnings
    }

    @Test func lossThatGrowsAndStaysIsToldOnce() {
        let found = warnings([3, 2.9, 9, 10, 11, 12, 30])
        #expect(
            found == [
                5: "the run diverges: the loss was 3.0 at its first step and is 11.0 now; try learningRate: 1e-3"
            ])
    }

    @Test func hardExamplesAndSlowStartsAreNoDivergence() {
        #expect(warnings([0.4, 0.3, 2.5, 2.9, 2.2, 0.4, 0.2, 3.9, 0.3]).isEmpty)
        // ln 2048 is 7.62: such a model guesses blindly.
        #expect(warnings([5.3, 7.6246, 7.6246, 7.6246])[4]?.contains("is 7.62 now") == true)
        #expect(warnings([5.3, 7.7, 7.5, 7.65, 7.7]).isEmpty)
        #expect(warnings([7.7, 8.1, 7.9, 8.3, 7.6, 8.4]).isEmpty)
        #expect(warnings([3, 15, 2.9, 16, 17, 2.8]).isEmpty)
    }

    @Test func updatesThatDrownTheOutputsAreDivergence() {
        let found = warnings([5, 5, 5], ratios: [2: 5.46e5], rate: 3e-3)
        #expect(found[2]?.contains("5.46e5 times as large") == true)
        #expect(found[2]?.hasSuffix("try learningRate: 3e-4") == true)
        #expect(warnings([5, 5, 5], ratios: [2: 9]).isEmpty)
    }

    @Test func noMoreIsAdvisedThanAdaptersLearnWith() {
        #expect(warnings([3, 30, 30, 30], rate: 50)[4]?.hasSuffix("try learningRate: 1e-3") == true)
        #expect(warnings([3, 30, 30, 30], rate: 0).isEmpty)
    }

    @Test func divergingRunIsToldSoAndNothingOfThresholds() throws {
        var configuration = TrainingBench.configuration
        configuration.learningRate = 30
        configuration.schedule = .constant
        configuration.warmupSteps = 0
        configuration.length = .steps(24)
        configuration.thresholds.stepSize = 1e-9
        let bench = try TrainingBench(configuration) { $0.isGated = true }
        var warnings: [String] = []
        var callbacks = TrainingCallbacks()
        callbacks.report = { if case .warning(let text) = $0 { warnings.append(text.description) } }
        // It may go on or come to a value that is not finite.
        _ = try? bench.run(callbacks)
        #expect(warnings.count == 1)
        #expect(warnings.first?.contains("diverges") == true && warnings.first?.contains("learningRate: 1e-3") == true)
    }

    @Test func warmUpBeyondTheRunIsRefused() throws {
        var configuration = TrainingConfiguration()
        configuration.batchSize = 2
        for (length, steps) in [(TrainingLength.steps(5), 5), (.epochs(2), 4)] {
            configuration.length = length
            configuration.warmupSteps = steps
            #expect(try configuration.stepCount(exampleCount: 4) == steps)
            configuration.warmupSteps = steps + 1
            #expect(
                throws: TrainingError.badSetting(
                    .warmupSteps, expected: "at most the run's \(steps) steps", found: "\(steps + 1)")
            ) { try configuration.stepCount(exampleCount: 4) }
        }
    }
}
