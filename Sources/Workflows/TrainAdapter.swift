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
    /// The adapter to start from; nil where `newAdapter` says which is made.
    public var adapterPath: String?
    /// The adapter that is made to start from, as `inject` makes it of the run's base; nil where `adapterPath` names
    /// one. Its `basePath`, `outputPath` and `replaces` say nothing here: it goes to the run's directory, trained.
    public var newAdapter: InjectRequest?
    /// A training state to go on from, with its adapter: a checkpoint, a run whose newest checkpoint it is, or what
    /// PyTorch saved through `tspeft_torch.py`; nil for a run that starts at its first step. Its settings and data need
    /// not be this run's.
    public var continuedPath: String?
    /// Whether the new adapter trains a head for the classes that the records have, in their order.
    public var findsClasses = false
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
    /// A folder for TensorBoard's event file; nil for none.
    public var eventFolder: String?
    /// A file for a table of steps and evaluations, comma-separated values; nil for none.
    public var tablePath: String?
    /// What is saved beside the log as the run's settings, in a form that the caller can take back; nil for nothing.
    package var settingsText: String?
    /// Settings of thresholds that were given, which a dense adapter has no use for.
    package var givenThresholdSettings: [Parameter] = []

    /// A request with the program's defaults.
    public init(basePath: String, adapterPath: String, dataPath: String, outputPath: String) {
        self.basePath = basePath
        self.adapterPath = adapterPath
        dataPaths = [dataPath]
        self.outputPath = outputPath
    }

    /// A request with the program's defaults to train a new adapter; its bytes are those of `inject` and `train`.
    public init(basePath: String, newAdapter: InjectRequest, dataPath: String, outputPath: String) {
        self.basePath = basePath
        self.newAdapter = newAdapter
        dataPaths = [dataPath]
        self.outputPath = outputPath
    }

    /// A request with the program's defaults to go on from a training state.
    public init(basePath: String, continuedPath: String, dataPath: String, outputPath: String) {
        self.basePath = basePath
        self.continuedPath = continuedPath
        dataPaths = [dataPath]
        self.outputPath = outputPath
    }

    /// The adapter to start from; throws `conflict` unless there is one, and `missing` for a state that is not there.
    var adapter: AdapterSource {
        get throws(WorkflowError) {
            switch (adapterPath, newAdapter, try continuedState) {
            case (let path?, nil, nil), (nil, nil, let path?): return .stored(path)
            case (nil, var new?, nil):
                new.basePath = basePath
                return .new(new)
            default: throw .conflict("\(.adapter), \(.continues) or a new adapter is needed, and one of them alone")
            }
        }
    }

    /// The directory of the state that the run goes on from; nil where it does not. Throws `missing`.
    var continuedState: String? {
        get throws(WorkflowError) {
            guard let continuedPath else { return nil }
            if pathKind(joinedPath(continuedPath, TrainingState.recordFile)) != .nothing { return continuedPath }
            if let newest = try? RunDirectory.checkpoints(in: continuedPath).last { return newest }
            throw .missing(
                path: continuedPath,
                what: "no training state to go on from (\(TrainingState.recordFile), or checkpoints that hold one); an "
                    + "adapter without one is for \(.adapter)")
        }
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
    /// How well classes or numbers agree with the records' there; empty for a language model.
    public var measures: [Measure] = []
    /// What the gates did there.
    package var statistics: AdapterStatistics
    /// Mean sparsity there (equation 21, over the modules that have a rank) and the range of tau; nil for a dense
    /// adapter.
    package var gates: (meanSparsity: Double, tauRange: ClosedRange<Float>)?
    /// The best evaluation (that of the lowest loss, or of the highest first measure), and where its adapter is; nil
    /// where there was none before the end.
    public var best: (loss: Double, step: Int, path: String)?
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
    /// Takes the figures of time that a run's log has.
    fileprivate mutating func takeTimes(of end: JSONObject) {
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
    let request = try request.namingClasses()
    let source = try request.adapter
    let records = RunRecordSet(request)
    try request.checkOutputs(records, source)
    let session = try ModelSession(
        basePath: request.basePath, source, request.compute, chatTemplate: request.loading.chatTemplate,
        allowsSequences: true)
    guard let adapter = session.adapter, let directory = session.directory else {
        preconditionFailure("a session with an adapter path has an adapter")
    }
    try request.check(method: adapter.configuration)
    var loading = request.loading
    loading.limit = session.model.configuration.positionLimit
    loading.vocabularySize = session.model.configuration.vocabularySize
    loading.endTokens = session.endTokens
    loading.images = session.imageOptions(folder: loading.imageFolder)
    let kind = session.model.configuration.labelKind
    let data = try RunData(request) { try loading.dataset($0, session.tokenizer, as: kind) }
    let loop = try TrainingLoop(
        session.model, adapter, examples: data.training, source: Dataset.name(of: request.dataPaths),
        request.training, objective: kind?.objective ?? NextToken())
    let inputs = RunInputs(
        base: try directory.base?.digest ?? session.checkpoint.fingerprint().digest, data: data.whole,
        adapter: directory, dtype: session.context.dtype, threads: session.context.threadCount)
    try data.tell(progress, steps: loop.totalSteps)
    for note in try request.notes(on: session.checkpoint) {
        try progress(.warning(TrainWarning(wording: note)))
    }
    for warning in data.whole.endWarnings { try progress(.warning(TrainWarning(wording: warning))) }
    try progress(
        .ready(
            parameters: adapter.thresholds.count
                + (adapter.trainsParameters ? adapter.parameters.reduce(0) { $0 + $1.value.count } : 0),
            modules: adapter.projections.count, precision: ComputeOptions.Precision(session.context.dtype),
            threads: session.context.threadCount))
    let run = try output.begin()
    var isFinished = false
    defer {
        if !isFinished {
            records.giveUp()
            aside = run.giveUp()
        }
    }
    var tally = RunTally()
    var past: RunPast?
    if let checkpoint = run.checkpointToResume {
        let state = try run.readState(checkpoint, inputs: inputs)
        try loop.restore(state, source: checkpoint)
        past = try run.past(upTo: loop.step)
        tally.losses = past?.losses(RunTally.lossCount) ?? []
        try progress(.resumed(step: loop.step))
    }
    if run.checkpointToResume == nil, let source = try request.continuedState {
        let state = try RunDirectory.state(in: source)
        let differences = inputs.differences(from: state.inputs) + (try loop.take(state.state, source: source))
        try progress(.resumed(step: loop.step))
        for difference in differences {
            try progress(.warning(TrainWarning(wording: Wording("\(source): \(difference)"))))
        }
    }
    try records.begin(
        after: past, measures: kind.map { SequenceMetric.all(classCount: $0.outputCount).map(\.rawValue) })
    if let text = request.settingsText { try run.write(settings: text) }

    session.context.products.measuresTime = true
    var callbacks = TrainingCallbacks(
        report: { event in
            if case .step(let report) = event {
                // Each step reads the base's files; what it learns from changed ones is lost, so it stops at once.
                try session.checkpoint.checkUnchanged()
                tally.add(report)
            }
            if let line = event.logLine {
                try run.log(line)
                try records.add(line)
            }
            if case .checkpoint = event { records.keep() }
            try progress(TrainProgress(event))
        },
        saveBest: { best in
            try run.saveBest(best, directory, adapter)
        },
        save: { state in
            // A state is saved behind the report of its step, which has looked whether the base stayed as it was.
            try run.saveCheckpoint(state, directory, adapter, inputs, keeping: request.keptCheckpoints)
        }, shouldStop: shouldStop)
    if let validation = data.validation {
        callbacks.evaluate = {
            struct CutShort: Error {}
            do {
                return validation.result(
                    try validation.measure(session.model, as: kind) { _ in if shouldStop() { throw CutShort() } })
            } catch is CutShort {
                return nil
            }
        }
    }
    try session.overUnchangedBase { try loop.run(callbacks) }
    let productSeconds = session.context.products.seconds
    try adapter.finishRun()

    let sets = data.validation ?? data.statisticsSets(of: request, limit: statisticsRecordLimit)
    try progress(
        .measuring(
            source: sets.name, examples: sets.examples.count, countsGates: adapter.configuration.isGated))
    let (measurements, statistics) = try session.overUnchangedBase {
        try measureGates(session, adapter, sets) { _ in
            if shouldStop() { throw TrainingError.interrupted(step: loop.step, savedAt: run.newestCheckpoint) }
        }
    }
    let measured = Measurement(adding: measurements)
    // A run that ended early was evaluated after its last step.
    if data.validation != nil, !loop.hasStoppedEarly { try loop.take(sets.result(measurements), callbacks) }
    let taus = adapter.thresholds.values
    var report = TrainReport(
        steps: loop.step, finalLoss: tally.recentLoss, measured: measured.loss, measures: measured.measures,
        statistics: statistics,
        gates: taus.isEmpty ? nil : (adapter.configuration.meanSparsity(statistics.modules), taus.min()!...taus.max()!),
        trainingSeconds: tally.seconds, tokensPerSecond: Double(tally.tokens) / max(tally.seconds, 1e-9),
        peakTensorBytes: session.context.pool.peakBytes, productShare: productSeconds / max(tally.seconds, 1e-9))
    if let best = loop.validation.best, let path = run.bestPath { report.best = (best.loss, best.step, path) }
    // A finished run that was resumed keeps what it took.
    if tally.tokens == 0, let past { report.takeTimes(of: past.times) }
    try run.logEnd([
        "steps": .integer(report.steps), "seconds": .real(report.trainingSeconds),
        "tokens_per_second": .real(report.tokensPerSecond), "product_share": .real(report.productShare),
        "peak_tensor_bytes": .integer(report.peakTensorBytes),
    ])
    try run.finish(
        tuned(directory, adapter, statistics, request, report, data.validation))
    isFinished = true
    return report
}

/// One pass over data sets with adapter and tau as they are and dropout off: what they give, and what each gate did (nothing
/// for a dense adapter). `progress` is told how many examples are done, and may throw to stop.
func measureGates(
    _ session: ModelSession, _ adapter: InjectedAdapter, _ sets: ValidationSets,
    progress: (Int) throws -> Void = { _ in }
) throws -> ([Measurement], AdapterStatistics) {
    let collector = StatisticsCollector(collectingInnerSums: true)
    let measurements = try sets.measure(
        session.model, as: session.model.configuration.labelKind,
        observer: adapter.configuration.isGated ? collector : nil, progress: progress)
    let tokens = Measurement(adding: measurements).loss.tokens
    let source = "\(sets.examples.count) records of \(sets.name) (\(tokens) tokens)"
    return (measurements, AdapterStatistics(source: source, modules: collector.statistics))
}

/// The directory of the trained adapter.
private func tuned(
    _ directory: AdapterDirectory, _ adapter: InjectedAdapter, _ statistics: AdapterStatistics,
    _ request: TrainRequest, _ report: TrainReport, _ validation: ValidationSets?
) throws -> AdapterDirectory {
    var training = request.training.json
    training["data"] = Dataset.record(of: request.dataPaths)
    training["optimizer_steps"] = .integer(report.steps)
    training["final_loss"] = .real(report.finalLoss)
    if let validation {
        training["evaluation_data"] = validation.record
        training["evaluation_loss"] = .real(report.measured.meanLoss)
        for measure in report.measures {
            training["evaluation_\(measure.name)"] = measure.value.map { .real($0) } ?? .null
        }
    }
    if let best = report.best {
        training["best_evaluation_loss"] = .real(best.loss)
        training["best_step"] = .integer(best.step)
    }
    training["training_seconds"] = .real(report.trainingSeconds)
    training["tokens_per_second"] = .real(report.tokensPerSecond)
    return try AdapterDirectory(
        configuration: adapter.configuration, modules: directory.modules, tensors: adapter.tensors,
        thresholds: adapter.thresholds, statistics: adapter.configuration.isGated ? statistics : nil,
        origin: AdapterOrigin(
            base: directory.base, training: .object(training), history: directory.history,
            task: directory.origin.task))
}

extension TrainRequest {
    /// The request with the classes that its records have, where they are to be found there.
    ///
    /// Throws what reading them throws, and `conflict` where they cannot be read twice or no adapter is made.
    func namingClasses() throws -> TrainRequest {
        guard findsClasses else { return self }
        guard newAdapter != nil, adapterPath == nil else {
            throw WorkflowError.conflict("\(.adapter) brings its own classes")
        }
        guard !dataPaths.contains("-") else {
            throw WorkflowError.conflict(
                "to find classes the records are read twice, which standard input cannot be: name them by \(.labels)")
        }
        let records = try LabelledFile.records(of: dataPaths, columns: loading.columns)
        var named = self
        named.newAdapter?.task = SequenceTask(
            classes: try LabelSet(of: records, file: Dataset.name(of: dataPaths)).names)
        named.findsClasses = false
        return named
    }

    /// Throws where an output would replace an input, or a file that is there.
    func checkOutputs(_ records: RunRecordSet, _ source: AdapterSource) throws {
        let paths = [basePath] + source.paths + dataPaths + evaluationPaths
        if !resumes { try checkOutput(outputPath, keeps: paths) }
        for path in records.paths { try checkOutput(path, keeps: paths) }
        try records.check(self)
    }
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

    /// What differs from the inputs of another run, as far as that told them, a phrase each.
    func differences(from saved: JSONObject) -> [String] {
        facts.members.compactMap { key, value in
            guard let there = saved[key], there != value else { return nil }
            return key == "data" || key == "adapter" || key == "base"
                ? "its \(key) was another" : "\(key) was \(there.text()) and is now \(value.text())"
        }
    }

    /// Of ids, types, scores and labels.
    static func hash(of examples: [Example]) -> UInt64 {
        // Bits that no id has.
        let (scoredMark, endMark, imageMark) = (1 << 40 as UInt64, 1 << 41 as UInt64, 1 << 42 as UInt64)
        var hash = FNVHash()
        for example in examples {
            for (token, scored) in zip(example.tokens, example.scored) {
                hash.add(UInt64(UInt32(bitPattern: token)) | (scored ? scoredMark : 0))
            }
            for image in example.images { for byte in (image.path ?? "").utf8 { hash.add(imageMark | UInt64(byte)) } }
            for type in example.types ?? [] { hash.add(UInt64(UInt32(bitPattern: type))) }
            switch example.label {
            case nil: break
            case .index(let index): hash.add(UInt64(UInt32(bitPattern: index)))
            case .value(let number): hash.add(UInt64(number.bitPattern))
            }
            hash.add(endMark)
        }
        return hash.value
    }
}

extension Dataset {
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
