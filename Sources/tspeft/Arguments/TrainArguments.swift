import Adapters
import ArgumentParser
import Training
import TSPEFT

// The options of `train`, a struct for each section of its help.

/// What every run needs.
struct TrainInputArguments: ParsableArguments {
    @Option(
        parsing: .singleValue,
        help: ArgumentHelp(
            "Records to train on; may be repeated, files in order, - for standard input.", valueName: "file"),
        completion: .file())
    var data: [String]

    @Option(name: .shortAndLong, help: "The run's directory.", completion: .directory)
    var output: String

    @Option(
        help: "The adapter to start from, a directory of inject. (default: a new one, as inject makes it)",
        completion: .directory)
    var adapter: String?

    @Option(
        name: .customLong("continue"),
        help: ArgumentHelp(
            "A training state to go on from with these settings and data: a checkpoint, a run, or what PyTorch saved "
                + "through tspeft_torch. Counts its steps among --steps. (default: a run from its first step)",
            valueName: "directory"), completion: .directory)
    var continued: String?
}

/// How long and how fast.
struct CourseArguments: ParsableArguments {
    @Option(help: "Passes over the data. (default: 3)")
    var epochs: Double?

    @Option(help: "Optimizer steps, in place of --epochs. (default: as many as --epochs needs)")
    var steps: Int?

    @Option(help: "Examples of one pass. (default: 16)")
    var batchSize: Int?

    @Option(help: "Passes of one optimizer step.")
    var accumulation = 1

    @Option(help: "Peak learning rate. (default: 1e-4)")
    var learningRate: Double?

    @Option(help: "Learning rate after the warm-up: constant, linear or cosine. (default: linear)")
    var schedule: ScheduleShape?

    @Option(
        help: ArgumentHelp(
            "Steps of linear rise of the learning rate, or a share of all steps, such as 3%.", valueName: "steps"))
    var warmup = Amount.count(0)

    @Option(help: "AdamW's weight decay.")
    var weightDecay = 0.0

    @Option(help: ArgumentHelp("Largest norm of the gradients; 0 for no clipping.", valueName: "norm"))
    var clip = 1.0

    @Option(help: "Seed of a new adapter's initial values, of data order and of dropout.")
    var seed: UInt64 = 0

    @Flag(help: "Take the records in the order of the file.")
    var noShuffle = false

    func validate() throws {
        if epochs != nil, steps != nil { throw ValidationError("give --epochs or --steps, not both") }
        try checkAbove([("--epochs", epochs)])
        try checkNotNegative([
            ("--learning-rate", learningRate), ("--weight-decay", weightDecay), ("--clip", clip),
        ])
        try checkCounts([("--steps", steps), ("--batch-size", batchSize), ("--accumulation", accumulation)])
        if case .count(let steps) = warmup { try checkCounts([("--warmup", steps)], least: 0) }
    }

    func apply(to training: inout TrainingConfiguration) {
        if let epochs { training.length = .epochs(epochs) }
        if let steps { training.length = .steps(steps) }
        training.batchSize = batchSize ?? training.batchSize
        training.accumulation = accumulation
        training.learningRate = learningRate ?? training.learningRate
        training.schedule = schedule ?? training.schedule
        switch warmup {
        case .count(let steps): training.warmupSteps = steps
        case .share(let share): training.warmupShare = share
        }
        training.optimizer.weightDecay = weightDecay
        training.gradientClipping = clip
        training.seed = seed
        training.shuffles = !noShuffle
    }
}

/// What is measured along the way.
struct ValidationArguments: ParsableArguments {
    @Option(
        parsing: .singleValue,
        help: ArgumentHelp("Records to evaluate on; may be repeated. (default: none)", valueName: "file"),
        completion: .file())
    var evalData: [String] = []

    @Option(help: ArgumentHelp("Use only the first records of each --eval-data. (default: all)", valueName: "count"))
    var evalLimit: Int?

    @Option(help: ArgumentHelp("Evaluate every so many steps. (default: at the end alone)", valueName: "steps"))
    var evalEvery: Int?

    @Option(
        help: ArgumentHelp(
            "Hold back so many examples of --data to evaluate on, or a share such as 5%, chosen by --seed. "
                + "(default: none)", valueName: "count"))
    var valSplit: Amount?

    @Option(
        help: ArgumentHelp(
            "End after so many evaluations without a lower loss. (default: never)", valueName: "evaluations"))
    var earlyStop: Int?

    func validate() throws {
        try checkCounts([("--eval-every", evalEvery), ("--eval-limit", evalLimit), ("--early-stop", earlyStop)])
        guard let valSplit else { return }
        if !evalData.isEmpty { throw ValidationError("give --val-split or --eval-data, not both") }
        switch valSplit {
        case .count(let count): try checkCounts([("--val-split", count)])
        case .share(let share):
            guard share > 0, share < 1 else { throw ValidationError("--val-split must be above 0 % and below 100 %") }
        }
    }

    func apply(to request: inout TrainRequest) {
        request.training.evaluationInterval = evalEvery
        request.training.evaluationsWithoutGain = earlyStop
        request.evaluationPaths = evalData
        request.evaluationLimit = evalLimit
        switch valSplit {
        case .count(let count): request.training.validationSplit = .count(count)
        case .share(let share): request.training.validationSplit = .share(share)
        case nil: break
        }
    }
}

