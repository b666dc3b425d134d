import CKernels
import TensorCore

/// How the rows of a batch hang together: each token's position, and which earlier tokens it sees.
package struct TokenLayout: Sendable {
    /// One run of tokens that see, besides those before them in the run, all of an earlier run (a shared prompt, or a
    /// cache).
    package struct Segment: Sendable, Equatable {
        /// First row of the run in the batch.
        package var queryStart: Int
        /// Rows of the run.
        package var count: Int
        /// Row of the keys that belongs to the first row of the run.
        package var keyStart: Int
        /// First row of the earlier run among the keys.
        package var prefixStart: Int
        /// Rows of the earlier run; 0 for none.
        package var prefixCount: Int

        /// A run at `queryStart`, by itself unless a prefix is given.
        package init(queryStart: Int, count: Int, keyStart: Int? = nil, prefixStart: Int = 0, prefixCount: Int = 0) {
            self.queryStart = queryStart
            self.count = count
            self.keyStart = keyStart ?? queryStart
            self.prefixStart = prefixStart
            self.prefixCount = prefixCount
        }
    }

    /// The position of each row, from 0.
    package let positions: [Int32]
    /// Runs that cover the rows.
    package let segments: [Segment]

    /// A layout as given.
    package init(positions: [Int32], segments: [Segment]) {
        self.positions = positions
        self.segments = segments
    }

    /// Sequences of these lengths end to end, each by itself.
    package init(lengths: [Int]) {
        var start = 0
        var runs: [Segment] = []
        var rows: [Int32] = []
        for length in lengths {
            runs.append(Segment(queryStart: start, count: length))
            rows += (0..<Int32(length))
            start += length
        }
        self.init(positions: rows, segments: runs)
    }

    /// Rows of the batch.
    package var rowCount: Int { positions.count }
}

/// The heads of an attention layer.
package struct AttentionShape: Sendable {
    /// Query heads.
    package let headCount: Int
    /// Key and value heads; a divisor of `headCount`.
    package let keyValueHeadCount: Int
    /// Width of a head.
    package let headSize: Int

    /// The heads as given.
    package init(headCount: Int, keyValueHeadCount: Int, headSize: Int) {
        precondition(keyValueHeadCount > 0 && headCount % keyValueHeadCount == 0)
        self.headCount = headCount
        self.keyValueHeadCount = keyValueHeadCount
        self.headSize = headSize
    }

    fileprivate var scale: Float { 1 / Float(headSize).squareRoot() }
}

extension Tape {
    /// softmax(q k' / sqrt(headSize)) v, each row over the rows that `layout` lets it see; grouped-query attention
    /// (Ainslie et al., arXiv 2305.13245). q [tokens, headCount * headSize]; k, v [key rows, keyValueHeadCount *
    /// headSize]; the result has q's shape. Sums are F32. Scores are never stored beyond a block: the backward pass
    /// recomputes them from each row's log of the softmax's denominator (Dao et al., "FlashAttention", arXiv
    /// 2205.14135).
    ///
    /// On a recording tape no segment has a prefix.
    package func attention(q: Variable, k: Variable, v: Variable, _ shape: AttentionShape, _ layout: TokenLayout)
        -> Variable
    {
        let context = context
        let needsGradient = q.needsGradient || k.needsGradient || v.needsGradient
        let out = Variable(context.tensor(q.value.shape, q.value.dtype), needsGradient: needsGradient)
        let logSums = isRecording && needsGradient ? context.tensor([q.value.rows, shape.headCount], .f32) : nil
        let segments = layout.segments.map(\.kernelSegment)
        context.attention(
            q: q.value, k: k.value, v: v.value, out: out.value, logSums: logSums, shape, segments)
        guard let logSums else { return out }
        precondition(segments.allSatisfy { $0.prefix_count == 0 }, "a prefix has no backward pass")
        let (query, key, value, result) = (q.value, k.value, v.value, out.value)
        let outSum = out.gradientSum
        let sums = [q, k, v].map { $0.needsGradient ? $0.gradientSum : nil }
        record {
            guard let dout = outSum.take() else { return }
            let scratch = context.attentionScratch(shape, segments)
            let part = scratch.count / context.threadCount
            let gradients = [query, key, value].map { context.tensor($0.shape, $0.dtype) }
            let (dq, dk, dv) = (gradients[0], gradients[1], gradients[2])
            context.parallelItems(segments.count * shape.keyValueHeadCount) { item, thread in
                var segment = segments[item / shape.keyValueHeadCount]
                let head = item % shape.keyValueHeadCount
                tspeft_attention_backward(
                    query.address, key.address, value.address, result.address, dout.address, logSums.floats,
                    dq.address, dk.address, dv.address, dout.dtype.kernelCode, dq.columns, dk.columns,
                    shape.headCount, shape.keyValueHeadCount, shape.headSize, shape.scale, &segment, head, head + 1,
                    scratch.floats + thread * part)
            }
            for (sum, gradient) in zip(sums, gradients) { sum?.add(context, giving: gradient) }
        }
        return out
    }
}

extension ComputeContext {
    /// The forward pass of attention over tensors; see `Tape.attention`. `logSums` [tokens, headCount] F32 is filled
    /// where given.
    fileprivate func attention(
        q: Tensor, k: Tensor, v: Tensor, out: Tensor, logSums: Tensor?, _ shape: AttentionShape,
        _ segments: [tspeft_attention_segment]
    ) {
        precondition(q.columns == shape.headCount * shape.headSize && k.columns == v.columns)
        precondition(k.columns == shape.keyValueHeadCount * shape.headSize)
        let scratch = attentionScratch(shape, segments)
        let part = scratch.count / threadCount
        // The query heads that share a key head go together, so that keys are packed once for all of them.
        let group = shape.headCount / shape.keyValueHeadCount
        parallelItems(segments.count * shape.keyValueHeadCount) { item, thread in
            var segment = segments[item / shape.keyValueHeadCount]
            let head = item % shape.keyValueHeadCount * group
            tspeft_attention_forward(
                q.address, k.address, v.address, out.address, logSums?.floats, q.dtype.kernelCode, q.columns,
                k.columns, shape.headCount, shape.keyValueHeadCount, shape.headSize, shape.scale, &segment, head,
                head + group, scratch.floats + thread * part)
        }
    }

    /// Scratch memory, an equal part for each thread. A vector: behind the rows of a matrix there would be room that is
    /// cleared.
    fileprivate func attentionScratch(_ shape: AttentionShape, _ segments: [tspeft_attention_segment]) -> Tensor {
        let queries = segments.reduce(0) { max($0, $1.query_count) }
        let keys = segments.reduce(0) { max($0, $1.query_count + $1.prefix_count) }
        // A multiple of 16 floats keeps each thread's part on cache lines of its own.
        let size = tspeft_attention_scratch(Int(queries), Int(keys), shape.headSize)
        return tensor([threadCount * ((size + 15) / 16 * 16)], .f32)
    }
}

extension TokenLayout.Segment {
    fileprivate var kernelSegment: tspeft_attention_segment {
        tspeft_attention_segment(
            query_start: Int64(queryStart), query_count: Int64(count), key_start: Int64(keyStart),
            prefix_start: Int64(prefixStart), prefix_count: Int64(prefixCount))
    }
}
