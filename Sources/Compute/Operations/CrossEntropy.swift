import CKernels
import TensorCore

/// What the loss operation gives for the scored rows.
package struct RowLosses: Sendable {
    /// The loss of each scored row, in the order of the rows.
    package let values: [Float]

    /// Their sum, in double precision.
    package var sum: Double { values.reduce(0) { $0 + Double($1) } }
}

extension Tape {
    /// Bytes that the logits of one chunk may take: they are read twice, so they should stay in the last-level cache.
    private static let chunkBytes = 16 << 20
    /// Rows of a chunk where the head's weight is decoded for each, which costs more than the cache's misses: once for a
    /// step of so many scored tokens.
    private static let decodedChunkRows = 512

    /// Softmax cross entropy over a vocabulary: the loss of each scored row of `hidden` [tokens, hiddenSize] under
    /// logits = hidden W', W the head's weight [vocabulary, hiddenSize], capped where the head says so.
    ///
    /// `rows[i]` is scored against `targets[i]`; on a recording tape no row stands twice. Other rows never reach the
    /// product. Logits exist for one chunk of rows at a time, in F32. On a recording tape the gradient of scale * (sum
    /// of losses) is computed along the way and put into `hidden` at the start of the backward pass: dhidden = scale
    /// (softmax - onehot) W.
    ///
    /// Where the head's weight is the copy of a trained one, `training` names that: dW += scale (softmax - onehot)'
    /// hidden, summed in F32, is then added to its gradient along the way too, while the chunk's logits are there.
    package func crossEntropy(
        _ hidden: Variable, head: FrozenLinear, rows scored: [Int32], targets: [Int32], scale: Float = 1,
        training trained: TrainableWeight? = nil
    ) -> RowLosses {
        precondition(targets.count == scored.count)
        precondition(
            trained.map { $0.rounded === (head.matrix as? DenseMatrix)?.tensor } ?? true,
            "the head computes with the trained weight")
        let context = context
        let vocabulary = head.outputSize
        let width = head.inputSize
        let rows = context.gatherRows(hidden.value, scored)
        let dRows = isRecording && hidden.needsGradient ? context.tensor(rows.shape) : nil
        let dWeight = isRecording && trained?.collectsGradient == true ? trained?.gradient : nil
        var losses = [Float](repeating: 0, count: scored.count)
        let isDecoded = head.matrix.isDecoded(for: context.products, context.dtype)
        let fitting = Self.chunkBytes / (vocabulary * 4) / Tensor.rowRounding * Tensor.rowRounding
        let chunk = max(isDecoded ? Self.decodedChunkRows : Tensor.rowRounding, min(fitting, 1024))
        var start = 0
        while start < scored.count {
            let count = min(chunk, scored.count - start)
            let logits = context.tensor([count, vocabulary], .f32)
            // A copy, with zeros behind its last row.
            let part = context.copyRows(rows, start, count)
            head.matrix.multiply(part, bias: head.bias, into: logits, context.products)
            if let cap = head.softcap { context.softcap(logits, cap) }
            let wanted = Array(targets[start..<start + count])
            // Where products are in F32 the gradient takes the logits' place.
            let wantsGradient = dRows != nil || dWeight != nil
            let takesPlace = context.weightType == .f32 && head.softcap == nil
            let dLogits = !wantsGradient ? nil : takesPlace ? logits : context.tensor(logits.shape, context.weightType)
            losses.withUnsafeMutableBufferPointer { losses in
                wanted.withUnsafeBufferPointer { wanted in
                    context.parallel(count, grain: 1) { range in
                        let first = range.lowerBound
                        tspeft_cross_entropy(
                            logits.floats + first * vocabulary, wanted.baseAddress! + first, scale,
                            dLogits.map { $0.address + first * $0.rowByteCount },
                            (dLogits ?? logits).dtype.kernelCode,
                            losses.baseAddress! + start + first, range.count, vocabulary)
                    }
                }
            }
            if let dLogits, let cap = head.softcap { context.softcapBackward(logits, cap, dLogits) }
            if let dLogits, let dRows {
                let dPart = context.tensor(part.shape)
                head.matrix.multiplyTransposed(dLogits, into: dPart, accumulates: false, context.products)
                context.copy(dPart, into: dRows.rows(start..<start + count))
            }
            if let dLogits, let dWeight {
                // Rows of `part` behind the last are zero, so tokens can be rounded up.
                context.products.multiply(
                    dLogits, part, into: dWeight,
                    MatrixProducts.Form(
                        m: vocabulary, n: width, k: context.products.roundedRows(count, dLogits, part),
                        left: .transposed, accumulates: true))
            }
            start += count
        }
        if let dRows {
            let hiddenSum = hidden.gradientSum
            record {
                hiddenSum.add(context) { dHidden, accumulates in
                    if !accumulates { dHidden.clear() }
                    context.scatterAddRows(dRows, scored, to: dHidden)
                }
            }
        }
        return RowLosses(values: losses)
    }

    /// The logits [rows.count, vocabulary], F32, of the rows of `hidden` that `rows` names. For few rows: generation,
    /// tests.
    package func logits(_ hidden: Variable, head: FrozenLinear, rows: [Int32]) -> Tensor {
        let part = context.gatherRows(hidden.value, rows)
        let logits = context.tensor([rows.count, head.outputSize], .f32)
        head.matrix.multiply(part, bias: head.bias, into: logits, context.products)
        if let cap = head.softcap { context.softcap(logits, cap) }
        return logits
    }
}

extension ComputeContext {
    /// x <- cap tanh(x / cap), F32.
    fileprivate func softcap(_ x: Tensor, _ cap: Float) {
        parallel(x.count, grain: 4096) { tspeft_softcap(x.floats + $0.lowerBound, cap, $0.count) }
    }

    /// gradient *= the slope where `capped` came out of `softcap`.
    fileprivate func softcapBackward(_ capped: Tensor, _ cap: Float, _ gradient: Tensor) {
        parallelRuns(capped, gradient, grain: 4096) { row, column, count in
            tspeft_softcap_backward(
                capped.place(row, column).assumingMemoryBound(to: Float.self), cap, gradient.place(row, column),
                gradient.dtype.kernelCode, count)
        }
    }

    /// A copy of rows start..<start + count.
    fileprivate func copyRows(_ x: Tensor, _ start: Int, _ count: Int) -> Tensor {
        let part = tensor([count, x.columns], x.dtype)
        copy(x.rows(start..<start + count), into: part)
        return part
    }
}
