import CKernels
import TensorCore

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
}

/// Which tokens of its run, and of the earlier run that it continues, a token sees. Tokens are counted from the earlier
/// run's first.
package enum Visibility: Sendable, Equatable {
    /// Itself and all before it.
    case causal
    /// Itself and the size - 1 tokens before it: token i sees j with i - size < j <= i.
    case window(Int)
    /// All tokens.
    case everything
    /// All tokens at most so far away, before and behind.
    case band(Int)
    /// All tokens of its block, blocks of so many tokens counted from the first.
    case block(Int)

    /// How far it goes back and ahead, and the size of blocks, 0 for none, as the kernels count.
    fileprivate var reach: (before: Int, after: Int, block: Int) {
        // All bits set is a size_t that no count reaches.
        let unlimited = -1
        switch self {
        case .causal: return (unlimited, 0, 0)
        case .window(let size):
            precondition(size > 0, "a token sees itself")
            return (size - 1, 0, 0)
        case .everything: return (unlimited, unlimited, 0)
        case .band(let distance):
            precondition(distance >= 0)
            return (distance, distance, 0)
        case .block(let size):
            precondition(size > 0)
            return (unlimited, unlimited, size)
        }
    }
}

/// The dropout of attention's probabilities: each is dropped with the rate, the others multiplied by 1 / (1 - rate). The
/// mask is that of the key: for row r of the queries, head h of H and the key at place j of its run, element j + 2^32
/// (r H + h) of `ComputeContext.dropout`'s stream.
package struct ProbabilityDropout: Sendable {
    /// The rate, at least 0 and below 1.
    package let rate: Float
    /// What tells the mask from others.
    package let key: UInt64

    /// Dropout with a mask.
    package init(rate: Float, key: UInt64) { (self.rate, self.key) = (rate, key) }
}

/// How attention scores a query against the keys that it sees.
package struct AttentionScoring: Sendable {
    /// Which keys those are.
    package var visibility: Visibility
    /// The factor on <q, k>; 1 / sqrt(headSize) where it is nil.
    package var scale: Float?
    /// Scores s become c tanh(s / c) with this c, before the softmax; nil for scores as they are.
    package var softcap: Float?
    /// For each query head the score of a further key that every query sees and whose value is 0; frozen.
    package var sinks: [Float]?
    /// Dropout of the probabilities behind the softmax; nil for none.
    package var dropout: ProbabilityDropout?

    /// Scores of causal attention unless told otherwise.
    package init(
        _ visibility: Visibility = .causal, scale: Float? = nil, softcap: Float? = nil, sinks: [Float]? = nil
    ) {
        precondition(softcap.map { $0 > 0 } ?? true)
        self.visibility = visibility
        self.scale = scale
        self.softcap = softcap
        self.sinks = sinks
    }
}

extension Tape {
    /// softmax(scores) v with scores scale <q, k>, each row over the rows that `layout` and `scoring` let it see;
    /// grouped-query attention (Ainslie et al., arXiv 2305.13245). q [tokens, headCount * headSize]; k, v [key rows,
    /// keyValueHeadCount * headSize], all of one type; the result has q's shape and type. Sums are F32. Scores are never
    /// stored beyond a block: the backward pass recomputes them from each row's log of the softmax's denominator (Dao
    /// et al., "FlashAttention", arXiv 2205.14135).
    ///
    /// On a recording tape no segment has a prefix.
    ///
    /// Backward, with P the softmax and D_i = <dout_i, out_i>: dv += P' dout; with dS = P * (dout v' - D), times the
    /// cap's slope where there is one, dq += scale dS k, dk += scale dS' q.
    package func attention(
        q: Variable, k: Variable, v: Variable, _ shape: AttentionShape, _ layout: TokenLayout,
        scoring: AttentionScoring = AttentionScoring()
    ) -> Variable {
        let context = context
        let needsGradient = q.needsGradient || k.needsGradient || v.needsGradient
        let out = Variable(context.tensor(q.value.shape, q.value.dtype), needsGradient: needsGradient)
        let logSums = isRecording && needsGradient ? context.tensor([q.value.rows, shape.headCount], .f32) : nil
        let call = AttentionCall(
            AttentionTensors(q: q.value, k: k.value, v: v.value, out: out.value, logSums: logSums), shape, scoring,
            segments: layout.segments.map(\.kernelSegment))
        call.runForward(context)
        guard logSums != nil else { return out }
        precondition(layout.segments.allSatisfy { $0.prefixCount == 0 }, "a prefix has no backward pass")
        let outSum = out.gradientSum
        let sums = [q, k, v].map { $0.needsGradient ? $0.gradientSum : nil }
        record {
            guard let dout = outSum.take() else { return }
            for (sum, gradient) in zip(sums, call.gradients(dout, context)) { sum?.add(context, giving: gradient) }
        }
        return out
    }
}

/// What attention reads and writes.
struct AttentionTensors {
    let q: Tensor
    let k: Tensor
    let v: Tensor
    let out: Tensor
    /// [tokens, headCount], F32; where a backward pass follows.
    let logSums: Tensor?
}

