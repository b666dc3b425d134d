import Models
import TensorCore

extension AdapterDirectory {
    /// Checks every tensor against the base's modules and gives the adapter with its modules in the base's order, under
    /// the base's names.
    ///
    /// Throws `.unknownModule` for a module that the base lacks, `.unsupportedModule`, `.wrongShape`; `.untargetedModule` and
    /// `.modulesWithoutTensors` where the tensors are not those of the modules that the targets match. peft is silent
    /// about the first, whose tensors it drops, and warns of the second, whose modules it leaves untrained: either way
    /// the adapter is not the one that was trained.
    package func validated(against linearModules: [LinearModule]) throws(AdapterError) -> AdapterDirectory {
        let named = try withNames(of: linearModules)
        try named.checkShapes(linearModules)
        try named.checkTargets(linearModules)
        let positions = NameTable(
            linearModules.enumerated().map { ($1.path, $0) }, uniquingKeysWith: { first, _ in first })
        let order = named.modules.sorted { positions[$0]! < positions[$1]! }
        return try named.restricted(to: order, configuration: named.configuration)
    }

    /// The adapter under the names of a base with a graph, where each of its modules is one of the base's linear ones;
    /// checked as `validated(against:)` does. Else the adapter as it is, whose names are to be looked up.
    package func named(as base: ModelCheckpoint) throws(AdapterError) -> AdapterDirectory {
        // A merge can give an output head that is the embedding a weight of its own.
        // A merge can scale a bias together with its layer's output, which a forward pass leaves as it is.
        let linear = base.specifications.linearModules(withTiedHead: true).map {
            LinearModule(
                path: $0.path, outputSize: $0.outputSize, inputSize: $0.inputSize, isOfMixture: $0.isOfMixture)
        }
        let known = NameSet(linear.map(\.path))
        guard base.graphProblem == nil, extras.isEmpty,
            modules.allSatisfy({ known.contains(Self.name(of: $0, in: known)) })
        else { return self }
        return try validated(against: linear)
    }

    /// The sizes of a module as far as the adapter's tensors tell them.
    package func size(of module: String) -> (output: Int?, input: Int?) {
        var sizes: [AdapterTensorRole.Dimension: Int] = [:]
        for role in configuration.tensorRoles(of: module) {
            guard let tensor = tensor(module, role.suffix) else { continue }
            for (axis, extent) in zip(role.axes, tensor.shape) { sizes[axis] = extent }
        }
        return (sizes[.outputSize], sizes[.inputSize])
    }

    /// Throws `.unsupportedModule` where the method cannot be at a module, and `.wrongShape` where the tensors that all
    /// modules share are too small for it.
    package func checkMethod(at module: LinearModule) throws(AdapterError) {
        try configuration.checkMethod(at: module, source: displayName)
        try checkShared(at: module)
    }

    private func checkShared(at module: LinearModule) throws(AdapterError) {
        for role in configuration.kind.method.sharedRoles {
            let tensor = shared(role.suffix)
            let least = role.shape(
                rank: configuration.rank, outputSize: module.outputSize, inputSize: module.inputSize)
            guard zip(tensor.shape, least).allSatisfy({ $0 >= $1 }) else {
                throw .wrongShape(file: displayName, tensor: tensor.name, expected: least, found: tensor.shape)
            }
        }
    }

    /// Throws `.unknownModule`, `.unsupportedModule` and `.wrongShape`.
    private func checkShapes(_ linearModules: [LinearModule]) throws(AdapterError) {
        let sizes = NameTable(
            linearModules.map { ($0.path, $0) }, uniquingKeysWith: { first, _ in first })
        for module in modules {
            guard let entry = sizes[module] else {
                throw .unknownModule(
                    module, source: displayName, nearest: NearestNames.find(module, in: linearModules.map(\.path)))
            }
            try checkMethod(at: entry)
            for role in configuration.tensorRoles(of: module) {
                guard let tensor = tensor(module, role.suffix) else { continue }
                let expected = role.shape(
                    rank: configuration.rank(for: module), outputSize: entry.outputSize,
                    inputSize: entry.inputSize)
                guard tensor.shape == expected else {
                    throw .otherModel(
                        file: displayName, tensor: tensor.name, expected: expected, found: tensor.shape)
                }
            }
        }
    }

