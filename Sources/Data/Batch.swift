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
    /// The pictures whose tokens are among them, in their order.
    package var images: [ExampleImage] = []

    /// How many rows are scored.
    package var scoredCount: Int { labels.count }

    /// Lays `examples` end to end in their order; one without tokens takes no rows and gives no sequence. Each scored
    /// token is the label of the row before it; where examples have labels of their own, those are the labels of the
    /// sequences, all of one kind.
    package static func packing(_ examples: [Example]) -> Batch {
        let types = examples.contains { $0.types != nil } ? examples.flatMap(\.everyType) : nil
        let layout = TokenLayout(lengths: examples.map(\.tokens.count).filter { $0 > 0 }, types: types)
        if let labels = sequenceLabels(examples.filter { !$0.tokens.isEmpty }) {
            return Batch(
                tokens: examples.flatMap(\.tokens), layout: layout, labels: labels, images: examples.flatMap(\.images))
        }
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
            tokens: tokens, layout: layout, labels: Labels(rows: scoredRows, .ids(targets)),
            images: examples.flatMap(\.images))
    }

    /// The labels of sequences; nil where none has one.
    private static func sequenceLabels(_ sequences: [Example]) -> Labels? {
        var (rows, ids, numbers): ([Int32], [Int32], [Float]) = ([], [], [])
        for (row, sequence) in sequences.enumerated() {
            switch sequence.label {
            case nil: continue
            case .index(let id): ids.append(id)
            case .value(let number): numbers.append(number)
            }
            rows.append(Int32(row))
        }
        if rows.isEmpty { return nil }
        precondition(ids.isEmpty || numbers.isEmpty, "classes and numbers in one batch")
        return Labels(rows: rows, numbers.isEmpty ? .ids(ids) : .numbers(numbers))
    }
}

extension Example {
    /// The type of each token.
    fileprivate var everyType: [Int32] { types ?? [Int32](repeating: 0, count: tokens.count) }
}
