import Adapters
import CheckpointIO
import Data
import ModelTestSupport
import Models
import Training

/// A small run: the adapted random model, seven examples, and settings under which much is going on: dropout,
/// shuffling, warm-up, accumulation, several epochs, thresholds that move.
struct TrainingBench {
    /// Seven sequences of 4 to 13 tokens, scored from the third token on.
    static let examples: [Example] = (0..<7).map { index in
        let count = 4 + index * 3 % 10
        return Example(
            tokens: AdaptedModel.tokens(count, seed: UInt64(100 + index)), scored: (0..<count).map { $0 > 1 })
    }

    /// Three epochs of two steps each: the second step of an epoch has three examples in place of four.
    static var configuration: TrainingConfiguration {
        var configuration = TrainingConfiguration()
        configuration.learningRate = 1e-2
        configuration.schedule = .cosine
        configuration.warmupSteps = 2
        configuration.batchSize = 2
        configuration.accumulation = 2
        configuration.length = .epochs(3)
        configuration.optimizer.weightDecay = 0.01
        configuration.thresholds = ThresholdSettings(stepSize: 0.005, lambda: 1e-4)
        configuration.seed = 3
        return configuration
    }

    let adapted: AdaptedModel
    let loop: TrainingLoop

    init(
        _ configuration: TrainingConfiguration = Self.configuration, examples: [Example] = Self.examples,
        group: any ProcessGroup = SingleProcess(), _ change: (inout AdaptedModel.Settings) -> Void = { _ in }
    ) throws {
        adapted = try AdaptedModel { settings in
            settings.dropout = 0.2
            settings.updateSize = 0.05
            change(&settings)
        }
        loop = try TrainingLoop(
            adapted.model, adapted.adapter, examples: examples, source: "examples", configuration, group: group)
    }

    /// Runs to the end; the loss of each step.
    func run(_ callbacks: TrainingCallbacks = TrainingCallbacks()) throws -> [Double] {
        var losses: [Double] = []
        var callbacks = callbacks
        let report = callbacks.report
        callbacks.report = { event in
            if case .step(let step) = event { losses.append(step.loss) }
            try report(event)
        }
        try loop.run(callbacks)
        return losses
    }
}

/// Whether two states hold the same bits.
func sameBits(_ one: TrainingState, _ other: TrainingState) -> Bool {
    func bits(_ values: [Float]) -> [UInt32] { values.map(\.bitPattern) }
    return one.record == other.record && one.tensors.map(\.name) == other.tensors.map(\.name)
        && zip(one.tensors, other.tensors).allSatisfy { bits($0.values) == bits($1.values) }
        && zip(one.moments, other.moments).allSatisfy {
            bits($0.mean) == bits($1.mean) && bits($0.meanSquare) == bits($1.meanSquare)
        }
        && one.thresholds == other.thresholds
}