    /// Throws where the modules with tensors are not those that the targets match. An expression that does not compile
    /// here cannot be asked; the tensors' names stand then.
    private func checkTargets(_ linearModules: [LinearModule]) throws(AdapterError) {
        let matched: NameSet
        do {
            matched = NameSet(try configuration.matchedPaths(linearModules))
        } catch .badExpression {
            return
        }
        if let stray = modules.first(where: { !matched.contains($0) }) {
            throw .untargetedModule(stray, adapter: displayName, targets: configuration.targets.summary)
        }
        let found = NameSet(modules)
        // Of a packed parameter some experts may be left out: their part of it is nothing.
        let parameters = NameSet(linearModules.filter { found.contains($0.path) }.compactMap(\.parameter))
        let missing = linearModules.filter { module in
            matched.contains(module.path) && !found.contains(module.path)
                && !(module.parameter.map(parameters.contains) ?? false)
        }.map(\.path)
        if let first = missing.first {
            throw .modulesWithoutTensors(
                adapter: displayName, count: missing.count, first: first, found: modules.count)
        }
    }

    /// The adapter under the base's names, where it was made inside a model of images and text: such models keep their
    /// Llama as `language_model` (`language_model.model.layers.0` or, since transformers 4.52,
    /// `model.language_model.layers.0`), and a component of that name which the base does not have is left out.
    private func withNames(of linearModules: [LinearModule]) throws(AdapterError) -> AdapterDirectory {
        let known = NameSet(linearModules.map(\.path))
        let names = modules.map { module in
            (old: module, new: Self.name(of: module, in: known))
        }
        guard names.contains(where: { $0.old != $0.new }), names.allSatisfy({ known.contains($0.new) }),
            NameSet(names.map(\.new)).count == names.count, statistics == nil
        else { return self }
        let suffixes = configuration.tensorSuffixes
        let renamed = names.flatMap { name in
            suffixes.compactMap { suffix in
                tensor(name.old, suffix).map {
                    AdapterTensor(name: PEFTNames.key(name.new, suffix), shape: $0.shape, values: $0.values)
                }
            }
        }
        let isMoved = names.contains { $0.new != $0.old && $0.new == Self.moved($0.old) }
        let saved = savedModules.map { tensor in
            let path = String(tensor.name.dropFirst(PEFTNames.prefix.count))
            return AdapterTensor(
                name: PEFTNames.prefix + (isMoved ? Self.moved(path) : Self.withoutLanguageModel(path)),
                shape: tensor.shape, values: tensor.values)
        }
        var result = try AdapterDirectory(
            configuration: configuration.renamed(names), modules: names.map(\.new),
            tensors: renamed + sharedTensors + saved,
            thresholds: NameTable(
                uniqueKeysWithValues: names.compactMap { name in threshold(name.old).map { (name.new, $0) } }),
            origin: origin.ofCopy)
        (result.mapping, result.fileTensorCount) = (mapping, fileTensorCount)
        return result
    }

    /// The base's name of a module: its own, without `language_model`, with the `model` that an adapter of the bare model
    /// lacks, or with the two in another order; its own again where the base has none of these.
    private static func name(of module: String, in known: NameSet) -> String {
        let plain = withoutLanguageModel(module)
        return [module, plain, "model." + module, "model." + plain, moved(module)].first(where: known.contains) ?? plain
    }

    /// Beginnings of names in memory since transformers 4.52, and in files and before.
    private static let orders = [
        ("model.language_model.", "language_model.model."), ("lm_head.", "language_model.lm_head."),
        ("model.multi_modal_projector.", "multi_modal_projector."),
    ]

    /// A path in the other of the two orders; itself where it has neither.
    private static func moved(_ path: String) -> String {
        for (memory, file) in orders {
            if path.hasPrefix(memory) { return file + path.dropFirst(memory.count) }
            if path.hasPrefix(file) { return memory + path.dropFirst(file.count) }
        }
        return path
    }

    private static func withoutLanguageModel(_ path: String) -> String {
        var parts = path.split(separator: ".", omittingEmptySubsequences: false)
        if let index = parts.firstIndex(of: "language_model") { parts.remove(at: index) }
        return parts.joined(separator: ".")
    }
}
