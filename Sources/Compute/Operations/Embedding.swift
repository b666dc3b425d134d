import CKernels
import TensorCore

extension Tape {
    /// The rows of `table` [vocabulary, width] that `tokens` name, each id below the vocabulary's size: [tokens, width]
    /// F32, rounded as the weight is.
    ///
    /// Backward: the gradient of each token's row is added to the table's gradient, for a token that occurs several
    /// times in the order of its occurrences. PyTorch's `Embedding` leaves out its padding token; here nothing is
    /// padded, and a token is one like any other.
    package func embedding(_ tokens: [Int32], _ table: TrainableWeight) -> Variable {
        let context = context
        let rounded = context.gatherRows(table.rounded, tokens)
        guard rounded.dtype != .f32 else { return recordEmbedding(rounded, tokens, table) }
        let rows = context.tensor(rounded.shape, .f32)
        context.convert(rounded, into: rows)
        return recordEmbedding(rows, tokens, table)
    }

    private func recordEmbedding(_ rows: Tensor, _ tokens: [Int32], _ table: TrainableWeight) -> Variable {
        let context = context
        let stream = Variable(rows, needsGradient: isRecording && table.collectsGradient)
        guard stream.needsGradient else { return stream }
        let sum = stream.gradientSum
        record {
            guard let dRows = sum.take() else { return }
            context.addRows(dRows, to: table.gradient, at: tokens)
        }
        return stream
    }
}

extension ComputeContext {
    /// target[indices[i]] += source[i] for each row, both F32; an index may stand many times. Each row of the target
    /// belongs to one thread and gets its sources in their order, so results are the same for any thread count.
    fileprivate func addRows(_ source: Tensor, to target: Tensor, at indices: [Int32]) {
        precondition(source.columns == target.columns && source.rows == indices.count)
        let order = indices.indices.sorted { (indices[$0], $0) < (indices[$1], $1) }
        let starts = order.indices.filter { $0 == 0 || indices[order[$0]] != indices[order[$0 - 1]] } + [order.count]
        let width = target.columns
        parallel(starts.count - 1, grain: 8) { groups in
            for place in starts[groups.lowerBound]..<starts[groups.upperBound] {
                let row = order[place]
                tspeft_add(
                    target.floats + Int(indices[row]) * width, DType.f32.kernelCode, source.floats + row * width,
                    DType.f32.kernelCode, width)
            }
        }
    }
}
