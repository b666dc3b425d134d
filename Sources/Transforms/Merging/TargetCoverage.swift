import Adapters
import Models

/// Whether the modules that an adapter has tensors of are those that its targets match: peft drops the tensors of others
/// in silence, and leaves modules untrained whose tensors are not there.
///
/// Which modules a model has in memory is not known from its files alone. What is asked is therefore:
/// each module that the adapter has is one that its targets match, by its own names; and no module of the base lies
/// beside those that it has (in the same list of layers) and is matched, but left out.
struct TargetCoverage {
    private let adapter: AdapterDirectory
    private let base: ModelCheckpoint

    init(_ adapter: AdapterDirectory, base: ModelCheckpoint) {
        self.adapter = adapter
        self.base = base
    }

    /// Throws `AdapterError.untargetedModule` and `.modulesWithoutTensors`. An expression that does not compile here
    /// cannot be asked; the tensors' names stand then.
    func check(_ updates: [AdapterPlacement.Update]) throws(AdapterError) {
        let configuration = adapter.configuration
        do throws(AdapterError) {
            let own = adapter.modules.map { LinearModule(path: $0, outputSize: 1, inputSize: 1) }
            let matched = Set(try configuration.matchedPaths(own))
            if let stray = adapter.modules.first(where: { !matched.contains($0) && !isInside(matched, $0) }) {
                throw .untargetedModule(stray, adapter: adapter.displayName, targets: configuration.targets.summary)
            }
            let missing = try configuration.matchedPaths(modulesBeside(updates))
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
    private func isInside(_ matched: Set<String>, _ module: String) -> Bool {
        guard let dot = module.lastIndex(of: ".") else { return false }
        return matched.contains(String(module[..<dot]))
    }

    /// Modules of the base with a matrix that no update changes, in lists of layers where updates change some.
    private func modulesBeside(_ updates: [AdapterPlacement.Update]) -> [LinearModule] {
        let changed = Set(updates.flatMap { $0.places.joined().map(\.tensor) })
        let weight = CheckpointNames.weight(of: "")
        var lists: Set<Substring> = []
        var haveExperts = false
        for update in updates {
            guard case .module(let path) = update.subject else { continue }
            haveExperts = haveExperts || path.contains(Self.experts)
            for place in update.places.joined() { if let list = Self.list(of: place.tensor) { lists.insert(list) } }
        }
        return base.tensorNames.compactMap { name in
            guard name.hasSuffix(weight), !name.hasPrefix(Self.predictionHeads), !changed.contains(name),
                let list = Self.list(of: name),
                lists.contains(list), haveExperts || !name.contains(Self.experts),
                let shape = base.shape(of: name), shape.count == 2
            else { return nil }
            return LinearModule(path: String(name.dropLast(weight.count)), outputSize: shape[0], inputSize: shape[1])
        }
    }

    private static let experts = ".experts."
    /// Layers that predict further tokens, which no model loads.
    private static let predictionHeads = "mtp."

    /// What stands before the first number of a name; nil where there is none.
    private static func list(of name: String) -> Substring? {
        var start = name.startIndex
        while let dot = name[start...].firstIndex(of: ".") {
            if dot > start, name[start..<dot].allSatisfy(\.isNumber) { return name[..<start] }
            start = name.index(after: dot)
        }
        return nil
    }
}
