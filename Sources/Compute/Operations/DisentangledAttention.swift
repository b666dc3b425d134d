import CKernels
import TensorCore

/// Which row of relative embeddings belongs to each distance i - j of a query at i and a key at j.
package struct RelativeRows: Sendable {
    /// The longest run that there are rows for.
    package let longest: Int
    /// The row of the distance d is element d + longest - 1, for |d| < longest.
    package let rows: [Int32]

    /// The rows that `row` gives for each distance.
    package init(longest: Int, row: (_ distance: Int) -> Int) {
        precondition(longest > 0)
        self.longest = longest
        rows = (1 - longest..<longest).map { Int32(row($0)) }
    }
}

/// The embeddings of distances as the projections of keys and of queries have them, [rows, heads * headSize] each.
package struct RelativeProjections {
    /// What queries are multiplied with; nil where they are not.
    package let keys: Variable?
    /// What keys are multiplied with; nil where they are not.
    package let queries: Variable?
    /// Which row is whose.
    package let rows: RelativeRows

    /// Projections as given, at least one.
    package init(keys: Variable?, queries: Variable?, _ rows: RelativeRows) {
        precondition(keys != nil || queries != nil)
        (self.keys, self.queries, self.rows) = (keys, queries, rows)
    }
}

extension Tape {
    /// Attention whose scores are scale (<q_i, k_j> + <q_i, a_r> + <k_j, b_r>), r the row of the distance i - j, a the
    /// relative keys and b the relative queries: the disentangled attention of DeBERTa (He et al., arXiv 2006.03654,
    /// equation 4). All of one type; every head has its own keys. The rest is as `attention` has it; no prefixes.
    ///
    /// Backward, with dS the gradient of the scores: dq += scale dS k + scale C a, C_ir the sum of dS_ij over the j whose
    /// distance has the row r, da += scale C' q, and with sums over i likewise for dk and db.
    package func disentangledAttention(
        q: Variable, k: Variable, v: Variable, _ relative: RelativeProjections, _ shape: AttentionShape,
        _ layout: TokenLayout, scoring: AttentionScoring
    ) -> Variable {
        let context = context
        let inputs = [q, k, v, relative.keys, relative.queries]
        let needsGradient = inputs.contains { $0?.needsGradient ?? false }
        let out = Variable(context.tensor(q.value.shape, q.value.dtype), needsGradient: needsGradient)
        let logSums = context.tensor([q.value.rows, shape.headCount], .f32)
        precondition(shape.headCount == shape.keyValueHeadCount && scoring.softcap == nil)
        precondition(layout.segments.allSatisfy { $0.prefixCount == 0 && $0.count <= relative.rows.longest })
        let call = DisentangledCall(
            attention: AttentionCall(
                AttentionTensors(q: q.value, k: k.value, v: v.value, out: out.value, logSums: logSums), shape, scoring,
                segments: layout.segments.map(\.kernelSegment)),
            relativeKeys: relative.keys?.value, relativeQueries: relative.queries?.value, rows: relative.rows,
            context: context)
        call.runForward()
        guard isRecording, needsGradient else { return out }
        let outSum = out.gradientSum
        let sums = inputs.map { input in input.flatMap { $0.needsGradient ? $0.gradientSum : nil } }
        record {
            guard let dout = outSum.take() else { return }
            for (sum, gradient) in zip(sums, call.gradients(dout)) {
                if let gradient { sum?.add(context, giving: gradient) }
            }
        }
        return out
    }
}

/// The tensors and numbers of one call, head by head: of each head all rows' products with the relative embeddings are
/// formed at once, and each run's bias is gathered from them.
private struct DisentangledCall {
    let attention: AttentionCall
    let relativeKeys: Tensor?
    let relativeQueries: Tensor?
    let rows: RelativeRows
    let context: ComputeContext

    private var headSize: Int { attention.shape.headSize }
    private var scale: Float { attention.scoring.scale ?? 1 / Float(headSize).squareRoot() }

    /// One side of a head: vectors of tokens, the relative embeddings that they meet, and scale times their products,
    /// [tokens, rows], all F32.
    private struct Side {
        let vectors: Tensor
        let embeddings: Tensor
        let products: Tensor
    }

    private func columns(_ head: Int, of x: Tensor) -> Tensor { x.columns(head * headSize..<(head + 1) * headSize) }

    private func side(_ head: Int, _ vectors: Tensor, _ embeddings: Tensor?) -> Side? {
        guard let embeddings else { return nil }
        let left = context.tensor([vectors.rows, headSize], .f32)
        let right = context.tensor([embeddings.rows, headSize], .f32)
        let products = context.tensor([vectors.rows, embeddings.rows], .f32)
        context.convert(columns(head, of: vectors), into: left)
        context.convert(columns(head, of: embeddings), into: right)
        context.products.multiply(
            left, right, into: products,
            MatrixProducts.Form(
                m: left.rows, n: right.rows, k: headSize, right: .transposed, scale: scale))
        return Side(vectors: left, embeddings: right, products: products)
    }

    /// Room for a bias, or for one and its gradient, for each thread.
    private func room(_ count: Int) -> Tensor {
        let longest = attention.segments.reduce(0) { max($0, Int($1.query_count)) }
        return context.tensor([context.threadCount * count * longest * longest], .f32)
    }

