import Adapters
import Models

/// What a change is to a tensor that lies in another order than the change was made for.
extension TensorChange {
    /// The same change for the tensor as a GGUF file holds it, in its order of rows and columns. The values must be those
    /// of the checkpoint (`CheckpointMerge` refuses others).
    ///
    /// - Parameters:
    ///   - form: how the file holds it.
    ///   - rowCount: rows of the tensor.
    func stored(in form: GGUFForm, rowCount: Int) -> TensorChange {
        precondition(form.values == .same, "nothing is added to values of another form")
        var change = self
        if form.rows.isPermuted { change = change.reordered((0..<rowCount).map { form.rows.huggingFace($0) }) }
        return form.columns.isPermuted ? change.reorderedColumns(form.columns) : change
    }

    /// The same change for a tensor with its columns in another order.
    private func reorderedColumns(_ order: RowOrder) -> TensorChange {
        func columns(_ values: [Float], rows: Int) -> [Float] {
            let width = rows == 0 ? 0 : values.count / rows
            let sources = (0..<width).map { order.huggingFace($0) }
            return (0..<rows).flatMap { row in sources.map { values[row * width + $0] } }
        }
        func reordered(_ low: LowRankChange) -> LowRankChange {
            var low = low
            low.a = columns(low.a, rows: low.rank)
            return low
        }
        return switch self {
        case .added(let low): .added(reordered(low))
        case .rescaled(let low, let magnitude, let share): .rescaled(reordered(low), magnitude: magnitude, share: share)
        case .scaled(let change):
            .scaled(change.axis == .columns ? change.with(columns(change.factors, rows: 1)) : change)
        case .offset: self
        case .rescaledColumns(let low, let factors, let share):
            .rescaledColumns(reordered(low), factors: columns(factors, rows: 1), share: share)
        case .blocks(let blocks):
            .blocks(blocks.map { Block(rows: $0.rows, change: $0.change.reorderedColumns(order)) })
        case .sequence(let changes): .sequence(changes.map { $0.reorderedColumns(order) })
        case .rows: preconditionFailure("rows are those of an embedding, whose columns lie as they are")
        }
    }
}
