import Adapters
import ArgumentParser
import Training
import TSPEFT

struct TrainCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "train",
        abstract: "Train an adapter and its thresholds.",
        discussion: """
            Records are a JSON array or JSON lines, also as .zst or .gz: {"text"}, {"prompt", "completion"}, alpaca \
            {"instruction", "input", "output"}, {"messages"} or {"conversations"}. Only what the model is to say is \
            scored, unless --train-on-prompt is given.

            OUTPUT holds log.jsonl, checkpoints, and at the end the adapter. After an interruption (Ctrl-C saves a \
            checkpoint) --resume goes on, and ends bit for bit where an uninterrupted run would have.

            tau moves by about s a step: over few steps the paper's s = 4e-5 hardly closes a gate.
            """)

    @Argument(help: "The base checkpoint: a Hugging Face directory or a GGUF file.")
    var base: String

    @Option(help: "The adapter to start from, a directory of inject.")
    var adapter: String

    @Option(
        parsing: .singleValue,
        help: ArgumentHelp(
            "Records to train on; may be repeated, files in order, - for standard input.", valueName: "file"))
    var data: [String]

    @Option(
        parsing: .singleValue, help: ArgumentHelp("Records to evaluate on; may be repeated.", valueName: "file"))
    var evalData: [String] = []

    @Option(help: ArgumentHelp("Use only the first records of --eval-data.", valueName: "count"))
    var evalLimit: Int?

    @Option(name: .shortAndLong, help: "The run's directory.")
    var output: String

    @OptionGroup
    var preset: PresetArguments

    @Option(help: "Passes over the data. (default: 3)")
    var epochs: Double?

    @Option(help: "Optimizer steps, in place of --epochs.")
    var steps: Int?

    @Option(help: "Examples of one pass. (default: 16)")
    var batchSize: Int?

    @Option(help: "Passes of one optimizer step.")
    var accumulation = 1

    @Option(help: "Peak learning rate. (default: 1e-4)")
    var learningRate: Double?

    @Option(help: "Learning rate after the warm-up: constant, linear or cosine. (default: linear)")
    var schedule: ScheduleShape?

    @Option(help: ArgumentHelp("Steps of linear rise of the learning rate.", valueName: "steps"))
    var warmup = 0

    @Option(help: "AdamW's weight decay.")
    var weightDecay = 0.0

    @Option(help: ArgumentHelp("Largest norm of the gradients; 0 for no clipping.", valueName: "norm"))
    var clip = 1.0

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

    @Option(help: "Seed of data order and dropout.")
    var seed: UInt64 = 0

    @Flag(help: "Take the records in the order of the file.")
    var noShuffle = false

    @Option(help: ArgumentHelp("Evaluate every so many steps.", valueName: "steps"))
    var evalEvery: Int?

    @Option(help: ArgumentHelp("Save a checkpoint every so many steps.", valueName: "steps"))
    var saveEvery: Int?

    @Option(help: ArgumentHelp("Checkpoints to keep.", valueName: "count"))
    var keepCheckpoints = 3

    @Option(help: ArgumentHelp("Print a line every so many steps, where stderr is no terminal.", valueName: "steps"))
    var logEvery = 10

    @OptionGroup(title: "Records")
    var loading: LoadingArguments

    @OptionGroup(title: "Computation")
    var compute: ComputeArguments

    @Flag(help: "Go on with the run in OUTPUT from its last checkpoint.")
    var resume = false

    @Flag(help: "Replace an existing run; it is kept until the new one is done.")
    var force = false

    @OptionGroup
    var rehearsal: DryRunArguments

    func validate() throws {
        if epochs != nil, steps != nil { throw ValidationError("give --epochs or --steps, not both") }
        if resume, force { throw ValidationError("give --resume or --force, not both") }
        for (name, value) in [("--epochs", epochs), ("--s", s)] {
            if let value, !(value > 0 && value.isFinite) {
                throw ValidationError("\(name) must be above 0, not \(value)")
            }
        }
        for (name, value) in [
            ("--learning-rate", learningRate), ("--lambda", lambda), ("--weight-decay", weightDecay), ("--clip", clip),
        ] {
            if let value, !(value >= 0 && value.isFinite) {
                throw ValidationError("\(name) must be 0 or more, not \(value)")
            }
        }
        for (name, value) in [("--tau-beta1", tauBeta1), ("--tau-beta2", tauBeta2)] {
            guard let value, !(0..<1).contains(value) else { continue }
            throw ValidationError("\(name) must be at least 0 and below 1, not \(value)")
        }
        try checkCounts([
            ("--steps", steps), ("--batch-size", batchSize), ("--accumulation", accumulation),
            ("--eval-every", evalEvery), ("--save-every", saveEvery), ("--log-every", logEvery),
            ("--eval-limit", evalLimit), ("--keep-checkpoints", keepCheckpoints),
        ])
        try checkCounts([("--warmup", warmup)], least: 0)
    }

    func run() throws {
        if rehearsal.dryRun { return try rehearsal.show(dryRun(of: try request())) }
        Signals.stopInOrder()
        let view = TrainView(logInterval: logEvery, showsLearningRate: only != .tau)
        let report = try train(
            try request(), progress: { view.show($0) }, shouldStop: { Signals.stopRequested })
        view.finish()
        printResult(report)
    }

    private func request() throws -> TrainRequest {
        var request = TrainRequest(basePath: base, adapterPath: adapter, dataPath: "", outputPath: output)
        request.dataPaths = data
        if let settings = try preset.settings { try request.apply(settings) }
        var training = request.training
        if let epochs { training.length = .epochs(epochs) }
        if let steps { training.length = .steps(steps) }
        training.batchSize = batchSize ?? training.batchSize
        training.accumulation = accumulation
        training.learningRate = learningRate ?? training.learningRate
        training.schedule = schedule ?? training.schedule
        training.warmupSteps = warmup
        training.optimizer.weightDecay = weightDecay
        training.gradientClipping = clip
        training.trainsThresholdsOnly = only == .tau
        training.seed = seed
        training.shuffles = !noShuffle
        training.evaluationInterval = evalEvery
        training.checkpointInterval = saveEvery
        training.logInterval = logEvery
        request.training = training
        setThresholds(of: &request)
        request.evaluationPaths = evalData
        request.evaluationLimit = evalLimit
        request.loading = loading.options
        request.compute = compute.options
        request.resumes = resume
        request.replaces = force
        request.keptCheckpoints = keepCheckpoints
        return request
    }

    /// Only what is given counts as given: a dense adapter refuses it.
    private func setThresholds(of request: inout TrainRequest) {
        if let s { request.s = s }
        if let lambda { request.lambda = lambda }
        if let tauBeta1 { request.tauBeta1 = tauBeta1 }
        if let tauBeta2 { request.tauBeta2 = tauBeta2 }
        if let tauUpdate { request.tauUpdate = tauUpdate == .plain ? .plain : .adam }
        if let tauSchedule { request.tauFollowsSchedule = tauSchedule == .follow }
    }

    private func printResult(_ report: TrainReport) {
        Terminal.result("steps              \(report.steps)")
        Terminal.result("final loss         \(fixed(report.finalLoss, 4))  (mean of the last steps)")
        Terminal.result("measured loss      \(fixed(report.measured.meanLoss, 4))  over \(report.statistics.source)")
        if let gates = report.gates {
            Terminal.result("mean sparsity      \(percent(gates.meanSparsity)) %  over the same")
            Terminal.result(
                "tau                \(scientific(Double(gates.tauRange.lowerBound))) to "
                    + "\(scientific(Double(gates.tauRange.upperBound)))")
        }
        Terminal.result(
            "time               \(durationText(report.trainingSeconds)), \(fixed(report.tokensPerSecond, 0)) tokens/s, "
                + "\(percent(report.productShare, 0)) % of it in matrix products")
        Terminal.result("memory of tensors  \(byteText(report.peakTensorBytes))")
        Terminal.result("written to         \(output)")
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
