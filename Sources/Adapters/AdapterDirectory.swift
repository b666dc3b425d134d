import CheckpointIO
import Models
import TensorCore

/// What gated modules did over a named set of tokens.
package struct AdapterStatistics: Sendable, Equatable {
    /// The set of tokens, such as the name of the evaluation file.
    package let source: String
    /// One entry a module, in the order of the directory's modules.
    package let modules: [ModuleStatistics]
    private let places: NameTable<Int>

    /// The statistics of a pass over `source`.
    package init(source: String, modules: [ModuleStatistics]) {
        self.source = source
        self.modules = modules
        places = NameTable(modules.enumerated().map { ($1.module, $0) }, uniquingKeysWith: { first, _ in first })
    }

    /// Tokens that each module saw (the most, should they differ).
    package var tokens: Int { modules.map(\.tokens).max() ?? 0 }

    /// The entry of a module.
    package subscript(module: String) -> ModuleStatistics? { places[module].map { modules[$0] } }
}

/// Where an adapter comes from.
package struct AdapterOrigin: Sendable {
    /// The base that the adapter was made for; nil for a directory that another program wrote.
    package var base: BaseFingerprint?
    /// The training run's settings and results, as the training wrote them.
    package var training: JSONValue?
    /// What was done to the adapter since it was trained, such as pruning, oldest first.
    package var history: [JSONValue]
    /// What the head for sequences that it trains is asked for; nil where it trains none, or another program does not say.
    package var task: SequenceTask?
    /// Where it was read from, as given; nil for one that was made here.
    package var path: String?
    /// What messages call it while it is put together: the file of its tensors where it was read.
    package var file: String
    /// Whether its numbers are still to be looked at, each once.
    var finiteness = Finiteness.unknown

    /// What is known of an adapter's numbers.
    enum Finiteness {
        /// They are looked at when it is put together.
        case unknown
        /// Its tensors were looked at; the thresholds are.
        case checked
        /// It is only to be looked at, so that any number may be in it.
        case waived
    }

    /// An origin; see the properties.
    package init(
        base: BaseFingerprint? = nil, training: JSONValue? = nil, history: [JSONValue] = [], path: String? = nil,
        file: String = "the adapter", task: SequenceTask? = nil
    ) {
        self.base = base
        self.task = task
        self.training = training
        self.history = history
        self.path = path
        self.file = file
    }

    /// The same for an adapter that is made of this one, which messages call by its path.
    package var ofCopy: AdapterOrigin {
        var copy = self
        copy.file = path ?? "the adapter"
        if finiteness == .unknown { copy.finiteness = .checked }
        return copy
    }

    /// The same for an adapter whose numbers were computed from this one's.
    package var ofDerived: AdapterOrigin {
        var copy = ofCopy
        copy.finiteness = .unknown
        return copy
    }
}

