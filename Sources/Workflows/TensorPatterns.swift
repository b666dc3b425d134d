import CheckpointIO
import Models

/// Tensors of a model whose names differ in numbers alone, of one shape and one type.
package struct TensorPattern: Sendable, Equatable {
    /// Their name, each number in it as `*`: `model.layers.*.mlp.up_proj.weight`.
    package let pattern: String
    /// How many there are.
    package fileprivate(set) var count: Int
    /// Extents of each.
    package let shape: [Int]
    /// Such as `BF16`.
    package let encoding: String
    /// Bytes of all together.
    package fileprivate(set) var byteCount: Int
    /// What they are to the model; nil where the files do not tell.
    package let role: TensorRole?
    /// Whether they are weights stored as [inputSize, outputSize].
    package let isTransposed: Bool
}

extension ModelCheckpoint {
    /// All tensors of the model by patterns, in the order of the first of each.
    package var patterns: [TensorPattern] {
        struct Key: Hashable {
            let pattern: String
            let shape: [Int]
            let encoding: String
            let role: TensorRole?
        }
        var places: [Key: Int] = [:]
        var found: [TensorPattern] = []
        for name in tensorNames {
            guard let record = record(of: name) else { continue }
            let known = specifications[name]
            let key = Key(
                pattern: Self.pattern(of: name), shape: record.shape, encoding: record.encoding.description,
                role: known?.role)
            if let place = places[key] {
                found[place].count += 1
                found[place].byteCount += record.byteCount
                continue
            }
            places[key] = found.count
            found.append(
                TensorPattern(
                    pattern: key.pattern, count: 1, shape: key.shape, encoding: key.encoding,
                    byteCount: record.byteCount, role: key.role, isTransposed: known?.isTransposed ?? false))
        }
        return found
    }

    private static func pattern(of name: String) -> String {
        name.split(separator: ".", omittingEmptySubsequences: false).map { part in
            !part.isEmpty && part.utf8.allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) } ? "*" : part
        }.joined(separator: ".")
    }
}
