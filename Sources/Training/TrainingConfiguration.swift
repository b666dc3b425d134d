import Adapters
import CheckpointIO
import Compute
import TensorCore

/// How long a run is.
package enum TrainingLength: Sendable, Equatable {
    /// Passes over the data; a part of one is allowed.
    case epochs(Double)
    /// Optimizer steps.
    case steps(Int)
}

/// All that decides what a training run computes. A resumed run must have the same.
package struct TrainingConfiguration: Sendable, Equatable {
    /// The peak learning rate.
    package var learningRate = 1e-4
    /// The learning rate's shape.
    package var schedule = ScheduleShape.linear
    /// Steps of the linear rise.
    package var warmupSteps = 0
    /// The share of the run's steps that the linear rise takes, in place of `warmupSteps`, rounded up; nil for none.
    package var warmupShare: Double?
    /// AdamW's settings.
    package var optimizer = AdamWSettings()
    /// The largest norm of all gradients together; 0 for no clipping.
    package var gradientClipping = 1.0
    /// Examples of one forward and backward pass.
    package var batchSize = 16
    /// Passes of one optimizer step.
    package var accumulation = 1
    /// The run's length.
    package var length = TrainingLength.epochs(3)
    /// The seed of data order and dropout.
    package var seed: UInt64 = 0
    /// Whether the examples are shuffled in each epoch.
    package var shuffles = true
    /// How thresholds are trained; without effect on a dense adapter.
    package var thresholds = ThresholdSettings()
    /// Whether alpha_k of equation 20 follows the learning rate's schedule; constant 1 otherwise.
    package var thresholdsFollowSchedule = false
    /// Whether the thresholds alone are trained and the adapter stays as it is.
    package var trainsThresholdsOnly = false
    /// Steps between evaluations; nil for one at the end alone.
    package var evaluationInterval: Int?
    /// Evaluations in a row without a lower loss after which the run ends; nil for no such end.
    package var evaluationsWithoutGain: Int?
    /// The examples that are held back for validation; nil for none.
    package var validationSplit: ValidationSplit?
    /// Steps between checkpoints; nil for none but the last.
    package var checkpointInterval: Int?
    /// Steps between lines of progress.
    package var logInterval = 10

    /// The defaults.
    package init() {}

    /// More steps than any run can make, and few enough to be counted exactly.
    private static let stepLimit = 1 << 50

    /// The optimizer steps of a run over `exampleCount` examples, which is positive: an epoch's last step takes what is
    /// left. Throws `badSetting` for counts below 1, epochs that are not above 0,
    /// more steps than can be counted, and a warm-up that is longer than the run.
    package func stepCount(exampleCount: Int) throws(TrainingError) -> Int {
        let steps = try plannedStepCount(exampleCount: exampleCount)
        if let warmupShare, !(0...1).contains(warmupShare) {
            throw .badSetting(.warmupSteps, expected: "a share from 0 to 100 %", found: "\(warmupShare * 100) %")
        }
        guard warmupSteps <= steps else {
            throw .badSetting(
                .warmupSteps, expected: "at most the run's \(steps) steps", found: String(warmupSteps))
        }
        return steps
    }

    /// The steps of the linear rise in a run of `steps` steps.
    package func warmupStepCount(of steps: Int) -> Int {
        warmupShare.map { Int(($0 * Double(steps)).rounded(.up)) } ?? warmupSteps
    }

    private func plannedStepCount(exampleCount: Int) throws(TrainingError) -> Int {
        for (parameter, value) in [(Parameter.batchSize, batchSize), (.accumulation, accumulation)] where value < 1 {
            throw .badSetting(parameter, expected: "at least 1", found: String(value))
        }
        switch length {
        case .steps(let steps):
            guard (1...Self.stepLimit).contains(steps) else {
                throw .badSetting(.steps, expected: "between 1 and \(Self.stepLimit)", found: String(steps))
            }
            return steps
        case .epochs(let epochs):
            let (product, overflows) = batchSize.multipliedReportingOverflow(by: accumulation)
            let perEpoch = overflows ? 1 : (exampleCount - 1) / product + 1
            let steps = (epochs * Double(perEpoch)).rounded(.up)
            guard epochs > 0, steps <= Double(Self.stepLimit) else {
                throw .badSetting(
                    .epochs, expected: "above 0 and at most \(Self.stepLimit / perEpoch)", found: "\(epochs)")
            }
            return max(1, Int(steps))
        }
    }

    /// The last steps, at most `last` of them, after which a run of `steps` steps saves a checkpoint, rising.
    package func savedSteps(of steps: Int, last: Int) -> [Int] {
        var saved = [steps]
        if let interval = checkpointInterval, interval > 0 {
            var step = (steps - 1) / interval * interval
            while step > 0, saved.count < last {
                saved.append(step)
                step -= interval
            }
        }
        return saved.reversed()
    }

    /// What decides the result, for the file: two runs with equal JSON (and equal inputs) give equal adapters.
    package var json: JSONObject {
        var object: JSONObject = [
            "learning_rate": .real(learningRate), "schedule": .string(schedule.rawValue),
            "warmup_steps": .integer(warmupSteps), "adam_beta1": .real(optimizer.beta1),
            "adam_beta2": .real(optimizer.beta2), "adam_epsilon": .real(optimizer.epsilon),
            "weight_decay": .real(optimizer.weightDecay), "gradient_clipping": .real(gradientClipping),
            "batch_size": .integer(batchSize), "accumulation": .integer(accumulation),
            "seed": .number(String(seed)), "shuffle": .bool(shuffles), "s": .real(thresholds.stepSize),
            "lambda": .real(thresholds.lambda), "tau_beta1": .real(thresholds.beta1),
            "tau_beta2": .real(thresholds.beta2), "tau_epsilon": .real(thresholds.epsilon),
            "tau_update": .string(thresholds.update.rawValue),
            "tau_schedule": .string(thresholdsFollowSchedule ? "follow" : "constant"),
        ]
        if let warmupShare { object["warmup_share"] = .real(warmupShare) }
        if let evaluationsWithoutGain { object["early_stop"] = .integer(evaluationsWithoutGain) }
        // What an early end depends on.
        if evaluationsWithoutGain != nil, let interval = evaluationInterval {
            object["evaluation_interval"] = .integer(interval)
        }
        if let validationSplit { object["validation_split"] = .string(validationSplit.text) }
        if trainsThresholdsOnly { object["only"] = .string("tau") }
        switch length {
        case .epochs(let epochs): object["epochs"] = .real(epochs)
        case .steps(let steps): object["steps"] = .integer(steps)
        }
        return object
    }
}
