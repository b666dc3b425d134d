import Adapters
import CheckpointIO
import Compute
import Data
import Evaluation
import Models
import TensorCore
import Transforms

/// How accuracy is measured on records with an answer.
public enum EvaluationMode: String, Sendable, CaseIterable {
    /// The likeliest of the possible answers.
    case choice
    /// The answer found in generated text; greedy unless beams are asked for. The scripts behind the paper's tables
    /// (LLM-Adapters') generate with 4 beams.
    case generate
}

/// What `eval` is asked to do.
public struct EvaluateRequest: Sendable {
    /// The base checkpoint.
    public var basePath: String
    /// The adapter; nil for the bare base.
    public var adapterPath: String?
    /// Files of records to evaluate on, in this order; `-` is standard input. At least one.
    public var dataPaths: [String]
    /// How accuracy is measured.
    public var mode = EvaluationMode.choice
    /// Records that are used, from the first; nil for all.
    public var limit: Int?
    /// The most tokens that are generated for a record, with `mode` at `generate`; nil for 32.
    public var newTokenLimit: Int?
    /// A file for what a model with a head for sequences says of each record, one line of JSON each; nil for none. With
    /// it records need no labels.
    public var predictionsPath: String?
    /// Whether an existing file at `predictionsPath` is replaced.
    public var replaces = false
    /// Beams of a search for the likeliest text, with `mode` at `generate`, as transformers' `num_beams`; nil or 1 for
    /// greedy choice.
    public var beams: Int?
    /// How records become examples.
    package var loading = LoadingOptions()
    /// How to compute.
    public var compute = ComputeOptions()

    /// A request with the program's defaults.
    public init(basePath: String, adapterPath: String? = nil, dataPath: String) {
        self.basePath = basePath
        self.adapterPath = adapterPath
        dataPaths = [dataPath]
    }

    /// The first file of records; setting it makes it the only one.
    public var dataPath: String {
        get { dataPaths.first ?? "" }
        set { dataPaths = [newValue] }
    }
}

/// What `eval` measured.
public struct EvaluateReport: Sendable {
    /// Loss over the records.
    package var loss: LossResult
    /// How well classes or numbers agree with the records'; empty for a language model, and where no record has a label.
    public var measures: [Measure] = []
    /// Records with an answer; 0 where the file has none.
    public var answered = 0
    /// Of these, answered rightly.
    public var correct = 0
    /// What the gates did over the tokens of the records, each with its right answer; empty without gates.
    package var modules: [ModuleStatistics] = []
    /// Records.
    public var records: Int
    /// Records that were truncated.
    public var truncated: Int
    /// Seconds of evaluation, loading left out.
    public var seconds = 0.0
    /// The type that was computed in.
    package var dtype: DType

    /// Share of answered records that are right; nil without answers.
    public var accuracy: Double? { answered == 0 ? nil : Double(correct) / Double(answered) }
    /// The sparsity of each of `modules`; nil for one without a rank.
    package var sparsities: [Double?] = []
    /// Mean sparsity of the modules that have a rank; nil without gates.
    public var meanSparsity: Double?
}

/// Tokens that are generated for a record unless the request says otherwise.
private let standardNewTokenLimit = 32

/// The parts of an evaluation, for progress.
public enum EvaluatePhase: String, Sendable {
    /// The loss over the records.
    case loss
    /// The answers.
    case answers
}

/// Measures a model, with or without an adapter: mean loss and perplexity; accuracy where records have an answer;
/// sparsity of each gate over the tokens of the records. Of a model with a head for sequences: loss and the measures of
/// its task, over labelled records.
///
/// Where each record is a prompt with one of the choices behind it, scoring the choices gives the loss too and the
/// records pass through the model once; else the loss is a pass of its own.
///
/// - Parameter progress: is told the phase, records done and records in all; may throw to stop.
package func evaluateModel(
    _ request: EvaluateRequest, progress: (EvaluatePhase, Int, Int) throws -> Void = { _, _, _ in }
) throws -> EvaluateReport {
    let session = try ModelSession(
        basePath: request.basePath, adapterPath: request.adapterPath, request.compute,
        chatTemplate: request.loading.chatTemplate, allowsSequences: true)
    return try evaluateModel(request, session, progress: progress)
}

/// The same over a session that stands already. Throws `CheckpointError.inputChanged` where the base was written to
/// meanwhile.
package func evaluateModel(
    _ request: EvaluateRequest, _ session: ModelSession,
    progress: (EvaluatePhase, Int, Int) throws -> Void = { _, _, _ in }
) throws -> EvaluateReport {
    try session.overUnchangedBase { try evaluate(request, session, progress: progress) }
}