/// What the run leaves on the disk and the terminal.
struct RunArguments: ParsableArguments {
    @Option(
        help: ArgumentHelp("Save a checkpoint every so many steps. (default: at the end alone)", valueName: "steps"))
    var saveEvery: Int?

    @Option(help: ArgumentHelp("Checkpoints to keep.", valueName: "count"))
    var keepCheckpoints = 3

    @Option(help: ArgumentHelp("Print a line every so many steps, where stderr is no terminal.", valueName: "steps"))
    var logEvery = 10

    @Option(
        help: ArgumentHelp(
            "Write the run's figures for TensorBoard into this folder. (default: none)", valueName: "folder"),
        completion: .directory)
    var tensorboard: String?

    @Option(
        help: ArgumentHelp("Write the run's figures into this table. (default: none)", valueName: "file"),
        completion: .file())
    var csv: String?

    @Flag(help: "Go on with the run in OUTPUT from its last checkpoint.")
    var resume = false

    @Flag(help: "Replace an existing run; it is kept until the new one is done.")
    var force = false

    @OptionGroup
    var rehearsal: DryRunArguments

    @OptionGroup
    var config: ConfigArguments

    func validate() throws {
        if resume, force { throw ValidationError("give --resume or --force, not both") }
        try checkCounts([
            ("--save-every", saveEvery), ("--log-every", logEvery), ("--keep-checkpoints", keepCheckpoints),
        ])
    }
}

/// How thresholds are trained.
struct ThresholdArguments: ParsableArguments {
    @Option(help: ArgumentHelp("s, the step of tau (equation 20). (default: 4e-5)", valueName: "s"))
    var s: Double?

    @Option(help: ArgumentHelp("lambda, the price of an active token (equation 15). (default: 4.5e-5)"))
    var lambda: Double?

    @Option(help: "Decay of the mean of tau's gradient. (default: 0.9)")
    var tauBeta1: Double?

    @Option(help: "Decay of the mean of its square. (default: 0.98)")
    var tauBeta2: Double?

    @Option(help: "How tau is updated: adam (equations 16 to 20) or plain. (default: adam)")
    var tauUpdate: ThresholdUpdate?

    @Option(help: "alpha_k of equation 20: constant 1, or follow the learning rate's schedule. (default: constant)")
    var tauSchedule: TauSchedule?

    @Option(help: "Train this alone: tau, with the adapter as it is. (default: both)")
    var only: TrainedPart?

    func validate() throws {
        try checkAbove([("--s", s)])
        try checkNotNegative([("--lambda", lambda)])
        for (name, value) in [("--tau-beta1", tauBeta1), ("--tau-beta2", tauBeta2)] {
            guard let value, !(0..<1).contains(value) else { continue }
            throw ValidationError("\(name) must be at least 0 and below 1, not \(value)")
        }
    }

    /// Only what is given counts as given: a dense adapter refuses it.
    func apply(to request: inout TrainRequest) {
        if let s { request.s = s }
        if let lambda { request.lambda = lambda }
        if let tauBeta1 { request.tauBeta1 = tauBeta1 }
        if let tauBeta2 { request.tauBeta2 = tauBeta2 }
        if let tauUpdate { request.tauUpdate = tauUpdate == .plain ? .plain : .adam }
        if let tauSchedule { request.tauFollowsSchedule = tauSchedule == .follow }
        request.thresholdsOnly = only == .tau
    }
}

/// A count, or a share: in percent, or as a fraction below 1.
enum Amount: ExpressibleByArgument, CustomStringConvertible {
    case count(Int)
    case share(Double)

    init?(argument: String) {
        if argument.hasSuffix("%") {
            guard let percent = Double(argument.dropLast()), (0...100).contains(percent) else { return nil }
            self = .share(percent / 100)
        } else if let count = Int(argument) {
            self = .count(count)
        } else if let share = Double(argument), (0..<1).contains(share) {
            self = .share(share)
        } else {
            return nil
        }
    }

    var description: String {
        switch self {
        case .count(let count): "\(count)"
        case .share(let share): ValidationSplit.share(share).text
        }
    }
}

/// How alpha_k of equation 20 behaves.
enum TauSchedule: String, CaseIterable, ExpressibleByArgument {
    case constant
    case follow
}

/// What of a gated adapter can be trained alone.
enum TrainedPart: String, CaseIterable, ExpressibleByArgument {
    case tau
}

extension ScheduleShape: ExpressibleByArgument {}
extension ThresholdUpdate: ExpressibleByArgument {}

/// Throws `ValidationError` for a number that is given and is not above 0.
private func checkAbove(_ numbers: [(name: String, value: Double?)]) throws {
    for (name, value) in numbers {
        guard let value, !(value > 0 && value.isFinite) else { continue }
        throw ValidationError("\(name) must be above 0, not \(value)")
    }
}

/// Throws `ValidationError` for a number that is given and is below 0.
private func checkNotNegative(_ numbers: [(name: String, value: Double?)]) throws {
    for (name, value) in numbers {
        guard let value, !(value >= 0 && value.isFinite) else { continue }
        throw ValidationError("\(name) must be 0 or more, not \(value)")
    }
}
