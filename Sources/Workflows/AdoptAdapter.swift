import Adapters
import CheckpointIO
import Models
import TensorCore
import Transforms

/// Makes an adapter directory of ours from one that peft wrote: the same tensors, checked against the base, whose
/// fingerprint it takes; and with a gate of tau = 0 at each module where a gated method is asked for.
///
/// Throws what reading and checking the adapter throws; `WorkflowError.conflict` for a method of another kind, for a
/// directory that has gates, and for options that say again what the directory says.
func adoptAdapter(
    _ request: InjectRequest, from path: String, _ base: ModelCheckpoint
) throws -> MadeAdapter {
    if let other = request.parametersGivenBesideAdapter.first {
        throw WorkflowError.conflict(
            "\(.adoptedAdapter) takes the adapter as it is, so \(other) cannot be given with it")
    }
    let read = try AdapterDirectory.read(path)
    guard !read.configuration.isGated else {
        throw WorkflowError.conflict(
            "\(path) is a gated adapter of tspeft already (\(read.configuration.methodName)): train it as it is")
    }
    let kind = read.configuration.kind
    let method = try request.method.map { name throws(AdapterError) in try AdapterKind.named(name) }
    if let method, method.kind != kind {
        throw WorkflowError.conflict(
            "\(path) is an adapter of the method \(kind): \(.method) can be \(kind.methodName(gated: false)) or "
                + "\(kind.methodName(gated: true)), not \(method.kind.methodName(gated: method.isGated))")
    }
    if base.graphProblem == nil { try read.checkIsOfLanguageModel() }
    let adapter = try base.tellingOfPackedWeights { try read.validated(against: base.modules(for: read.configuration)) }
    let fingerprint = try base.fingerprint()
    try adapter.check(base: fingerprint, basePath: request.basePath)
    _ = try adapter.wholeModules(of: base)

    var configuration = adapter.configuration
    configuration.isGated = method?.isGated ?? false
    configuration.baseModelPath = configuration.baseModelPath ?? request.basePath
    let directory = try AdapterDirectory(
        configuration: configuration, modules: adapter.modules, tensors: adapter.allTensors,
        thresholds: configuration.isGated
            ? NameTable(uniqueKeysWithValues: adapter.modules.map { ($0, 0) }) : [:],
        origin: AdapterOrigin(
            base: fingerprint, training: adapter.training,
            history: adapter.history + [
                .object([
                    "event": .string("taken over"), "tspeft": .string(ToolVersion.current), "from": .string(path),
                    "method": .string(configuration.methodName),
                ])
            ]))
    let adapted = NameSet(directory.modules)
    return MadeAdapter(
        directory, TargetMatch(having: base.modules(for: configuration).filter { adapted.contains($0.path) }), base)
}

extension InjectRequest {
    /// What was given and an existing adapter answers itself.
    fileprivate var parametersGivenBesideAdapter: [Parameter] {
        let others: [(Parameter, Bool)] = [
            (.preset, preset != nil), (.targets, targets != nil),
            (.targetParameters, !targetParameters.isEmpty), (.excluded, excluded != nil),
            (.layers, layers != nil), (.modulesToSave, !modulesToSave.isEmpty), (.selection, selectionPath != nil),
            (.seed, seed != 0),
        ]
        return options.given.map { Parameter.methodOption($0.key) } + others.filter(\.1).map(\.0)
    }
}

extension ModelCheckpoint {
    /// Numbers in all tensors.
    var parameterCount: Int { tensorNames.reduce(0) { $0 + (shape(of: $1) ?? []).reduce(1, *) } }
}
