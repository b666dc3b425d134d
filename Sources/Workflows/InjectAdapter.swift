import Adapters
import CheckpointIO
import Models
import TensorCore
import Transforms

/// What `inject` is asked to do.
public struct InjectRequest: Sendable {
    /// The base checkpoint.
    public var basePath: String
    /// Where the adapter goes.
    public var outputPath: String
    /// A method's name; nil for `ts-lora`, or for what `adapterPath` is.
    public var method: String?
    /// A directory that peft wrote, whose adapter is taken in place of a new one; nil for a new one.
    public var adapterPath: String?
    /// The method's numbers.
    public var options = MethodOptions()
    /// The paper's settings for what `options` and `targets` leave open.
    public var preset: Preset?
    /// peft's `target_modules`, as an argument; nil for the paper's commonsense targets, or what takes their place.
    public var targets: String?
    /// peft's `target_parameters`: packed parameters of experts, each by its path or the end of it, such as
    /// `mlp.experts.gate_up_proj`. Without `targets` and a preset nothing else is adapted.
    public var targetParameters: [String] = []
    /// peft's `exclude_modules`, as an argument.
    public var excluded: String?
    /// Layers that are trained whole beside the adapter: `lm_head`, `embed_tokens`.
    public var modulesToSave: [String] = []
    /// What a head for whole sequences, trained with the adapter, is asked for; nil for a language model, and for a base
    /// that has such a head already.
    package var task: SequenceTask?
    /// Layers to which the targets are restricted.
    public var layers: [Int]?
    /// A selection file of `rank-modules`.
    public var selectionPath: String?
    /// The seed of the initial values.
    public var seed: UInt64 = 0
    /// Whether an existing output is replaced.
    public var replaces = false

    /// The method where none is named.
    package static let defaultMethod = "ts-lora"

    /// A request with the defaults.
    public init(basePath: String, outputPath: String) {
        self.basePath = basePath
        self.outputPath = outputPath
    }
}

/// What `inject` did.
public struct InjectReport: Sendable {
    /// What each target matched.
    package let match: TargetMatch
    /// The adapter's method.
    public let method: String
    /// Trainable numbers, thresholds included.
    public let parameterCount: Int
    /// Numbers of the base.
    public let baseParameterCount: Int
    /// Why this program cannot train the adapter; nil where it can.
    public let graphProblem: String?
    /// What a user should know of the choice of modules.
    package var notes: [Wording] = []
}

/// Makes an adapter for a base: a new one, initialised as peft does it, so that the model's output is as it was, or one
/// from a directory that peft wrote.
package func injectAdapter(_ request: InjectRequest) throws -> InjectReport {
    try injectAdapter(request, to: request.output())
}

func injectAdapter(_ request: InjectRequest, to output: OutputTarget) throws -> InjectReport {
    let base = try ModelCheckpoint.open(request.basePath, as: request.task)
    if request.task != nil, let problem = base.graphProblem { throw problem }
    try checkOutput(output.path, keeps: [request.basePath] + request.inputPaths)
    let made = try makeAdapter(request, base)
    try made.directory.write(to: output, rechecking: base.checkpoint.mappings)
    return made.report
}

/// An adapter that was made and is not written yet.
struct MadeAdapter {
    /// The adapter.
    let directory: AdapterDirectory
    /// What was done.
    var report: InjectReport

    /// An adapter of the modules that `match` tells.
    init(_ directory: AdapterDirectory, _ match: TargetMatch, _ base: ModelCheckpoint) {
        self.directory = directory
        report = InjectReport(
            match: match, method: directory.configuration.methodName,
            parameterCount: directory.parameterCount + directory.thresholds.count,
            baseParameterCount: base.parameterCount,
            graphProblem: base.textPart == nil ? base.graphProblem.map { "\($0)" } : nil)
    }
}

extension InjectRequest {
    /// What is read beside the base.
    var inputPaths: [String] { [adapterPath, selectionPath].compactMap { $0 } }
}