    /// bias_ij = the query's product with the relative key + the key's with the relative query, of a run of n tokens from
    /// `start` on; [n, n].
    private func fill(
        _ bias: UnsafeMutablePointer<Float>, start: Int, count: Int, queries: Side?, keys: Side?
    ) {
        rows.rows.withUnsafeBufferPointer { table in
            for i in 0..<count {
                let row = bias + i * count
                for j in 0..<count { row[j] = 0 }
                if let queries {
                    let values = queries.products.floats + (start + i) * queries.products.columns
                    for j in 0..<count { row[j] += values[Int(table[i - j + rows.longest - 1])] }
                }
                if let keys {
                    let width = keys.products.columns
                    let values = keys.products.floats + start * width
                    for j in 0..<count { row[j] += values[j * width + Int(table[i - j + rows.longest - 1])] }
                }
            }
        }
    }

    /// Adds the gradients of a run's bias to those of the products.
    private func spread(
        _ dbias: UnsafeMutablePointer<Float>, start: Int, count: Int, queries: Tensor?, keys: Tensor?
    ) {
        rows.rows.withUnsafeBufferPointer { table in
            for i in 0..<count {
                for j in 0..<count {
                    let (value, r) = (dbias[i * count + j], Int(table[i - j + rows.longest - 1]))
                    if let queries { queries.floats[(start + i) * queries.columns + r] += value }
                    if let keys { keys.floats[(start + j) * keys.columns + r] += value }
                }
            }
        }
    }

    /// Fills the output and `logSums`.
    func runForward() {
        let scratch = attention.scratch(context)
        let (part, biases) = (scratch.count / context.threadCount, room(1))
        let biasPart = biases.count / context.threadCount
        attention.withOperands { operands in
            for head in 0..<attention.shape.headCount {
                let queries = side(head, attention.tensors.q, relativeKeys)
                let keys = side(head, attention.tensors.k, relativeQueries)
                context.parallelItems(attention.segments.count) { item, thread in
                    var (operands, segment) = (operands, attention.segments[item])
                    let (start, count) = (Int(segment.query_start), Int(segment.query_count))
                    let bias = biases.floats + thread * biasPart
                    fill(bias, start: start, count: count, queries: queries, keys: keys)
                    operands.rule.bias = UnsafePointer(bias)
                    operands.rule.bias_stride = count
                    tspeft_attention_forward(&operands, &segment, head, head + 1, scratch.floats + thread * part)
                }
            }
        }
        withExtendedLifetime((scratch, biases)) {}
    }

    /// The gradients of q, k, v, the relative keys and the relative queries for that of the output.
    func gradients(_ dout: Tensor) -> [Tensor?] {
        let (gradients, targets) = attention.gradientTargets(dout, context)
        let relative = [relativeKeys, relativeQueries].map { $0.map { context.tensor($0.shape, $0.dtype) } }
        let scratch = attention.scratch(context)
        let (part, biases) = (scratch.count / context.threadCount, room(2))
        let biasPart = biases.count / context.threadCount
        attention.withOperands { operands in
            for head in 0..<attention.shape.headCount {
                let queries = side(head, attention.tensors.q, relativeKeys)
                let keys = side(head, attention.tensors.k, relativeQueries)
                let slopes = [queries, keys].map { $0.map { context.zeros($0.products.shape, .f32) } }
                context.parallelItems(attention.segments.count) { item, thread in
                    var (operands, targets, segment) = (operands, targets, attention.segments[item])
                    let (start, count) = (Int(segment.query_start), Int(segment.query_count))
                    let bias = biases.floats + thread * biasPart
                    let dbias = bias + count * count
                    dbias.update(repeating: 0, count: count * count)
                    fill(bias, start: start, count: count, queries: queries, keys: keys)
                    operands.rule.bias = UnsafePointer(bias)
                    operands.rule.bias_stride = count
                    targets.dbias = dbias
                    tspeft_attention_backward(
                        &operands, &targets, &segment, head, head + 1, scratch.floats + thread * part)
                    spread(dbias, start: start, count: count, queries: slopes[0], keys: slopes[1])
                }
                for (place, side) in [queries, keys].enumerated() {
                    guard let side, let slope = slopes[place], let target = relative[place] else { continue }
                    addGradients(slope, side, to: columns(head, of: gradients[place]), columns(head, of: target))
                }
            }
        }
        withExtendedLifetime((scratch, biases, dout)) {}
        return gradients.map { $0 } + relative
    }

    /// Adds scale dC a to the gradient of the tokens' vectors, and writes scale dC' x as that of the embeddings.
    private func addGradients(_ slope: Tensor, _ side: Side, to vectors: Tensor, _ embeddings: Tensor) {
        let toVectors = context.tensor(side.vectors.shape, .f32)
        let toEmbeddings = context.tensor(side.embeddings.shape, .f32)
        let (tokens, count) = (side.vectors.rows, side.embeddings.rows)
        context.products.multiply(
            slope, side.embeddings, into: toVectors,
            MatrixProducts.Form(m: tokens, n: headSize, k: count, scale: scale))
        context.products.multiply(
            slope, side.vectors, into: toEmbeddings,
            MatrixProducts.Form(m: count, n: headSize, k: tokens, left: .transposed, scale: scale))
        context.add(toVectors, to: vectors)
        context.convert(toEmbeddings, into: embeddings)
    }
}
