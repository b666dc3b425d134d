import TensorCore

/// Sequences laid end to end without padding, as a model takes them, with what they are scored against. One row is one
/// token.
package struct Batch: Sendable, Equatable {
    /// The token ids, [rows].
    package let tokens: [Int32]
    /// Each token's position in its own sequence, from 0, and the sequences: attention stays within one.
    package let layout: TokenLayout
    /// What is scored.
    package let labels: Labels

    /// How many rows are scored.
    package var scoredCount: Int { labels.count }

    /// Lays `examples` end to end in their order; one without tokens takes no rows and gives no sequence. Each scored
    /// token is the label of the row before it.
    package static func packing(_ examples: [Example]) -> Batch {
        var tokens: [Int32] = []
        var scoredRows: [Int32] = []
        var targets: [Int32] = []
        tokens.reserveCapacity(examples.reduce(0) { $0 + $1.tokens.count })
        for example in examples {
            let start = tokens.count
            tokens += example.tokens
            for index in example.tokens.indices.dropFirst() where example.scored[index] {
                scoredRows.append(Int32(start + index - 1))
                targets.append(example.tokens[index])
            }
        }
        return Batch(
            tokens: tokens, layout: TokenLayout(lengths: examples.map(\.tokens.count).filter { $0 > 0 }),
            labels: Labels(rows: scoredRows, .ids(targets)))
    }
}
