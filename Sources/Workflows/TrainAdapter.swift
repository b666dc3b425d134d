import Adapters
import CheckpointIO
import Compute
import Data
import Evaluation
import Models
import TensorCore
import Training
import Transforms

/// What `train` is asked to do.
public struct TrainRequest: Sendable {
    /// The base checkpoint.
    public var basePath: String
    /// The adapter to start from.
    public var adapterPath: String
    /// Files of records to train on, in this order; `-` is standard input. At least one.
    public var dataPaths: [String]
    /// Files of records to evaluate on, in this order; empty for none.
    public var evaluationPaths: [String] = []
    /// The run's directory.
    public var outputPath: String
    /// How records become examples.
    package var loading = LoadingOptions()
    /// Examples of the evaluation file that are used; nil for all.
    public var evaluationLimit: Int?
    /// How to train.
    package var training = TrainingConfiguration()
    /// How to compute.
    public var compute = ComputeOptions()
    /// Whether to go on with the run that stands at `outputPath`.
    public var resumes = false
    /// Whether an existing run at `outputPath` is replaced (it is kept until the new one is done).
    public var replaces = false
    /// Checkpoints to keep, the newest; at least 1.
    public var keptCheckpoints = 3
    /// Settings of thresholds that were given, which a dense adapter has no use for.
    package var givenThresholdSettings: [Parameter] = []

    /// A request with the program's defaults.
    public init(basePath: String, adapterPath: String, dataPath: String, outputPath: String) {
        self.basePath = basePath
        self.adapterPath = adapterPath
        dataPaths = [dataPath]
        self.outputPath = outputPath
    }

    /// The first file of records to train on; setting it makes it the only one.
    public var dataPath: String {
        get { dataPaths.first ?? "" }
        set { dataPaths = [newValue] }
    }

    /// The first file of records to evaluate on; setting it makes it the only one, nil none.
    public var evaluationPath: String? {
        get { evaluationPaths.first }
        set { evaluationPaths = newValue.map { [$0] } ?? [] }
    }
}

/// What `train` did.
public struct TrainReport: Sendable {
    /// Steps of the run.
    public var steps: Int
    /// Mean loss over the last steps (up to ten).
    public var finalLoss: Double
    /// Loss over the statistics' records with the adapter as saved.
    package var measured: LossResult
    /// What the gates did there.
    package var statistics: AdapterStatistics
    /// Mean sparsity there (equation 21, over the modules that have a rank) and the range of tau; nil for a dense
    /// adapter.
    package var gates: (meanSparsity: Double, tauRange: ClosedRange<Float>)?
    /// Seconds of the steps of this process.
    public var trainingSeconds: Double
    /// Tokens per second over those steps.
    public var tokensPerSecond: Double
    /// The largest memory of tensors, bytes.
    public var peakTensorBytes: Int
    /// The share of the steps' time spent in matrix products.
    public var productShare: Double
}

extension TrainReport {
    /// Takes the figures of time that the end of a run's log has.
    fileprivate mutating func takeTimes(of end: JSONValue) {
        trainingSeconds = end["seconds"]?.doubleValue ?? trainingSeconds
        tokensPerSecond = end["tokens_per_second"]?.doubleValue ?? tokensPerSecond
        productShare = end["product_share"]?.doubleValue ?? productShare
        peakTensorBytes = max(peakTensorBytes, end["peak_tensor_bytes"]?.integer(in: .byteCounts) ?? 0)
    }
}

/// Records of the training file that the statistics take where there is no evaluation file (NUMERICS, "Sparsity").
private let statisticsRecordLimit = 512

/// Trains an adapter: reads everything, runs the loop, leaves checkpoints and a log along the way and the adapter with
/// its statistics at the end.
///
/// - Parameters:
///   - progress: is told what happens.
///   - shouldStop: whether a signal asked for an end; the run then saves a checkpoint and throws
///     `TrainingError.interrupted`.
///
/// Throws `WorkflowError.unfinishedReplacement` in place of an error that leaves a replaced run where it was put aside.
package func trainAdapter(
    _ request: TrainRequest, progress: @escaping (TrainProgress) throws -> Void = { _ in },
    shouldStop: @escaping () -> Bool = { false }
) throws -> TrainReport {
    try request.check()
    var aside: String?
    do {
        return try train(request, progress: progress, shouldStop: shouldStop, aside: &aside)
    } catch let error as any ReportableError {
        guard let aside else { throw error }
        throw WorkflowError.unfinishedReplacement(cause: Wording(error), status: error.exitStatus, aside: aside)
    }
}

