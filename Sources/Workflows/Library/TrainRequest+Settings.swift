import Adapters
import Data
import Training

/// How to train. What is not said here is as in the paper: AdamW with beta 0.9 and 0.999, thresholds from 0.
extension TrainRequest {
    /// The learning rate after the warm-up, as a factor on the peak.
    public enum Schedule: String, Sendable, CaseIterable {
        /// The same throughout.
        case constant
        /// Falls in a straight line to 0 at the last step.
        case linear
        /// Falls along half a cosine to 0 at the last step.
        case cosine
    }

    /// How long a run is.
    public enum Length: Sendable, Equatable {
        /// Passes over the data, above 0; a part of one is allowed.
        case epochs(Double)
        /// Optimizer steps, at least 1.
        case steps(Int)
    }

    /// How many examples are held back.
    public enum Split: Sendable, Equatable {
        /// A share, above 0 and below 1; at least one example.
        case share(Double)
        /// So many.
        case count(Int)
    }

    /// How a threshold follows its gradient estimate g.
    public enum ThresholdUpdate: String, Sendable, CaseIterable {
        /// Equations 16 to 20: ascent with Adam's normalisation.
        case adam
        /// tau <- tau + alpha s g, the ablation of the paper's appendix A.2.
        case plain
    }

    /// The run's length; 3 epochs unless given.
    public var length: Length {
        get {
            switch training.length {
            case .epochs(let epochs): .epochs(epochs)
            case .steps(let steps): .steps(steps)
            }
        }
        set {
            training.length =
                switch newValue {
                case .epochs(let epochs): .epochs(epochs)
                case .steps(let steps): .steps(steps)
                }
        }
    }

    /// Examples of one forward and backward pass; 16 unless given.
    public var batchSize: Int {
        get { training.batchSize }
        set { training.batchSize = newValue }
    }

    /// Passes of one optimizer step; 1 unless given.
    public var accumulation: Int {
        get { training.accumulation }
        set { training.accumulation = newValue }
    }

    /// The peak learning rate, 0 or more; 1e-4 unless given.
    public var learningRate: Double {
        get { training.learningRate }
        set { training.learningRate = newValue }
    }

    /// The learning rate's shape; linear unless given.
    public var schedule: Schedule {
        get { Schedule(training.schedule) }
        set { training.schedule = newValue.shape }
    }

    /// Steps of the linear rise of the learning rate from 0; none unless given.
    public var warmupSteps: Int {
        get { training.warmupSteps }
        set { training.warmupSteps = newValue }
    }

    /// The share of the run's steps that the rise takes, 0 to 1, in place of `warmupSteps`; nil unless given.
    public var warmupShare: Double? {
        get { training.warmupShare }
        set { training.warmupShare = newValue }
    }

    /// AdamW's weight decay, 0 or more; 0 unless given.
    public var weightDecay: Double {
        get { training.optimizer.weightDecay }
        set { training.optimizer.weightDecay = newValue }
    }

    /// The largest norm of all gradients together; 1 unless given, 0 for no clipping.
    public var gradientClipping: Double {
        get { training.gradientClipping }
        set { training.gradientClipping = newValue }
    }

    /// s, the size of a step of tau (equation 20), above 0; the paper's 4e-5 unless given. Over few steps tau needs a
    /// larger one to reach the ratios of the tokens.
    public var s: Double {
        get { training.thresholds.stepSize }
        set {
            training.thresholds.stepSize = newValue
            givenThresholdSettings.append(.thresholdStep)
        }
    }

    /// lambda, the price of an active token (equation 15), 0 or more; the paper's 4.5e-5 unless given.
    public var lambda: Double {
        get { training.thresholds.lambda }
        set {
            training.thresholds.lambda = newValue
            givenThresholdSettings.append(.lambda)
        }
    }

    /// Decay of the mean of tau's gradient (equation 16), in 0..<1; 0.9 unless given.
    public var tauBeta1: Double {
        get { training.thresholds.beta1 }
        set {
            training.thresholds.beta1 = newValue
            givenThresholdSettings.append(.tauBeta1)
        }
    }