/// The tensors and numbers of one call of attention.
struct AttentionCall {
    let tensors: AttentionTensors
    let shape: AttentionShape
    let scoring: AttentionScoring
    let segments: [tspeft_attention_segment]

    init(
        _ tensors: AttentionTensors, _ shape: AttentionShape, _ scoring: AttentionScoring,
        segments: [tspeft_attention_segment]
    ) {
        let (q, k, v) = (tensors.q, tensors.k, tensors.v)
        let width = shape.keyValueHeadCount * shape.headSize
        precondition(q.columns == shape.headCount * shape.headSize && k.columns == width && v.columns == width)
        precondition(k.rows == v.rows && k.dtype == q.dtype && v.dtype == q.dtype)
        precondition(scoring.sinks.map { $0.count == shape.headCount } ?? true)
        self.tensors = tensors
        self.shape = shape
        self.scoring = scoring
        self.segments = segments
    }

    /// Hands `body` the operands as the kernels take them.
    func withOperands(_ body: (tspeft_attention) -> Void) {
        let reach = scoring.visibility.reach
        func run(_ sinks: UnsafePointer<Float>?) {
            body(
                tspeft_attention(
                    q: tensors.q.kernelMatrix, k: tensors.k.kernelMatrix, v: tensors.v.kernelMatrix,
                    out: tensors.out.kernelMatrix, lse: tensors.logSums?.floats, dtype: tensors.q.dtype.kernelCode,
                    heads: shape.headCount, kv_heads: shape.keyValueHeadCount, head_size: shape.headSize,
                    rule: tspeft_attention_rule(
                        before: reach.before, after: reach.after, block: reach.block,
                        scale: scoring.scale ?? 1 / Float(shape.headSize).squareRoot(), softcap: scoring.softcap ?? 0,
                        sinks: sinks, bias: nil, bias_stride: 0, dropout_rate: scoring.dropout?.rate ?? 0,
                        dropout_key: scoring.dropout?.key ?? 0)))
        }
        guard let sinks = scoring.sinks else { return run(nil) }
        sinks.withUnsafeBufferPointer { run($0.baseAddress) }
    }

    /// Fills `out` and `logSums`.
    func runForward(_ context: ComputeContext) {
        let scratch = scratch(context)
        let part = scratch.count / context.threadCount
        // The query heads that share a key head go together, so that keys are packed once for all of them.
        let group = shape.headCount / shape.keyValueHeadCount
        withOperands { operands in
            context.parallelItems(segments.count * shape.keyValueHeadCount) { item, thread in
                var (operands, segment) = (operands, segments[item / shape.keyValueHeadCount])
                let head = item % shape.keyValueHeadCount * group
                tspeft_attention_forward(&operands, &segment, head, head + group, scratch.floats + thread * part)
            }
        }
    }

    /// The gradients of q, k and v for that of the result.
    func gradients(_ dout: Tensor, _ context: ComputeContext) -> [Tensor] {
        let scratch = scratch(context)
        let part = scratch.count / context.threadCount
        let (gradients, targets) = gradientTargets(dout, context)
        withOperands { operands in
            context.parallelItems(segments.count * shape.keyValueHeadCount) { item, thread in
                var (operands, targets) = (operands, targets)
                var segment = segments[item / shape.keyValueHeadCount]
                let head = item % shape.keyValueHeadCount
                tspeft_attention_backward(
                    &operands, &targets, &segment, head, head + 1, scratch.floats + thread * part)
            }
        }
        return withExtendedLifetime(dout) { gradients }
    }

    /// Room for the gradients of q, k and v, and the same as the kernels take it.
    func gradientTargets(_ dout: Tensor, _ context: ComputeContext) -> ([Tensor], tspeft_attention_gradients) {
        let gradients = [tensors.q, tensors.k, tensors.v].map { context.tensor($0.shape, $0.dtype) }
        let targets = tspeft_attention_gradients(
            dout: dout.kernelMatrix, dq: gradients[0].kernelMatrix, dk: gradients[1].kernelMatrix,
            dv: gradients[2].kernelMatrix, dbias: nil)
        return (gradients, targets)
    }

    /// Scratch memory, an equal part for each thread. A vector: behind the rows of a matrix there would be room that is
    /// cleared.
    func scratch(_ context: ComputeContext) -> Tensor {
        let queries = segments.reduce(0) { max($0, $1.query_count) }
        let keys = segments.reduce(0) { max($0, $1.query_count + $1.prefix_count) }
        // A multiple of 16 floats keeps each thread's part on cache lines of its own.
        let size = tspeft_attention_scratch(Int(queries), Int(keys), shape.headSize)
        return context.tensor([context.threadCount * ((size + 15) / 16 * 16)], .f32)
    }
}

extension Tensor {
    fileprivate var kernelMatrix: tspeft_matrix { tspeft_matrix(data: start, stride: rowStride) }
}

extension TokenLayout.Segment {
    var kernelSegment: tspeft_attention_segment {
        tspeft_attention_segment(
            query_start: Int64(queryStart), query_count: Int64(count), key_start: Int64(keyStart),
            prefix_start: Int64(prefixStart), prefix_count: Int64(prefixCount))
    }
}
