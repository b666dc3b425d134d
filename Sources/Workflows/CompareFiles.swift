import Adapters
import CheckpointIO
import Models
import TensorCore
import Transforms

/// How two checkpoints, or two adapters, differ.
package struct FileComparison: Sendable {
    /// A tensor that both have, in the same shape.
    package struct Entry: Sendable, Equatable {
        /// Its name; Hugging Face's where the two have names of different kinds.
        package let name: String
        /// Its shape.
        package let shape: [Int]
        /// How A and B store it.
        package let before: TensorEncoding
        package let after: TensorEncoding
        /// What differs.
        package let outcome: TensorPair.Outcome

        /// Elements of the tensor.
        package var elementCount: Int { shape.reduce(1, *) }
        /// Whether the two store it in different types.
        package var isRetyped: Bool { before != after }
        /// Whether values differ, or bytes of a type without numbers.
        package var isChanged: Bool {
            switch outcome {
            case .identical: false
            case .compared(let comparison): comparison.differing > 0
            case .unreadable: true
            }
        }
    }

    /// A tensor that both have, in different shapes.
    package struct Reshaped: Sendable, Equatable {
        package let name: String
        /// The shapes in A and in B.
        package let before: [Int]
        package let after: [Int]
    }

    /// The two paths, A and B.
    package let paths: (before: String, after: String)
    /// Tensors of each.
    package let counts: (before: Int, after: Int)
    /// Whether GGUF's names were translated to Hugging Face's, and rows put in its order.
    package let isTranslated: Bool
    /// Names that only B has, in its order.
    package let added: [String]
    /// Names that only A has, in its order.
    package let removed: [String]
    /// Tensors of another shape.
    package let reshaped: [Reshaped]
    /// The others: the changed ones by falling relative change, then the rest in A's order.
    package let entries: [Entry]

    /// Tensors whose values differ.
    package var changed: [Entry] { entries.filter(\.isChanged) }
    /// Tensors with the same values in another type.
    package var retyped: [Entry] { entries.filter { $0.isRetyped && !$0.isChanged } }
    /// Whether both hold the same tensors, byte for byte (after translation: value for value in the same types).
    package var isIdentical: Bool {
        added.isEmpty && removed.isEmpty && reshaped.isEmpty && entries.allSatisfy { !$0.isChanged && !$0.isRetyped }
    }
}

/// Compares the tensors of two paths, A and B: checkpoints of either layout, files of tensors, or adapters.
///
/// Names are compared as they stand; those of a Hugging Face model and a GGUF one by Hugging Face's, with the rows of
/// queries and keys, and all else that the table of names knows to lie otherwise, in its order; values that GGUF holds in
/// another form (1 + w) are compared in that. `pattern` restricts the comparison to names that match it (see `TensorRequest`).
/// Throws what opening the files throws, and `matchesNothing` where the pattern matches no name of either.
package func compareFiles(_ before: String, _ after: String, tensors pattern: String? = nil) throws -> FileComparison {
    let sides = (try ComparedSide(before), try ComparedSide(after))
    guard let left = sides.0.model, let right = sides.1.model, left.checkpoint.layout != right.checkpoint.layout,
        left.checkpoint.layout == .gguf || right.checkpoint.layout == .gguf
    else { return try compare(sides.0, sides.1, pattern, isTranslated: false) }
    return try compare(sides.0.translated(), sides.1.translated(), pattern, isTranslated: true)
}

