import Compute
import Glibc
import TensorCore

/// The embeddings of the distances between tokens, which DeBERTa sends through the projections of queries and keys.
struct RelativeEmbedding {
    /// [rows, hiddenSize], F32: the row of distance d is that of its bucket b(d), at `span` + b(d).
    let table: Tensor
    /// The norm of the rows.
    let norm: LayerNorm?
    /// Buckets to either side.
    let span: Int
    /// Whether far distances share buckets by their logarithm.
    let hasLogarithmicBuckets: Bool
    /// Distances from which on the last bucket is shared, where buckets are logarithmic.
    let maximumDistance: Int

    /// The rows that a batch's distances need, as one pass has them for all layers.
    struct Input {
        /// [needed, hiddenSize] in the computation's type.
        let embeddings: Variable
        /// Which of them belongs to which distance.
        let rows: RelativeRows
        /// The rows of the table that they are.
        let tableRows: [Int32]
    }

    /// The row of a distance i - j.
    func row(_ distance: Int) -> Int { min(max(bucket(distance) + span, 0), 2 * span - 1) }

    /// The bucket: the distance itself up to half of the buckets, logarithmic beyond (He et al., arXiv 2111.09543, as
    /// transformers computes it).
    private func bucket(_ distance: Int) -> Int {
        let middle = span / 2
        guard hasLogarithmicBuckets, abs(distance) >= middle else { return distance }
        // In single precision, where a unit in the last place decides the bucket.
        let share = logf(Float(abs(distance)) / Float(middle)) / logf(Float(maximumDistance - 1) / Float(middle))
        let far = Int((share * Float(middle - 1)).rounded(.up)) + middle
        return distance < 0 ? -far : far
    }

    /// The rows for runs of at most so many tokens, normalised.
    func forward(longest: Int, on tape: Tape) -> Input {
        let rows = (1 - longest..<longest).map(row)
        let (first, last) = (rows.min() ?? 0, rows.max() ?? 0)
        let needed = table.rows(first..<last + 1)
        let input = Variable(needed, needsGradient: false)
        let embeddings = norm.map { $0.forward(input, on: tape) } ?? tape.inComputationType(input)
        return Input(
            embeddings: embeddings, rows: RelativeRows(longest: longest) { self.row($0) - first },
            tableRows: (Int32(first)...Int32(last)).map { $0 })
    }
}
