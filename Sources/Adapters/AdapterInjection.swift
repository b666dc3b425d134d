import CheckpointIO
import Compute
import Models
import TensorCore

extension AdapterConfiguration {
    /// The tensors of a new adapter over `modules`, so initialised that the model's output stays as it was, as peft
    /// does it: the modules' in order, then the shared ones.
    ///
    /// - Parameters:
    ///   - stream: random numbers; each module takes a stream of its own from it.
    ///   - weights: reads a module's frozen weight, for kinds that start from it.
    package func initialTensors(
        _ modules: [LinearModule], _ stream: RandomStream, weights: BaseWeights
    ) throws -> [AdapterTensor] {
        for module in modules { try checkMethod(at: module, source: methodName) }
        return try modules.flatMap { module in
            try kind.method.initialTensors(module, self, stream.forked(module.path), weights: weights)
        } + kind.method.initialSharedTensors(modules, self, stream)
    }
}

/// An adapter in a model: the wrapped projections, with everything of them that training changes.
///
/// Owns the adapter's parameters and gates; the model holds the wrapped projections.
package final class InjectedAdapter {
    /// What the adapter is.
    package private(set) var configuration: AdapterConfiguration
    /// The wrapped projections in the model's order.
    package let projections: [GatedProjection]

    /// What is done to all modules together after each step of a run; nil before a run, and for most kinds.
    package private(set) var schedule: (any AdapterSchedule)?

    private let context: ComputeContext
    private let sharedTensors: [AdapterTensor]
    /// Layers that are trained whole, in the order of `modulesToSave`.
    private let wholeModules: [(parameter: AdapterParameter, weight: TrainableWeight)]

    /// Swaps the projections of `model` that `tensors` belong to for adapted ones, and puts the layers that are trained
    /// whole in the place of the frozen ones.
    ///
    /// Throws `AdapterError` where a tensor is missing, belongs to no projection of the model or has a shape that does
    /// not fit, `ModelError.notTrainableWhole` for a name of `modulesToSave` that the model has not.
    ///
    /// - Parameters:
    ///   - tensors: as the adapter's file has them.
    ///   - thresholds: tau by module; needed for each module of a gated adapter.
    ///   - source: what to call the adapter in errors.
    package init(
        into model: any Model, _ configuration: AdapterConfiguration, tensors: [AdapterTensor],
        thresholds: NameTable<Float>, source: String
    ) throws {
        let context = model.context
        var unused = NameTable(tensors.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
        let method = configuration.kind.method
        sharedTensors = method.sharedRoles.compactMap { unused.removeValue(forKey: $0.suffix) }
        guard sharedTensors.count == method.sharedRoles.count else {
            throw AdapterError.missingSharedTensor(
                file: source, tensor: method.sharedRoles[sharedTensors.count].suffix)
        }
        let shared = SharedTensors(sharedTensors, context)
        let suffixes = configuration.tensorSuffixes
        let adapted = NameSet(tensors.compactMap { PEFTNames.split($0.name, suffixes: suffixes)?.module })
        var wrapped: [GatedProjection] = []
        try model.replaceProjections { projection in
            let path = projection.path
            guard adapted.contains(path) else { return nil }
            let roles = configuration.tensorRoles(of: path)
            let module = try method.init(
                AdapterSite(
                    path: path, frozen: projection.frozen, configuration: configuration, context: context,
                    shared: shared
                ) { suffix in
                    let key = PEFTNames.key(path, suffix)
                    let role = roles.first { $0.suffix == suffix }!
                    guard let tensor = unused.removeValue(forKey: key) else {
                        if role.isOptional { return nil }
                        throw AdapterError.missingTensor(file: source, tensor: key)
                    }
                    let expected = role.shape(
                        rank: configuration.rank(for: path), outputSize: projection.frozen.outputSize,
                        inputSize: projection.frozen.inputSize)
                    guard tensor.shape == expected else {
                        throw AdapterError.wrongShape(
                            file: source, tensor: key, expected: expected, found: tensor.shape)
                    }
                    let value = context.tensor(tensor.shape, .f32)
                    value.copy(from: tensor.values)
                    return AdapterParameter(name: key, value: value, context)
                })
            var gate: TokenGate?
            if configuration.isGated {
                guard let tau = thresholds[path] else {
                    throw AdapterError.missingTensor(file: source, tensor: PEFTNames.key(path, PEFTNames.tau))
                }
                gate = TokenGate(tau: tau)
            }
            let replacement = GatedProjection(projection, method: module, gate: gate)
            wrapped.append(replacement)
            return replacement
        }
        let whole = try configuration.wholeModules(
            takenFrom: &unused, of: model.tensors, source: source)
        if let stray = tensors.first(where: { unused[$0.name] != nil }) {
            if let (module, _) = PEFTNames.split(stray.name, suffixes: suffixes),
                module == model.tensors.outputHead?.module
            {
                throw AdapterError.unsupportedTensor(
                    file: source, tensor: stray.name,
                    reason: "adapts the output head; only the projections inside the layers can be adapted here")
            }
            if let (module, _) = PEFTNames.split(stray.name, suffixes: suffixes),
                model.tensors[module: module]?.isOfMixture ?? false
            {
                throw AdapterError.unsupportedTensor(
                    file: source, tensor: stray.name,
                    reason:
                        "adapts experts that lie together in one tensor, or their router, which stay as they are in "
                        + "training, evaluation and generation")
            }
            throw AdapterError.unknownTensor(
                file: source, tensor: stray.name, reason: "belongs to no projection of this model")
        }
        wholeModules = whole.map { module, tensor in
            let value = context.tensor(tensor.shape, .f32)
            value.copy(from: tensor.values)
            let weight = TrainableWeight(value, context)
            model.train(module, weight)
            return (AdapterParameter(name: tensor.name, weight), weight)
        }
        self.configuration = configuration
        self.context = context
        projections = wrapped
        prepare()
    }

    /// All trainable tensors, module by module, those of layers that are trained whole behind the others.
    package var parameters: [AdapterParameter] {
        projections.flatMap(\.method.parameters) + wholeModules.map(\.parameter)
    }

    /// Whether the parameters are trained: a run of thresholds alone, which leaves them as they are, pays for none of
    /// their gradients.
    package var trainsParameters = true {
        didSet {
            for projection in projections { projection.method.collectsGradients = trainsParameters }
            for module in wholeModules { module.weight.collectsGradient = trainsParameters }
        }
    }

    /// The tensors as a file has them, with the values of now, shared ones behind the others.
    package var tensors: [AdapterTensor] {
        parameters.map { AdapterTensor($0.name, $0.value.shape, $0.value.toArray()) } + sharedTensors
    }

    /// tau by module; empty for a dense adapter.
    package var thresholds: NameTable<Float> {
        NameTable(
            uniqueKeysWithValues: projections.compactMap { projection in
                projection.gate.map { (projection.path, $0.tau) }
            })
    }

    /// Brings what methods derive from their parameters up to date; needed after each change of a parameter.
    package func prepare() {
        let needed = projections.reduce(0) { max($0, $1.method.preparationScratchCount) }
        // Doubles in a vector of floats, as behind the rows of a matrix there would be room that is cleared.
        let scratch = context.tensor([context.threadCount * max(16, 2 * needed)], .f32)
        context.parallelItems(projections.count) { item, thread in
            let part = scratch.address + thread * scratch.rowByteCount / context.threadCount
            let projection = projections[item]
            projection.method.prepare(
                scratch: part.assumingMemoryBound(to: Double.self),
                wantsNorms: projection.gate != nil)
        }
        for module in wholeModules { module.weight.refresh() }
    }

    /// Makes what `kind` does to all modules together ready for a run of `totalSteps`. Throws
    /// `AdapterError.badSetting`.
    package func beginRun(totalSteps: Int) throws(AdapterError) {
        schedule = try configuration.kind.method.schedule(
            of: projections.map(\.method), configuration, totalSteps: totalSteps, context)
    }

    /// The rank of each projection now, in their order: the schedule's where ranks move; 1 where the method has none.
    package var ranks: [Int] {
        let moving = schedule?.ranks ?? [:]
        return projections.map { moving[$0.path] ?? configuration.rank(for: $0.path) ?? 1 }
    }

    /// Adds the gradient of the penalty on the loss, where the kind has one, and gives the penalty; nothing where the
    /// parameters stay as they are.
    package func addPenalty() -> Double {
        guard trainsParameters else { return 0 }
        let terms = projections.reduce(0) { $0 + $1.method.penaltyTermCount }
        return terms == 0 ? 0 : projections.reduce(0) { $0 + $1.method.addPenalty(termCount: terms) }
    }

    /// Brings the adapter into the form in which it is saved after a run's last step. Parameters may be others then.
    package func finishRun() throws(AdapterError) {
        guard let schedule else { return }
        configuration = try schedule.finish(configuration)
        self.schedule = nil
        prepare()
    }

    /// Starts an optimizer step: gradients and gates' sums back to zero.
    package func beginStep() {
        for parameter in projections.flatMap(\.method.parameters) { parameter.gradient.clear() }
        for module in wholeModules where module.weight.collectsGradient { module.weight.gradient.clear() }
        for projection in projections { projection.gate?.beginStep() }
    }
}