    /// Decay of the mean of its square (equation 17), in 0..<1; 0.98 unless given.
    public var tauBeta2: Double {
        get { training.thresholds.beta2 }
        set {
            training.thresholds.beta2 = newValue
            givenThresholdSettings.append(.tauBeta2)
        }
    }

    /// How thresholds are updated; by equations 16 to 20 unless given.
    public var tauUpdate: ThresholdUpdate {
        get { training.thresholds.update == .plain ? .plain : .adam }
        set {
            training.thresholds.update = newValue == .plain ? .plain : .adam
            givenThresholdSettings.append(.tauUpdate)
        }
    }

    /// Whether alpha_k of equation 20 follows the learning rate's schedule; constant 1 unless given.
    public var tauFollowsSchedule: Bool {
        get { training.thresholdsFollowSchedule }
        set {
            training.thresholdsFollowSchedule = newValue
            givenThresholdSettings.append(.tauSchedule)
        }
    }

    /// Whether the thresholds alone are trained and the adapter stays as it is; not unless given.
    public var thresholdsOnly: Bool {
        get { training.trainsThresholdsOnly }
        set { training.trainsThresholdsOnly = newValue }
    }

    /// The seed of data order and dropout; 0 unless given.
    public var seed: UInt64 {
        get { training.seed }
        set { training.seed = newValue }
    }

    /// Whether the examples are shuffled in each epoch; they are unless given.
    public var shuffles: Bool {
        get { training.shuffles }
        set { training.shuffles = newValue }
    }

    /// Steps between evaluations; nil for one at the end alone.
    public var evaluationInterval: Int? {
        get { training.evaluationInterval }
        set { training.evaluationInterval = newValue }
    }

    /// Evaluations in a row without a lower loss after which the run ends; nil for no such end. Needs
    /// `evaluationInterval`.
    public var evaluationsWithoutGain: Int? {
        get { training.evaluationsWithoutGain }
        set { training.evaluationsWithoutGain = newValue }
    }

    /// The examples of the training data that are held back to evaluate on, chosen by the seed; nil for none. Not beside
    /// `evaluationPaths`.
    public var validationSplit: Split? {
        get {
            switch training.validationSplit {
            case .share(let share): .share(share)
            case .count(let count): .count(count)
            case nil: nil
            }
        }
        set {
            training.validationSplit =
                switch newValue {
                case .share(let share): .share(share)
                case .count(let count): .count(count)
                case nil: nil
                }
        }
    }

    /// Steps between checkpoints; nil for none but the last.
    public var checkpointInterval: Int? {
        get { training.checkpointInterval }
        set { training.checkpointInterval = newValue }
    }

    /// Takes what a preset says of training: rate, schedule, batch, epochs, s, and lambda for the method of the adapter,
    /// for which that at `adapterPath` is read.
    public mutating func apply(_ preset: Preset) throws(TSPEFTError) {
        let source = try reporting { try adapter }
        let kind = try reporting { try source.kind }
        training.learningRate = preset.learningRate
        training.schedule = preset.schedule
        training.batchSize = preset.batchSize
        training.length = .epochs(Double(preset.epochs))
        training.thresholds.stepSize = preset.stepSize
        training.thresholds.lambda = preset.lambda(for: kind)
    }
}

extension AdapterSource {
    /// The adapter's kind, by its configuration or its method's name.
    fileprivate var kind: AdapterKind {
        get throws {
            switch self {
            case .stored(let path): return try AdapterDirectory.configuration(at: path).kind
            case .new(let request):
                if let path = request.adapterPath { return try AdapterDirectory.configuration(at: path).kind }
                return try AdapterKind.named(request.method ?? InjectRequest.defaultMethod).kind
            }
        }
    }
}

extension TrainRequest.Schedule {
    init(_ shape: ScheduleShape) {
        self =
            switch shape {
            case .constant: .constant
            case .linear: .linear
            case .cosine: .cosine
            }
    }

    var shape: ScheduleShape {
        switch self {
        case .constant: .constant
        case .linear: .linear
        case .cosine: .cosine
        }
    }
}