private func evaluate(
    _ request: EvaluateRequest, _ session: ModelSession, progress: (EvaluatePhase, Int, Int) throws -> Void
) throws -> EvaluateReport {
    try request.check()
    if let limit = request.limit, limit < 1 {
        throw WorkflowError.badValue(.recordLimit, expected: "at least 1", found: String(limit))
    }
    if let limit = request.newTokenLimit {
        guard limit >= 1 else {
            throw WorkflowError.badValue(.newTokenLimit, expected: "at least 1", found: String(limit))
        }
        guard request.mode == .generate else {
            throw WorkflowError.conflict(
                "\(.newTokenLimit) is for \(.evaluationMode, "generate"), which writes answers")
        }
    }
    if let beams = request.beams {
        _ = try BeamOptions(count: beams)
        guard request.mode == .generate else {
            throw WorkflowError.conflict("\(.beams) is for \(.evaluationMode, "generate"), which writes answers")
        }
    }
    var loading = request.loading
    loading.limit = session.model.configuration.positionLimit
    loading.vocabularySize = session.model.configuration.vocabularySize
    if let kind = session.model.configuration.labelKind {
        return try evaluate(request, session, loading, as: kind, progress: progress)
    }
    guard request.predictionsPath == nil else {
        throw WorkflowError.conflict(
            "\(.predictions) writes classes or numbers of records, and the model has no head for sequences")
    }
    loading.collectsChoices = true
    loading.endTokens = session.endTokens
    loading.images = session.imageOptions(folder: loading.imageFolder)
    let data = try loading.dataset(request.dataPaths, session.tokenizer, as: nil).prefix(request.limit ?? .max)
    if request.mode == .generate, data.choiceItems.isEmpty {
        throw WorkflowError.unsuitableData(
            path: Dataset.name(of: request.dataPaths),
            problem: "none of the \(data.recordCount) records has an 'answer', which \(.evaluationMode, "generate") "
                + "looks for in generated text")
    }
    let (examples, items) = (data.examples, data.choiceItems)
    let start = ContinuousClock.now

    var report = EvaluateReport(
        loss: LossResult(), records: data.recordCount, truncated: data.truncatedCount, dtype: session.context.dtype)
    report.answered = items.count
    let collector = StatisticsCollector(collectingInnerSums: false)
    let gated = session.adapter.flatMap { $0.configuration.isGated ? $0 : nil }
    let observer = gated == nil ? nil : collector
    let answerProgress = { (done: Int) in try progress(.answers, done, items.count) }
    if request.mode == .choice, items.count == examples.count,
        zip(items, examples).allSatisfy({ $0.isAnswered(by: $1) })
    {
        let result = try scoreChoices(
            session.model, items, observer: observer, progress: answerProgress)
        report.loss = result.loss
        report.correct = result.correct
    } else {
        report.loss = try evaluateLoss(session.model, examples, observer: observer) {
            try progress(.loss, $0, examples.count)
        }
        switch request.mode {
        case .choice:
            report.correct = try scoreChoices(session.model, items, progress: answerProgress).correct
        case .generate:
            var settings = GenerationSettings(
                limit: request.newTokenLimit ?? standardNewTokenLimit,
                endTokens: data.conversationCount > 0 ? session.chatEndTokens : session.endTokens)
            settings.beams = try session.generation.beams(request.beams ?? 1, sampling: .greedy)
            report.correct = try countGeneratedAnswers(session, items, settings, progress: answerProgress)
        }
    }
    report.take(collector, of: gated)
    report.seconds = (ContinuousClock.now - start).inSeconds
    return report
}

/// The same of a model with a head for sequences.
private func evaluate(
    _ request: EvaluateRequest, _ session: ModelSession, _ loading: LoadingOptions, as kind: LabelKind,
    progress: (EvaluatePhase, Int, Int) throws -> Void
) throws -> EvaluateReport {
    guard request.mode == .choice else {
        throw WorkflowError.conflict(
            "\(.evaluationMode, "generate") writes answers, and the model has a head for sequences in place of one for words"
        )
    }
    let output = request.predictionsPath.map { OutputTarget($0, replacing: request.replaces) }
    if let output {
        let inputs = [request.basePath] + [request.adapterPath].compactMap { $0 } + request.dataPaths
        try checkOutput(output.path, keeps: inputs)
        guard request.replaces || !isNamed(output.path) else {
            throw WorkflowError.outputExists(output.path, remedy: "use \(.replaces, true) to replace it")
        }
    }
    let data = try loading.dataset(request.dataPaths, session.tokenizer, as: kind, needsLabels: output == nil)
        .prefix(request.limit ?? .max)
    let start = ContinuousClock.now
    let collector = StatisticsCollector(collectingInnerSums: false)
    let gated = session.adapter.flatMap { $0.configuration.isGated ? $0 : nil }
    let result = try evaluateSequences(
        session.model, data.examples, kind: kind, observer: gated == nil ? nil : collector
    ) { try progress(.answers, $0, data.examples.count) }
    var report = EvaluateReport(
        loss: result.loss, records: data.recordCount, truncated: data.truncatedCount, dtype: session.context.dtype)
    if result.loss.scoredTokens > 0 { report.measures = result.measures.map { Measure($0.metric, $0.value) } }
    report.take(collector, of: gated)
    if let output {
        try Predictions(kind: kind, places: data.places, examples: data.examples, scores: result.scores)
            .write(to: output)
    }
    report.seconds = (ContinuousClock.now - start).inSeconds
    return report
}

extension EvaluateReport {
    /// Takes what the gates did.
    fileprivate mutating func take(_ collector: StatisticsCollector, of gated: InjectedAdapter?) {
        guard let configuration = gated?.configuration else { return }
        modules = collector.statistics
        sparsities = modules.map { configuration.sparsity(of: $0) }
        meanSparsity = configuration.meanSparsity(modules)
    }
}

/// Records whose generated text holds the right answer, by LLM-Adapters' extraction.
private func countGeneratedAnswers(
    _ session: ModelSession, _ items: [ChoiceItem], _ settings: GenerationSettings, progress: (Int) throws -> Void
) throws -> Int {
    var correct = 0
    for (index, item) in items.enumerated() {
        // A generator of its own: what a record gives follows from it alone.
        let result = try Generator(session.model).run(item.prompt, settings, images: item.images)
        let text = session.tokenizer.decode(result.tokens)
        if AnswerExtraction(choices: item.names).isCorrect(text, expected: item.names[item.correct]) { correct += 1 }
        try progress(index + 1)
    }
    return correct
}