/// - Parameter aside: after a failure, where a replaced run still is; nil where nothing was put aside or it came back.
private func train(
    _ request: TrainRequest, progress: @escaping (TrainProgress) throws -> Void, shouldStop: @escaping () -> Bool,
    aside: inout String?
) throws -> TrainReport {
    let output = try TrainingOutput.plan(request)
    let paths = [request.basePath, request.adapterPath] + request.dataPaths + request.evaluationPaths
    if !request.resumes { try checkOutput(request.outputPath, keeps: paths) }
    let session = try ModelSession(
        basePath: request.basePath, adapterPath: request.adapterPath, request.compute,
        chatTemplate: request.loading.chatTemplate)
    guard let adapter = session.adapter, let directory = session.directory else {
        preconditionFailure("a session with an adapter path has an adapter")
    }
    try request.check(method: adapter.configuration)
    var loading = request.loading
    loading.limit = session.model.configuration.maximumPositions
    loading.vocabularySize = session.model.configuration.vocabularySize
    loading.endTokens = session.endTokens
    let data = try Dataset.load(paths: request.dataPaths, tokenizer: session.tokenizer, options: loading)
    let evaluation =
        request.evaluationPaths.isEmpty
        ? nil : try Dataset.load(paths: request.evaluationPaths, tokenizer: session.tokenizer, options: loading)
    let evaluationExamples = evaluation.map { Array($0.examples.prefix(request.evaluationLimit ?? .max)) }
    let loop = try TrainingLoop(
        session.model, adapter, examples: data.examples, source: Dataset.name(of: request.dataPaths), request.training)
    let inputs = RunInputs(
        base: try directory.base?.digest ?? session.checkpoint.fingerprint().digest, data: data, adapter: directory,
        dtype: session.context.dtype, threads: session.context.threadCount)
    try progress(
        .loaded(
            examples: data.examples.count, tokens: data.tokenCount, scored: data.scoredCount,
            truncated: data.truncatedCount,
            steps: loop.totalSteps))
    for warning in data.endWarnings { try progress(.warning(TrainWarning(wording: warning))) }
    try progress(
        .ready(
            parameters: adapter.thresholds.count
                + (adapter.trainsParameters ? adapter.parameters.reduce(0) { $0 + $1.value.count } : 0),
            modules: adapter.projections.count, precision: ComputeOptions.Precision(session.context.dtype),
            threads: session.context.threadCount))
    let run = try output.begin()
    var isFinished = false
    defer { if !isFinished { aside = run.giveUp() } }
    var tally = RunTally()
    if let checkpoint = run.checkpointToResume {
        let state = try run.readState(checkpoint, adapter: directory, inputs: inputs)
        try loop.restore(state, source: checkpoint)
        tally.losses = try run.recentLosses(endingAt: loop.step, count: RunTally.lossCount)
        try progress(.resumed(step: loop.step))
    }

    session.context.products.measuresTime = true
    var callbacks = TrainingCallbacks(
        report: { event in
            if case .step(let report) = event {
                // Each step reads the base's files; what it learns from changed ones is lost, so it stops at once.
                try session.checkpoint.checkUnchanged()
                tally.add(report)
            }
            try run.log(event)
            try progress(TrainProgress(event))
        },
        save: { state in
            // A state is saved behind the report of its step, which has looked whether the base stayed as it was.
            try run.saveCheckpoint(state, directory, adapter, inputs, keeping: request.keptCheckpoints)
        }, shouldStop: shouldStop)
    if let evaluationExamples {
        callbacks.evaluate = {
            struct CutShort: Error {}
            do {
                let result = try evaluateLoss(session.model, evaluationExamples) { _ in
                    if shouldStop() { throw CutShort() }
                }
                return (result.meanLoss, ["perplexity": .real(result.perplexity)])
            } catch is CutShort {
                return nil
            }
        }
    }
    try session.overUnchangedBase { try loop.run(callbacks) }
    let productSeconds = session.context.products.seconds
    try adapter.finishRun()

    let (source, examples) =
        evaluationExamples.map { (Dataset.name(of: request.evaluationPaths), $0) }
        ?? (Dataset.name(of: request.dataPaths), Array(data.examples.prefix(statisticsRecordLimit)))
    try progress(.measuring(source: source, examples: examples.count))
    let (measured, statistics) = try session.overUnchangedBase {
        try measureGates(session, adapter, examples, source: source) { _ in
            if shouldStop() { throw TrainingError.interrupted(step: loop.step, savedAt: run.newestCheckpoint) }
        }
    }
    if evaluationExamples != nil {
        let event = TrainingEvent.evaluation(
            step: loop.step, loss: measured.meanLoss, details: ["perplexity": .real(measured.perplexity)])
        try run.log(event)
        try progress(TrainProgress(event))
    }
    let taus = adapter.thresholds.values
    var report = TrainReport(
        steps: loop.step, finalLoss: tally.recentLoss, measured: measured, statistics: statistics,
        gates: taus.isEmpty ? nil : (adapter.configuration.meanSparsity(statistics.modules), taus.min()!...taus.max()!),
        trainingSeconds: tally.seconds, tokensPerSecond: Double(tally.tokens) / max(tally.seconds, 1e-9),
        peakTensorBytes: session.context.pool.peakBytes, productShare: productSeconds / max(tally.seconds, 1e-9))
    // A finished run that was resumed keeps what it took.
    if tally.tokens == 0, let end = try run.lastEnd() { report.takeTimes(of: end) }
    try run.logEnd([
        "steps": .integer(report.steps), "seconds": .real(report.trainingSeconds),
        "tokens_per_second": .real(report.tokensPerSecond), "product_share": .real(report.productShare),
        "peak_tensor_bytes": .integer(report.peakTensorBytes),
    ])
    try run.finish(
        tuned(directory, adapter, statistics, request, report, evaluation: evaluationExamples?.count))
    isFinished = true
    return report
}

