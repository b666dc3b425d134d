import Adapters
import CheckpointIO
import Models
import TensorCore

/// Whether an adapter holds every value that its configuration calls for: all tensors of modules that were trained whole,
/// in each layer that has such a module; the biases; the rows of each embedding of which tokens were trained.
struct ValueCoverage {
    /// A value by the adapter's name for it, and the tensor of the output that it is.
    typealias Placed = (name: String, target: String)

    private let adapter: AdapterDirectory
    private let base: ModelCheckpoint
    private let names: BaseNames
    private let targets: TargetCoverage
    private let placed: [Placed]
    private let held: NameSet

    /// - Parameter placed: everything that the adapter holds, what is the base's own among it.
    init(
        _ adapter: AdapterDirectory, base: ModelCheckpoint, names: BaseNames, targets: TargetCoverage,
        placed: [Placed]
    ) {
        self.adapter = adapter
        self.base = base
        self.names = names
        self.targets = targets
        self.placed = placed
        held = NameSet(placed.map(\.target))
    }

    /// Throws `AdapterError.missingParts`.
    func check(
        _ updates: [AdapterPlacement.Update], rows: [AdapterPlacement.Rows]
    ) throws(AdapterError) {
        try require(missingModules(), by: "modules_to_save")
        try require(missingBiases(updates, rows), by: "bias")
        try require(missingTokens(rows), by: PEFTNames.tokensField)
    }

    private func require(_ missing: [String], by field: String) throws(AdapterError) {
        guard let first = missing.first else { return }
        throw .missingParts(adapter: adapter.displayName, field: field, count: missing.count, first: first)
    }

    // MARK: Modules

    /// Weights and biases of modules of the base that `modules_to_save` names and the adapter does not hold. A name of
    /// which it holds nothing is refused when it is read.
    private func missingModules() -> [String] {
        let saved = adapter.configuration.modulesToSave
        guard !saved.isEmpty else { return [] }
        var roots: NameSet = []
        for (name, target) in placed {
            for entry in saved { if let root = Self.root(of: entry, name, target) { roots.insert(root) } }
        }
        return base.tensorNames.filter { name in
            guard !held.contains(name), !targets.isUnread(name), isParameter(name) else { return false }
            return Self.prefixes(of: TargetCoverage.kind(of: name)).contains(where: roots.contains)
        }
    }

    /// Whether a tensor is one that a module has when it is trained: not one that is computed when a model is made.
    private func isParameter(_ name: String) -> Bool {
        guard let shape = base.shape(of: name), base.record(of: name)?.encoding.holdsReals == true else { return false }
        return name.hasSuffix(CheckpointNames.weight(of: "")) || name.hasSuffix(Self.bias) && shape.count == 1
    }

    /// The base's module that an entry of `modules_to_save` means, with stars for numbers, as a value that lies in it
    /// tells; nil for another's value.
    private static func root(of entry: String, _ name: String, _ target: String) -> String? {
        guard let end = end(of: entry, in: name) else { return nil }
        let rest = name[end...]
        let root = target.dropLast(rest.count)
        // What goes by another name in the files may lie in another module there.
        guard target.endsInBytes(of: rest), TargetMatch.name(entry, matches: String(root)) else { return nil }
        return TargetCoverage.kind(of: String(root))
    }

    /// Where the first module of a name ends that `entry` means.
    private static func end(of entry: String, in name: String) -> String.Index? {
        var start = name.startIndex
        while true {
            if name[start...].hasPrefix(entry + ".") { return name.index(start, offsetBy: entry.count) }
            guard let dot = name[start...].firstIndex(of: ".") else { return nil }
            start = name.index(after: dot)
        }
    }

    /// The modules that something lies in.
    private static func prefixes(of name: String) -> [String] {
        name.indices.filter { name[$0] == "." }.map { String(name[..<$0]) }
    }

    // MARK: Biases

    private static let bias = CheckpointNames.bias(of: "")
    private static let biasField = "bias"

    /// Biases of adapted layers, and such as the adapter holds in other layers. Older versions of peft lost all that `lora_only`
    /// trained, so nothing is asked where there is none.
    private func missingBiases(
        _ updates: [AdapterPlacement.Update], _ rows: [AdapterPlacement.Rows]
    ) -> [String] {
        let mode = adapter.configuration.otherFields[Self.biasField]?.stringValue ?? "none"
        guard mode != "none" else { return [] }
        let biases = held.filter { $0.hasSuffix(Self.bias) }
        guard !biases.isEmpty || mode == "all" else { return [] }
        var seen: NameSet = []
        var missing = updates.compactMap(\.bias).filter { !held.contains($0) && seen.insert($0).inserted }
        guard mode == "all" else { return missing }
        // One half of a bias that two modules have in one tensor calls for the other.
        var counts: NameTable<Int> = [:]
        for part in rows where part.tensor.hasSuffix(Self.bias) {
            counts[part.tensor, default: 0] += part.rows.tokens.count
        }
        missing += counts.filter { base.shape(of: $0.key)?.first ?? 0 > $0.value }.map(\.key).sorted()
        let kinds = NameSet(biases.map(TargetCoverage.kind))
        let known = held.union(missing)
        return missing
            + base.tensorNames.filter { name in
                name.hasSuffix(Self.bias) && !known.contains(name) && !targets.isUnread(name)
                    && kinds.contains(TargetCoverage.kind(of: name))
            }
    }

    // MARK: Tokens

    /// What the rows are called where no embedding is named.
    private static let tokenRows = "trainable_tokens_delta"

    /// Embeddings that `trainable_token_indices` names and the adapter has no rows of.
    private func missingTokens(_ rows: [AdapterPlacement.Rows]) -> [String] {
        guard let field = adapter.configuration.otherFields[PEFTNames.tokensField], !PEFTField.isInert(field) else {
            return []
        }
        guard let lists = field.objectValue else {
            return rows.isEmpty && placed.isEmpty ? [Self.tokenRows] : []
        }
        let changed = NameSet(rows.map(\.tensor))
        return lists.members.map(\.key).filter { entry in
            let weight = CheckpointNames.weight(of: entry)
            if rows.contains(where: { TargetMatch.name(entry, matches: $0.rows.path) }) { return false }
            if placed.contains(where: { TargetMatch.name(weight, matches: $0.name) }) { return false }
            // A head that is the embedding follows it.
            if let (head, embedding) = names.tiedHead, changed.contains(embedding),
                TargetMatch.name(weight, matches: head)
            {
                return false
            }
            return !base.specifications.all.contains { tensor in
                TargetMatch.name(entry, matches: tensor.module) && tensor.tiedTo.map(changed.contains) ?? false
            }
        }
    }
}