/// Makes what `inject` writes.
func makeAdapter(_ request: InjectRequest, _ base: ModelCheckpoint) throws -> MadeAdapter {
    if let path = request.adapterPath { return try adoptAdapter(request, from: path, base) }
    // An adapter is made to be trained.
    if base.architecture != nil || base.textPart != nil { try base.checkGraphReadsAll() }
    let (kind, isGated) = try AdapterKind.named(request.method ?? InjectRequest.defaultMethod)
    let isOfParametersAlone = !request.targetParameters.isEmpty && request.preset == nil
    let targets =
        try request.targets.map { argument throws(AdapterError) in try TargetSpecification(argument: argument) }
        ?? .names(isOfParametersAlone ? [] : DefaultTargets.names(for: kind, preset: request.preset, in: base))
    let settings = try request.options.settings(for: kind, request.preset, targets: targets)
    let task = base.architecture?.configuration.task
    let saved = request.modulesToSave.isEmpty && task != nil ? base.trainedHeads : request.modulesToSave
    let whole = try saved.flatMap { name in try base.specifications.wholeTensors(named: name) }
    if let twice = whole.indices.first(where: { whole[..<$0].contains(whole[$0]) }) {
        throw WorkflowError.badValue(
            .modulesToSave, expected: "names, each once", found: "\(whole[twice].moduleName) twice")
    }
    let wholeNames = saved.map { name in
        base.specifications.headNames.contains(name)
            ? name : whole.first { $0.module.hasSuffix(name) }?.moduleName ?? name
    }
    var configuration = try AdapterConfiguration(
        settings, isGated: isGated, targets: targets,
        excluded: try request.excluded.map { argument throws(AdapterError) in
            try TargetSpecification(argument: argument)
        }, modulesToSave: wholeNames, layersToTransform: request.layers)
    configuration.taskType = task != nil ? "SEQ_CLS" : base.taskType
    configuration.baseModelPath = request.basePath
    try request.apply(parametersTo: &configuration, base)
    let selection = try request.selectionPath.map { try ModuleSelection.read($0) }
    try base.refuseOtherModules(targets)
    let head = base.specifications.outputHead?.module
    // Of a model that has more than text, the language model's layers: what else it has does not compute here.
    let modules = base.modules(for: configuration).filter { base.textPart?.hasInLayers($0.path) ?? true }
    let match = try configuration.match(modules, selection: selection?.modules, outputHead: head)
    if let head, match.modules.contains(where: { $0.path.hasSameBytes(as: head) }) {
        throw WorkflowError.unsupported(
            "the output head '\(head)' cannot be adapted: only the projections inside the layers can"
        )
    }
    try request.checkSelectors(configuration, match, in: modules, head: head)
    try request.checkRanks(configuration, match)
    // What peft's form of the kind would pass over is said by the modules' paths.
    let heeded = kind.settings.selectorsInPEFT
    // So is what peft would find otherwise: it asks a model's classes what is linear.
    let isGenericChoice = base.architecture == nil && targets == .allLinear
    if isGenericChoice || base.textPart != nil || selection != nil
        || configuration.excluded != nil && !heeded.contains(PEFTNames.excludedField)
        || configuration.layersToTransform != nil && !heeded.contains(PEFTNames.layersField)
    {
        configuration = configuration.restricted(to: match.modules.map(\.path))
    }
    let hasTransposed = match.modules.allSatisfy { base.specifications[module: $0.path]?.isTransposed ?? false }
    if hasTransposed, kind.settings.fields.contains(where: { $0.name == PEFTNames.fanInFanOut }) {
        configuration.otherFields[PEFTNames.fanInFanOut] = .bool(true)
    }
    let stream = RandomStream(seed: request.seed).forked("adapter")
    let tensors = try configuration.initialTensors(match.modules, stream, weights: base.weights(of:))
    let wholeTensors = try whole.map { module in
        AdapterTensor(
            name: PEFTNames.prefix + module.name, shape: module.shape,
            values: try base.initialValues(of: module, stream))
    }
    let thresholds = isGated ? match.modules.map { ($0.path, Float(0)) } : []
    let directory = try AdapterDirectory(
        configuration: configuration, modules: match.modules.map(\.path), tensors: tensors + wholeTensors,
        thresholds: NameTable(uniqueKeysWithValues: thresholds),
        origin: AdapterOrigin(base: try base.fingerprint(), task: task))
    var made = MadeAdapter(directory, match, base)
    made.report.notes = [base.expertsLeftOut(by: targets)].compactMap { $0 }
    return made
}