private func compare(
    _ before: ComparedSide, _ after: ComparedSide, _ pattern: String?, isTranslated: Bool
) throws -> FileComparison {
    let request = TensorRequest(pattern: pattern)
    let left = before.tensors.filter { request.matches($0.name) }
    let right = after.tensors.filter { request.matches($0.name) }
    if left.isEmpty, right.isEmpty, let pattern {
        throw WorkflowError.matchesNothing(
            path: before.path, what: request.words, reason: "nor does it in \(after.path)",
            nearest: NearestNames.find(pattern, in: before.tensors.map(\.name)))
    }
    let others = NameTable(right.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
    let known = NameSet(left.map(\.name))
    var reshaped: [FileComparison.Reshaped] = []
    var names: [String] = []
    var pairs: [TensorPair] = []
    for tensor in left {
        guard let other = others[tensor.name] else { continue }
        guard tensor.record.shape == other.record.shape else {
            reshaped.append(.init(name: tensor.name, before: tensor.record.shape, after: other.record.shape))
            continue
        }
        names.append(tensor.name)
        pairs.append(
            TensorPair(
                before: tensor.record, after: other.record, forms: (tensor.form, other.form)))
    }
    let outcomes = try TensorPair.compare(pairs, before: before.source, after: after.source)
    let entries = zip(names, zip(pairs, outcomes)).map { name, result in
        FileComparison.Entry(
            name: name, shape: result.0.before.shape, before: result.0.before.encoding,
            after: result.0.after.encoding, outcome: result.1)
    }
    return FileComparison(
        paths: (before.path, after.path), counts: (left.count, right.count), isTranslated: isTranslated,
        added: right.map(\.name).filter { !known.contains($0) },
        removed: left.map(\.name).filter { others[$0] == nil }, reshaped: reshaped,
        entries: entries.filter(\.isChanged).sorted(by: changesMore) + entries.filter { !$0.isChanged })
}

/// By falling relative change; what cannot be measured comes first.
private func changesMore(_ one: FileComparison.Entry, _ other: FileComparison.Entry) -> Bool {
    func size(_ entry: FileComparison.Entry) -> Double {
        if case .compared(let comparison) = entry.outcome { comparison.relative } else { .infinity }
    }
    let (left, right) = (size(one), size(other))
    return left == right ? one.name < other.name : left > right
}

/// One of the two that are compared.
private struct ComparedSide {
    struct Tensor {
        let name: String
        let record: TensorRecord
        var form = GGUFForm.same
    }

    let path: String
    let source: any TensorSource
    let model: ModelCheckpoint?
    let tensors: [Tensor]

    init(_ path: String) throws {
        self.path = path
        let isAdapter = pathKind(joinedPath(path, PEFTNames.configurationFile)) != .nothing
        if isAdapter || path.hasSuffix(FilePack.suffix) {
            let file = try AdapterFiles(path).tensors(PEFTNames.tensorFile)
            source = file
            model = nil
            tensors = file.tensors.map { Tensor(name: $0.name, record: $0) }
        } else {
            // The same files as the model's, if there is one.
            let model = try? ModelCheckpoint.open(path)
            let checkpoint = try model?.checkpoint ?? Checkpoint.open(path)
            source = checkpoint
            self.model = model
            tensors = checkpoint.tensors.map { Tensor(name: $0.name, record: $0) }
        }
    }

    private init(path: String, source: any TensorSource, model: ModelCheckpoint?, tensors: [Tensor]) {
        self.path = path
        self.source = source
        self.model = model
        self.tensors = tensors
    }

    /// The same by Hugging Face's names and in its order of rows.
    func translated() -> ComparedSide {
        guard let model, model.checkpoint.layout == .gguf else { return self }
        let translated = tensors.map { tensor -> Tensor in
            guard let known = model.specifications[gguf: tensor.name] else {
                // No part of the model, such as a layer too many: its rows are compared as they stand.
                let path = model.architecture.flatMap { type(of: $0).modulePath(ofGGUFWeight: tensor.name) }
                let name = path.map(CheckpointNames.weight(of:)) ?? tensor.name
                return Tensor(name: name, record: tensor.record)
            }
            return Tensor(name: known.name, record: tensor.record, form: known.ggufForm)
        }
        return ComparedSide(path: path, source: source, model: model, tensors: translated)
    }
}
