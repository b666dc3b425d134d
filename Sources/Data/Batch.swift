/// Sequences laid end to end without padding, as a model takes them.
///
/// One row is one token. With T rows: `tokens`, `positions` and `targets` have the shape [T].
package struct Batch: Sendable, Equatable {
    /// The token ids, [T].
    package let tokens: [Int32]
    /// Each token's position in its own sequence, from 0, [T].
    package let positions: [Int32]
    /// The rows of each sequence, in order, without gaps; attention stays within one.
    package let sequences: [Range<Int>]
    /// For each row the id of the token that follows in the same sequence, where that one is scored; else -1, [T].
    package let targets: [Int32]
    /// How many targets are not -1.
    package let scoredCount: Int

    /// The target of a row that predicts nothing that is scored.
    package static let noTarget: Int32 = -1

    /// Lays `examples` end to end in their order; one without tokens takes no rows and gives no sequence.
    package static func packing(_ examples: [Example]) -> Batch {
        var tokens: [Int32] = []
        var positions: [Int32] = []
        var sequences: [Range<Int>] = []
        var targets: [Int32] = []
        var scoredCount = 0
        let rowCount = examples.reduce(0) { $0 + $1.tokens.count }
        tokens.reserveCapacity(rowCount)
        positions.reserveCapacity(rowCount)
        targets.reserveCapacity(rowCount)
        for example in examples where !example.tokens.isEmpty {
            let start = tokens.count
            tokens += example.tokens
            positions += (0..<Int32(example.tokens.count))
            for (token, isScored) in zip(example.tokens, example.scored).dropFirst() {
                targets.append(isScored ? token : noTarget)
                scoredCount += isScored ? 1 : 0
            }
            targets.append(noTarget)
            sequences.append(start..<tokens.count)
        }
        return Batch(
            tokens: tokens, positions: positions, sequences: sequences, targets: targets, scoredCount: scoredCount)
    }
}
