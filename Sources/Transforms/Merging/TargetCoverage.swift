import Adapters
import Models
import TensorCore

/// Whether the modules that an adapter has tensors of are those that its targets match: peft drops the tensors of others
/// in silence, and leaves modules untrained whose tensors are not there.
///
/// Which modules a model has in memory is not known from its files alone. What is asked is therefore:
/// each module that the adapter has is one that its targets match, by its own names; and no module of the base is
/// matched, but left out, that
/// - lies beside those that it has, in the same list of layers;
/// - lies outside of all layers and is matched by a name that matches none of the adapter's modules, or is a convolution;
/// - is the embedding or the output head, where the targets are an expression.
struct TargetCoverage {
    private let adapter: AdapterDirectory
    private let base: ModelCheckpoint
    private let names: BaseNames

    init(_ adapter: AdapterDirectory, base: ModelCheckpoint, names: BaseNames) {
        self.adapter = adapter
        self.base = base
        self.names = names
    }

    /// Throws `AdapterError.untargetedModule` and `.modulesWithoutTensors`. An expression that does not compile here
    /// cannot be asked; the tensors' names stand then.
    func check(_ updates: [AdapterPlacement.Update]) throws(AdapterError) {
        let configuration = adapter.configuration
        do throws(AdapterError) {
            let own = adapter.modules.map { LinearModule(path: $0, outputSize: 1, inputSize: 1) }
            let matched = NameSet(try configuration.matchedPaths(own))
            if let stray = adapter.modules.first(where: { !matched.contains($0) && !isInside(matched, $0) }) {
                throw .untargetedModule(stray, adapter: adapter.displayName, targets: configuration.targets.summary)
            }
            let missing =
                try configuration.matchedPaths(modulesBeside(updates) + modulesOutside(updates))
                + (try matricesBeside(updates))
            if let first = missing.first {
                throw .modulesWithoutTensors(
                    adapter: adapter.displayName, count: missing.count, first: first, found: adapter.modules.count)
            }
        } catch {
            if case .badExpression = error { return }
            throw error
        }
    }

    /// Whether a module is a part of a matched one with an update of its own, as the output of torch's
    /// MultiheadAttention is.
    private func isInside(_ matched: NameSet, _ module: String) -> Bool {
        guard let dot = module.lastIndex(of: ".") else { return false }
        return matched.contains(String(module[..<dot]))
    }

    /// Modules of the base with a matrix that no update changes, in lists of layers where updates change some.
    private func modulesBeside(_ updates: [AdapterPlacement.Update]) -> [LinearModule] {
        let changed = NameSet(updates.flatMap { $0.places.joined().map(\.tensor) })
        let weight = CheckpointNames.weight(of: "")
        var lists: NameSet = []
        var haveExperts = false
        for update in updates {
            guard case .module(let path) = update.subject else { continue }
            haveExperts = haveExperts || path.contains(Self.experts)
            for place in update.places.joined() {
                if let list = Self.list(of: place.tensor) { lists.insert(String(list)) }
            }
        }
        // The targets mean what the adapter's own modules are called.
        let usesMemoryNames = adapter.modules.contains(where: names.isMemoryName)
        return base.tensorNames.compactMap { name in
            guard name.hasSuffix(weight), !isUnread(name), !changed.contains(name),
                let list = Self.list(of: name),
                lists.contains(String(list)), haveExperts || !name.contains(Self.experts),
                let shape = base.shape(of: name), shape.count == 2 || isConvolution(name, shape)
            else { return nil }
            let path = String(name.dropLast(weight.count))
            return LinearModule(
                path: usesMemoryNames ? names.memoryName(of: path) ?? path : path, outputSize: shape[0],
                inputSize: shape[1],
                isOfMixture: base.specifications[name]?.isOfMixture ?? false)
        }
    }

    /// Whether a tensor is a convolution's that targets may mean: `all-linear` leaves them out.
    private func isConvolution(_ name: String, _ shape: [Int]) -> Bool {
        shape.count > 2 && adapter.configuration.targets != .allLinear && base.specifications[name]?.role != .experts
    }

    /// Modules of the base outside of all layers that no update changes and no value replaces.
    ///
    /// A name of a list that matches modules of the adapter says nothing of others that bear it: a bare model has no
    /// pooler, whose layer is called as those of the layers are. One that matches none of them is of a module that is
    /// left out.
    private func modulesOutside(_ updates: [AdapterPlacement.Update]) -> [LinearModule] {
        let configuration = adapter.configuration
        guard configuration.targets != .allLinear else { return [] }
        let paths = adapter.modules + adapter.extras.updates.map(\.path)
        var idle: NameSet?
        if case .names(let names) = configuration.targets {
            // An adapter may name each of many thousand modules by its whole path.
            idle = NameSet(names).subtracting(paths.flatMap(Self.endings))
        }
        let changed = NameSet(updates.flatMap { $0.places.joined().map(\.tensor) + [$0.untiedHead].compactMap { $0 } })
        let halves = NameSet(names.sharedEmbedding?.copies ?? [])
        func isMeant(_ path: String, _ name: String, _ shape: [Int]) -> Bool {
            if isConvolution(name, shape) || halves.contains(name) { return true }
            if let idle { return !idle.isEmpty && Self.endings(of: path).contains(where: idle.contains) }
            let role = base.specifications[name]?.role
            return role == .embedding || role == .outputHead
        }
        let weight = CheckpointNames.weight(of: "")
        var candidates = base.tensorNames
        if let head = names.tiedHead?.head, base.shape(of: head) == nil { candidates.append(head) }
        // One half's embedding calls for the other's.
        if halves.contains(where: changed.contains) { candidates += halves }
        return candidates.compactMap { name in
            guard name.hasSuffix(weight), Self.list(of: name) == nil, !changed.contains(name), !isUnread(name) else {
                return nil
            }
            let path = String(name.dropLast(weight.count))
            let shape = base.shape(of: name) ?? []
            guard shape.count != 1, isMeant(path, name, shape),
                !configuration.modulesToSave.contains(where: { entry in
                    Self.owners(of: path).contains { TargetMatch.name(entry, matches: $0) }
                })
            else { return nil }
            return LinearModule(path: path, outputSize: 1, inputSize: 1)
        }
    }