/// One pass over `examples` with adapter and tau as they are and dropout off: the loss, and what each gate did (nothing
/// for a dense adapter). `progress` is told how many examples are done, and may throw to stop.
package func measureGates(
    _ session: ModelSession, _ adapter: InjectedAdapter, _ examples: [Example], source: String,
    progress: (Int) throws -> Void = { _ in }
) throws -> (LossResult, AdapterStatistics) {
    let collector = StatisticsCollector(collectingInnerSums: true)
    let result = try evaluateLoss(
        session.model, examples, observer: adapter.configuration.isGated ? collector : nil, progress: progress)
    return (
        result,
        AdapterStatistics(
            source: "\(examples.count) records of \(source) (\(result.tokens) tokens)", modules: collector.statistics)
    )
}

/// The directory of the trained adapter.
private func tuned(
    _ directory: AdapterDirectory, _ adapter: InjectedAdapter, _ statistics: AdapterStatistics,
    _ request: TrainRequest, _ report: TrainReport, evaluation: Int?
) throws -> AdapterDirectory {
    var training = request.training.json
    training["data"] = Dataset.record(of: request.dataPaths)
    training["optimizer_steps"] = .integer(report.steps)
    training["final_loss"] = .real(report.finalLoss)
    if evaluation != nil {
        training["evaluation_data"] = Dataset.record(of: request.evaluationPaths)
        training["evaluation_loss"] = .real(report.measured.meanLoss)
    }
    training["training_seconds"] = .real(report.trainingSeconds)
    training["tokens_per_second"] = .real(report.tokensPerSecond)
    return try AdapterDirectory(
        configuration: adapter.configuration, modules: directory.modules, tensors: adapter.tensors,
        thresholds: adapter.thresholds, statistics: adapter.configuration.isGated ? statistics : nil,
        origin: AdapterOrigin(base: directory.base, training: .object(training), history: directory.history))
}

/// Sums over the steps of a process.
private struct RunTally {
    private(set) var seconds = 0.0
    private(set) var tokens = 0
    /// Of the last steps.
    var losses: [Double] = []

    /// Steps whose losses are kept.
    static let lossCount = 10

    /// Mean over the last steps.
    var recentLoss: Double { losses.isEmpty ? .nan : losses.reduce(0, +) / Double(losses.count) }

    mutating func add(_ report: StepReport) {
        seconds += report.seconds
        tokens += report.tokens
        losses.append(report.loss)
        if losses.count > Self.lossCount { losses.removeFirst() }
    }
}

/// What tells a run's inputs, so that a resumed one can be refused where they have changed.
struct RunInputs {
    /// Facts by name.
    let facts: JSONObject

    init(base: String, data: Dataset, adapter: AdapterDirectory, dtype: DType, threads: Int) {
        facts = [
            "base": .string(base), "examples": .integer(data.examples.count),
            "data": .string(String(Self.hash(of: data.examples), radix: 16)),
            "method": .string(adapter.configuration.methodName),
            "modules": .integer(adapter.modules.count), "dtype": .string(dtype.rawValue),
            "threads": .integer(threads), "adapter": adapter.configuration.json,
        ]
    }

    /// Of ids and scores.
    static func hash(of examples: [Example]) -> UInt64 {
        // Bits that no id has.
        let (scoredMark, endMark) = (1 << 40 as UInt64, 1 << 41 as UInt64)
        var hash = FNVHash()
        for example in examples {
            for (token, scored) in zip(example.tokens, example.scored) {
                hash.add(UInt64(UInt32(bitPattern: token)) | (scored ? scoredMark : 0))
            }
            hash.add(endMark)
        }
        return hash.value
    }
}

extension Dataset {
    /// Files of records as a run's record names them: one by its path, several in a list.
    fileprivate static func record(of paths: [String]) -> JSONValue {
        paths.count == 1 ? .string(paths[0]) : .array(paths.map { .string($0) })
    }

    /// What to say of conversations after which the model will not stop.
    var endWarnings: [Wording] {
        var warnings: [Wording] = []
        if endlessCount > 0 {
            let which = endlessCount == conversationCount ? "all" : "\(endlessCount) of"
            warnings.append(
                Wording(
                    "the model's chat template teaches no end: it writes none behind the last answer of \(which) "
                        + "\(conversationCount) conversations, so there the model does not learn to stop"))
        }
        if let foreignEnd {
            let start: Wording = "answers end with '\(foreignEnd)', which is none of the model's end tokens: "
            let chat: Wording = "generate \(.chat, true) stops there, but what goes by those tokens alone does not "
            warnings.append(start + chat + "(eos_token_id of config.json or generation_config.json names them)")
        }
        return warnings
    }
}