/// An adapter as a directory holds it: configuration, tensors, thresholds, and what is known of its making.
///
/// Dense ones are plain peft directories, gated ones have a `peft_type` that peft refuses and a tensor tau for each
/// module.
package struct AdapterDirectory: Sendable {
    /// Where it comes from.
    package var origin: AdapterOrigin
    /// Method, sizes, targets.
    package var configuration: AdapterConfiguration
    /// The paths of the adapted modules, in the base's order where that is known.
    package private(set) var modules: [String]
    /// Every tensor of a module but the thresholds: the modules in order, the tensors of each as
    /// `AdapterMethod.tensorRoles` says.
    package private(set) var tensors: [AdapterTensor]
    /// The frozen tensors that all modules share, in the order of `AdapterMethod.sharedRoles`.
    package private(set) var sharedTensors: [AdapterTensor]
    /// The tensors of layers that were trained whole, in the order of `modules_to_save`.
    package private(set) var savedModules: [AdapterTensor]
    /// What it holds that can be merged alone; nothing unless it was asked for.
    package let extras: AdapterExtras
    /// Tau of each module; empty for a dense adapter.
    package private(set) var thresholds: NameTable<Float>
    /// What the gates did; nil before any pass, and for a dense adapter.
    package var statistics: AdapterStatistics?

    /// The tensors of the file that it was read from; 0 for an adapter that was made here.
    package internal(set) var fileTensorCount = 0
    /// The file where values stay until they are asked for; nil where they are in memory.
    var mapping: MappedFile?

    private let tensorIndex: NameTable<Int>

    /// Puts an adapter together and checks it.
    ///
    /// `tensors`, those shared and those of whole layers among them, may come in any order. Throws `.missingTensor`,
    /// `.unknownTensor`, `.wrongShape`, `.notFinite` or `.malformed` unless every module has every tensor of its kind
    /// in shapes that fit each other and the configured rank, each layer of `modulesToSave` is there, each gated module
    /// has a finite tau, and nothing else is there.
    package init(
        configuration: AdapterConfiguration, modules: [String], tensors: [AdapterTensor],
        extras: AdapterExtras = AdapterExtras(), thresholds: NameTable<Float> = [:],
        statistics: AdapterStatistics? = nil, origin: AdapterOrigin = AdapterOrigin()
    ) throws(AdapterError) {
        let (known, file) = (NameSet(modules), origin.file)
        guard known.count == modules.count, !modules.isEmpty || !extras.isEmpty else {
            throw .malformed(
                file: file, what: "the list of modules", expected: "names, each once",
                found: modules.isEmpty ? "an empty list" : "one twice")
        }
        let byName = NameTable(tensors.lazy.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
        let ordered = try Self.ordered(byName, modules: modules, configuration: configuration, file: file)
        let shared = try Self.shared(byName, ordered, modules: modules, configuration: configuration, file: file)
        var names = NameSet(ordered.lazy.map(\.name))
        for tensor in shared { names.insert(tensor.name) }
        let saved = try Self.saved(tensors, not: names, configuration, file: file)
        for tensor in saved { names.insert(tensor.name) }
        try Self.refuseStrangers(tensors, known: names, file: file)
        if origin.finiteness == .unknown {
            for list in [ordered, shared, saved] { for tensor in list { try Self.checkFinite(tensor, file: file) } }
        }
        try Self.check(thresholds, modules: modules, isGated: configuration.isGated, origin)
        try Self.check(statistics, known: known, configuration: configuration, file: file)
        self.origin = origin
        self.configuration = configuration
        self.modules = modules
        self.tensors = ordered
        sharedTensors = shared
        savedModules = saved
        self.extras = extras
        self.thresholds = thresholds
        self.statistics = statistics
        tensorIndex = NameTable(uniqueKeysWithValues: ordered.enumerated().map { ($1.name, $0) })
    }

    /// `AdapterOrigin.base` of its origin.
    package var base: BaseFingerprint? { origin.base }
    /// `AdapterOrigin.training` of its origin.
    package var training: JSONValue? { origin.training }
    /// `AdapterOrigin.history` of its origin.
    package var history: [JSONValue] { origin.history }
    /// `AdapterOrigin.path` of its origin.
    package var path: String? { origin.path }

    /// What messages call it: its path, or "the adapter".
    package var displayName: String { path ?? "the adapter" }

    /// The tensor of `module` that ends in `suffix`; nil for a module or suffix that is not there.
    package func tensor(_ module: String, _ suffix: String) -> AdapterTensor? {
        tensorIndex[PEFTNames.key(module, suffix)].map { tensors[$0] }
    }

    /// The values of a tensor that every module has.
    package func values(_ module: String, _ suffix: String) -> [Float] {
        guard let tensor = tensor(module, suffix) else { preconditionFailure("'\(suffix)' was checked") }
        return tensor.values
    }

    /// A tensor that all modules share.
    package func shared(_ key: String) -> AdapterTensor {
        guard let tensor = sharedTensors.first(where: { $0.name.hasSameBytes(as: key) }) else {
            preconditionFailure("shared tensor '\(key)' was checked")
        }
        return tensor
    }

    /// Every tensor of the file but the thresholds.
    package var allTensors: [AdapterTensor] { tensors + sharedTensors + savedModules + extras.tensors }

    /// Tau of a module; nil where there is no gate.
    package func threshold(_ module: String) -> Float? { thresholds[module] }

    /// Values of all trainable tensors together, thresholds aside.
    package var parameterCount: Int {
        (tensors + savedModules + extras.tensors).reduce(0) { $0 + $1.elementCount }
    }

    /// The same adapter with only `kept` modules, in that order; throws `.unknownModule`.
    package func restricted(
        to kept: [String], configuration: AdapterConfiguration
    ) throws(AdapterError) -> AdapterDirectory {
        let known = NameSet(modules)
        for module in kept where !known.contains(module) {
            throw .unknownModule(
                module, source: displayName, nearest: NearestNames.find(module, in: modules))
        }
        let suffixes = configuration.tensorSuffixes
        let chosen = NameSet(kept)
        let entries = NameTable(
            (statistics?.modules ?? []).map { ($0.module, $0) }, uniquingKeysWith: { first, _ in first })
        var result = try AdapterDirectory(
            configuration: configuration, modules: kept,
            tensors: kept.flatMap { module in suffixes.compactMap { tensor(module, $0) } } + sharedTensors
                + savedModules,
            extras: extras, thresholds: thresholds.filter { chosen.contains($0.key) },
            statistics: statistics.map { old in
                AdapterStatistics(source: old.source, modules: kept.compactMap { entries[$0] })
            },
            origin: origin.ofCopy)
        (result.mapping, result.fileTensorCount) = (mapping, fileTensorCount)
        return result
    }

    /// Throws `.wrongBase` unless `found`, the fingerprint of `basePath`, is that of the base the adapter was made for.
    /// A directory without a fingerprint (peft's) passes; `validated(against:)` still checks its shapes.
    package func check(base found: BaseFingerprint, basePath: String) throws(AdapterError) {
        guard let base, let difference = base.difference(from: found) else { return }
        throw .wrongBase(adapter: displayName, base: basePath, difference: difference)
    }
}

extension AdapterDirectory {
    /// The tensors of every module in order, checked one against the other.
    private static func ordered(
        _ tensors: NameTable<AdapterTensor>, modules: [String], configuration: AdapterConfiguration, file: String
    ) throws(AdapterError) -> [AdapterTensor] {
        let shapes = tensors.mapValues(\.shape)
        var ordered: [AdapterTensor] = []
        ordered.reserveCapacity(tensors.count)
        for module in modules {
            for key in try checkedKeys(of: module, shapes, configuration, file: file) {
                guard let tensor = tensors[key] else { continue }
                guard elementCount(shape: tensor.shape) == tensor.elementCount else {
                    throw .wrongShape(file: file, tensor: key, expected: [tensor.elementCount], found: tensor.shape)
                }
                ordered.append(tensor)
            }
        }
        return ordered
    }

    /// The keys of a module's tensors, in the order of the roles, whose shapes (by key) fit the rank and each other.
    ///
    /// Throws `.missingTensor` and `.wrongShape`.
    static func checkedKeys(
        of module: String, _ shapes: NameTable<[Int]>, _ configuration: AdapterConfiguration, file: String
    ) throws(AdapterError) -> [String] {
        var keys: [String] = []
        var extents: [AdapterTensorRole.Dimension: Int] = [.one: 1]
        extents[.rank] = configuration.rank(for: module)
        for role in configuration.tensorRoles(of: module) {
            let key = PEFTNames.key(module, role.suffix)
            guard let shape = shapes[key] else {
                if role.isOptional { continue }
                throw .missingTensor(file: file, tensor: key)
            }
            let isEmpty = zip(role.axes, shape).contains { $0 != .rank && $1 == 0 }
            guard shape.count == role.axes.count, !isEmpty else {
                throw .wrongAxes(file: file, tensor: key, expected: role.words(extents), found: shape)
            }
            let expected = zip(role.axes, shape).map { extents[$0] ?? $1 }
            guard shape == expected else {
                throw .wrongShape(file: file, tensor: key, expected: expected, found: shape)
            }
            for (axis, extent) in zip(role.axes, shape) { extents[axis] = extent }
            keys.append(key)
        }
        return keys
    }

    /// Throws `.notFinite`. What stays in a file was checked when it was read, and is not decoded for it again.
    static func checkFinite(_ tensor: AdapterTensor, file: String) throws(AdapterError) {
        if tensor.isStored { return }
        if let index = tensor.values.firstIndex(where: { !$0.isFinite }) {
            throw .notFinite(file: file, tensor: tensor.name, index: index)
        }
    }

    /// The shared tensors in order, each at least as large as the modules need it.
    private static func shared(
        _ tensors: NameTable<AdapterTensor>, _ ordered: [AdapterTensor], modules: [String],
        configuration: AdapterConfiguration, file: String
    ) throws(AdapterError) -> [AdapterTensor] {
        var shared: [AdapterTensor] = []
        for role in configuration.kind.method.sharedRoles {
            guard let tensor = tensors[role.suffix] else {
                throw .missingSharedTensor(file: file, tensor: role.suffix)
            }
            var extents: [AdapterTensorRole.Dimension: Int] = [:]
            extents[.rank] = configuration.rank ?? 0
            for own in configuration.tensorRoles(of: modules.first ?? "")
            where own.axes.count == 1 && own.axes != [.rank] {
                extents[own.axes[0]] = ordered.filter { $0.name.hasSuffix(own.suffix) }.map { $0.shape[0] }.max()
            }
            let least = role.axes.map { extents[$0] ?? 1 }
            guard tensor.shape.count == least.count, zip(tensor.shape, least).allSatisfy({ $0 >= $1 }),
                zip(role.axes, tensor.shape).allSatisfy({ $0 != .rank || $1 == configuration.rank }),
                elementCount(shape: tensor.shape) == tensor.elementCount
            else {
                throw .wrongAxes(
                    file: file, tensor: tensor.name, expected: role.words(extents, ofAll: true), found: tensor.shape)
            }
            shared.append(tensor)
        }
        return shared
    }

    /// The tensors of layers that are saved whole, those of each name of `modulesToSave` in the order of the file.
    private static func saved(
        _ tensors: [AdapterTensor], not known: NameSet, _ configuration: AdapterConfiguration, file: String
    ) throws(AdapterError) -> [AdapterTensor] {
        var saved: [AdapterTensor] = []
        for name in configuration.modulesToSave {
            let own = tensors.filter {
                !known.contains($0.name) && AdapterConfiguration.isTensor($0.name, ofWhole: name)
            }
            guard !own.isEmpty || configuration.isAssumed(name, having: tensors) else {
                throw .missingTensor(file: file, tensor: PEFTNames.key(name, PEFTNames.weight))
            }
            for tensor in own where !saved.contains(where: { $0.name.hasSameBytes(as: tensor.name) }) {
                guard !tensor.shape.contains(0), elementCount(shape: tensor.shape) == tensor.elementCount else {
                    throw .wrongAxes(
                        file: file, tensor: tensor.name, expected: "the layer's own shape", found: tensor.shape)
                }
                saved.append(tensor)
            }
        }
        return saved
    }

    private static func refuseStrangers(
        _ tensors: [AdapterTensor], known: NameSet, file: String
    ) throws(AdapterError) {
        var seen: NameSet = []
        for tensor in tensors {
            guard known.contains(tensor.name) else {
                throw .unknownTensor(file: file, tensor: tensor.name, reason: "belongs to none of the modules")
            }
            guard seen.insert(tensor.name).inserted else {
                throw .unknownTensor(file: file, tensor: tensor.name, reason: "is there twice")
            }
        }
    }

    private static func check(
        _ statistics: AdapterStatistics?, known: NameSet, configuration: AdapterConfiguration, file: String
    ) throws(AdapterError) {
        for entry in statistics?.modules ?? [] {
            guard known.contains(entry.module) else {
                throw .malformed(
                    file: file, what: "the statistics", expected: "entries of adapted modules", found: entry.module)
            }
            let rank = configuration.rank(for: entry.module) ?? 0
            for sums in [entry.innerSums, entry.activeInnerSums].compactMap({ $0 }) where sums.count != rank * rank {
                throw .malformed(
                    file: file, what: "the statistics of '\(entry.module)'", expected: "\(rank) x \(rank) inner sums",
                    found: "\(sums.count)")
            }
        }
    }

    private static func check(
        _ thresholds: NameTable<Float>, modules: [String], isGated: Bool, _ origin: AdapterOrigin
    ) throws(AdapterError) {
        let file = origin.file
        guard isGated else {
            guard let stray = thresholds.keys.min() else { return }
            throw .unknownTensor(
                file: file, tensor: PEFTNames.key(stray, PEFTNames.tau),
                reason: "is a gate's threshold, but the adapter's peft_type is a dense one")
        }
        for module in modules {
            let key = PEFTNames.key(module, PEFTNames.tau)
            guard let tau = thresholds[module] else { throw .missingTensor(file: file, tensor: key) }
            guard tau.isFinite || origin.finiteness == .waived else {
                throw .notFinite(file: file, tensor: key, index: 0)
            }
        }
        let known = NameSet(modules)
        if let stray = thresholds.keys.filter({ !known.contains($0) }).min() {
            throw .unknownTensor(
                file: file, tensor: PEFTNames.key(stray, PEFTNames.tau), reason: "belongs to none of the modules")
        }
    }
}