    /// Whether a tensor lies in layers that no model loads: those that predict further tokens, by name or because
    /// `config.json` counts fewer layers.
    func isUnread(_ name: String) -> Bool {
        if name.hasPrefix(Self.predictionHeads) { return true }
        guard let count = base.layerCount, let list = Self.list(of: name), Self.bodies.contains(where: list.hasSuffix)
        else { return false }
        return (Int(name.dropFirst(list.count).prefix { $0 != "." }) ?? 0) >= count
    }

    /// What the list of a decoder's layers ends in.
    private static let bodies = ["model.layers.", "language_model.layers."]

    private static let experts = ".experts."
    /// Layers that predict further tokens, which no model loads.
    private static let predictionHeads = "mtp."

    /// Matrices of packed parameters, and of experts in packed tensors, that updates of others of their kind leave out:
    /// the same parameter in another layer, another expert, its gate where others have gate and up.
    private func matricesBeside(_ updates: [AdapterPlacement.Update]) throws(AdapterError) -> [String] {
        var changed: NameTable<[Int: [MatrixPlace]]> = [:]
        var kinds: NameTable<[(place: MatrixPlace, update: AdapterPlacement.Update)]> = [:]
        for update in updates {
            for place in update.places.joined() {
                changed[place.tensor, default: [:]][place.expert ?? 0, default: []].append(place)
                guard update.places.count > 1 || place.expert != nil else { continue }
                let kind = Self.kind(of: place.tensor)
                if kinds[kind]?.contains(where: { $0.place.hasPart(of: place) }) == true { continue }
                kinds[kind, default: []].append((place, update))
            }
        }
        guard !kinds.isEmpty else { return [] }
        var candidates: [LinearModule] = []
        var missing: [String] = []
        for name in base.tensorNames where !isUnread(name) {
            guard let parts = kinds[Self.kind(of: name)], let shape = base.shape(of: name) else { continue }
            let isPacked = shape.count == 3
            for expert in isPacked ? 0..<shape[0] : 0..<1 {
                let known = changed[name]?[expert] ?? []
                for (part, update) in parts where !known.contains(where: { $0.meets(part) }) {
                    guard case .module(let path) = update.subject else {
                        missing.append(isPacked ? "\(name)[\(expert)]" : name)
                        continue
                    }
                    let numbers = Self.numbers(in: name) + (isPacked ? [String(expert)] : [])
                    candidates.append(
                        LinearModule(path: Self.path(path, numbers: numbers), outputSize: 1, inputSize: 1))
                }
            }
        }
        return missing + (try adapter.configuration.matchedPaths(candidates))
    }

    private static let dot = UInt8(ascii: ".")

    /// What a name of a list of targets may be to mean a path: the path, and all that stands behind one of its dots.
    private static func endings(of path: String) -> [String] {
        [path] + path.utf8.indices.filter { path.utf8[$0] == dot }.map { String(path[path.utf8.index(after: $0)...]) }
    }

    /// A module and those that it lies in.
    private static func owners(of path: String) -> [String] {
        path.utf8.indices.filter { path.utf8[$0] == dot }.map { String(path[..<$0]) } + [path]
    }

    /// The parts of a name. By bytes: by characters it takes several times as long, and files have many thousand names.
    private static func parts(of name: String) -> [Substring] {
        name.utf8.split(separator: dot).map { Substring($0) }
    }

    private static func isNumber(_ part: Substring) -> Bool {
        part.utf8.allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
    }

    /// A name with a star for each number.
    static func kind(of name: String) -> String {
        parts(of: name).map { isNumber($0) ? "*" : $0 }.joined(separator: ".")
    }

    private static func numbers(in name: String) -> [String] { parts(of: name).filter(isNumber).map(String.init) }

    /// A path with other numbers, as many as there are.
    private static func path(_ path: String, numbers: [String]) -> String {
        var rest = numbers[...]
        return parts(of: path).map { isNumber($0) ? rest.popFirst() ?? String($0) : String($0) }
            .joined(separator: ".")
    }

    /// What stands before the first number of a name; nil where there is none.
    private static func list(of name: String) -> Substring? {
        let bytes = name.utf8
        var start = bytes.startIndex
        while let end = bytes[start...].firstIndex(of: dot) {
            if end > start, isNumber(name[start..<end]) { return name[..<start] }
            start = bytes.index(after: end)
        }
        return nil
    }
}

extension ModelCheckpoint {
    /// Layers, as `config.json` says, of the model or of its text model.
    fileprivate var layerCount: Int? { textModelField("num_hidden_layers") }
}
