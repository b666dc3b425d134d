import CKernels
import Foundation
import Testing

/// Which keys a query sees, by the kernels' numbers.
struct Pattern: CustomTestStringConvertible, Sendable {
    var name: String
    var before = Int.max
    var after = 0
    var block = 0
    var testDescription: String { name }

    static let causal = Pattern(name: "causal")
    /// Every kind, with reaches and blocks around the kernels' own block of 48 and far below it.
    static let all = [
        causal, Pattern(name: "window of 1", before: 0), Pattern(name: "window of 7", before: 6),
        Pattern(name: "window of 60", before: 59), Pattern(name: "everything", after: .max),
        Pattern(name: "5 to both sides", before: 5, after: 5), Pattern(name: "2 ahead", after: 2),
        Pattern(name: "blocks of 10", after: .max, block: 10),
        Pattern(name: "causal in blocks of 50", block: 50),
    ]

    func shows(query: Int, key: Int) -> Bool {
        (before == .max || key >= query - before) && (after == .max || key <= query + after)
            && (block == 0 || key / block == query / block)
    }
}

/// Random operands of one attention segment, in the middle of larger matrices.
struct AttentionCase {
    var heads = 4
    var keyValueHeads = 2
    var headSize: Int
    var length: Int
    var prefix = 0
    var element = Element.f32
    var pattern = Pattern.causal
    /// Scores s become softcap tanh(s / softcap) where this is not 0.
    var softcap: Float = 0
    /// A score without a value for each head.
    var sinks: [Float]?
    /// What is added to the scores, [length, prefix + length], of a case with one head.
    var bias: [Float]?
    /// Dropout of the probabilities.
    var dropout: (rate: Float, key: UInt64)?

    /// Rows before and behind the segment that no kernel may touch.
    static let margin = 3
    /// Elements of a row behind the heads, so that strides are not widths.
    static let gap = 5

    let q, k, v, dout: Buffer

    init(
        headSize: Int, length: Int, prefix: Int = 0, heads: Int = 4, keyValueHeads: Int = 2, element: Element = .f32,
        pattern: Pattern = .causal, seed: UInt64 = 51
    ) {
        (self.headSize, self.length, self.prefix, self.element) = (headSize, length, prefix, element)
        (self.heads, self.keyValueHeads, self.pattern) = (heads, keyValueHeads, pattern)
        var numbers = Numbers(seed: seed)
        let queryCount = (length + 2 * Self.margin) * (heads * headSize + Self.gap)
        let keyCount = (length + prefix + 3 * Self.margin) * (keyValueHeads * headSize + Self.gap)
        q = Buffer(numbers.floats(queryCount, 2), element)
        k = Buffer(numbers.floats(keyCount, 2), element)
        v = Buffer(numbers.floats(keyCount), element)
        dout = Buffer(numbers.floats(queryCount), element)
    }

    var queryStride: Int { heads * headSize + Self.gap }
    var keyStride: Int { keyValueHeads * headSize + Self.gap }
    var scale: Float { 1 / Float(headSize).squareRoot() }
    var lseCount: Int { (length + 2 * Self.margin) * heads }
    /// The prefix lies behind the segment's own keys, to show that the two places are independent.
    var segment: tspeft_attention_segment {
        tspeft_attention_segment(
            query_start: Int64(Self.margin), query_count: Int64(length), key_start: Int64(Self.margin),
            prefix_start: Int64(length + 2 * Self.margin), prefix_count: Int64(prefix))
    }

    private var scratch: Buffer {
        let size = tspeft_attention_scratch(length, length + prefix, headSize)
        return Buffer([Float](repeating: .nan, count: size))
    }

    /// The operands of a call that writes to `out` and `lse`.
    func call(out: Buffer, lse: Buffer?, sinks: Buffer?, bias: Buffer? = nil) -> tspeft_attention {
        func matrix(_ buffer: Buffer, _ stride: Int) -> tspeft_matrix {
            tspeft_matrix(data: buffer.pointer, stride: stride)
        }
        func reach(_ count: Int) -> Int { count == .max ? -1 : count }
        return tspeft_attention(
            q: matrix(q, queryStride), k: matrix(k, keyStride), v: matrix(v, keyStride), out: matrix(out, queryStride),
            lse: lse?.floatPointer, dtype: element.rawValue, heads: heads, kv_heads: keyValueHeads,
            head_size: headSize,
            rule: tspeft_attention_rule(
                before: reach(pattern.before), after: reach(pattern.after), block: pattern.block, scale: scale,
                softcap: softcap, sinks: sinks.map { UnsafePointer($0.floatPointer) },
                bias: bias.map { UnsafePointer($0.floatPointer) }, bias_stride: prefix + length,
                dropout_rate: dropout?.rate ?? 0, dropout_key: dropout?.key ?? 0))
    }

    /// Output and log-sum-exp, in matrices of -7, written in calls for `headRanges`.
    func forward(_ level: KernelLevel, headRanges: [Range<Int>]? = nil) -> (out: Buffer, lse: Buffer) {
        let out = Buffer([Float](repeating: -7, count: q.count), element)
        let lse = Buffer([Float](repeating: -7, count: lseCount)), scratch = scratch
        let (sinks, bias) = (sinks.map { Buffer($0) }, bias.map { Buffer($0) })
        var (segment, call) = (segment, call(out: out, lse: lse, sinks: sinks, bias: bias))
        for range in headRanges ?? [0..<heads] {
            level.kernels.attention_forward(
                &call, &segment, range.lowerBound, range.upperBound, scratch.floatPointer)
        }
        withExtendedLifetime((sinks, bias, scratch.values)) {}
        return (out, lse)
    }

    /// Gradients, in matrices of -7.
    func backward(_ level: KernelLevel, out: Buffer, lse: Buffer, ranges: [Range<Int>]? = nil)
        -> (dq: Buffer, dk: Buffer, dv: Buffer, dbias: Buffer?)
    {
        let dq = Buffer([Float](repeating: -7, count: q.count), element), scratch = scratch
        let dk = Buffer([Float](repeating: -7, count: k.count), element)
        let dv = Buffer([Float](repeating: -7, count: k.count), element)
        let (sinks, biases) = (sinks.map { Buffer($0) }, bias.map { Buffer($0) })
        let dbias = bias.map { Buffer([Float](repeating: -7, count: $0.count)) }
        var (segment, call) = (segment, call(out: out, lse: lse, sinks: sinks, bias: biases))
        var gradients = tspeft_attention_gradients(
            dout: tspeft_matrix(data: dout.pointer, stride: queryStride),
            dq: tspeft_matrix(data: dq.pointer, stride: queryStride),
            dk: tspeft_matrix(data: dk.pointer, stride: keyStride),
            dv: tspeft_matrix(data: dv.pointer, stride: keyStride), dbias: dbias?.floatPointer)
        for range in ranges ?? [0..<keyValueHeads] {
            level.kernels.attention_backward(
                &call, &gradients, &segment, range.lowerBound, range.upperBound, scratch.floatPointer)
        }
        withExtendedLifetime((sinks, biases, scratch.values)) {}
        return (dq, dk, dv, dbias)
    }

    /// What the probability of a query's key in a head is multiplied with.
    func kept(query: Int, head: Int, key: Int) -> Double {
        guard let dropout else { return 1 }
        let (one, out) = (Buffer([1]), Buffer(count: 1))
        let block = UInt64((Self.margin + query) * heads + head)
        tspeft_dropout(
            one.pointer, out.pointer, Element.f32.rawValue, 1, block << 32 + UInt64(key), dropout.key, dropout.rate)
        return Double(out.values[0])
    }
}

/// Attention from its definition, in double: softmax(scores) v row by row, and the derivatives of its sums.
struct AttentionReference {
    var out, lse, dq, dk, dv: [Double]
    /// The gradient of the bias, [length, prefix + length], -7 where a query does not see the key.
    var dbias: [Double]

    /// The matrices of `attention` with the segment's rows computed and -7 elsewhere; gradients only where asked for.
    init(_ attention: AttentionCase, gradients: Bool = false) {
        let q = attention.q.values.map(Double.init), k = attention.k.values.map(Double.init)
        let v = attention.v.values.map(Double.init), dout = attention.dout.values.map(Double.init)
        self.init(attention, q: q, k: k, v: v, dout: gradients ? dout : nil)
    }

    init(_ attention: AttentionCase, q: [Double], k: [Double], v: [Double], dout: [Double]? = nil) {
        let size = attention.headSize, margin = AttentionCase.margin, segment = attention.segment
        let scale = Double(attention.scale), group = attention.heads / attention.keyValueHeads
        out = [Double](repeating: -7, count: q.count)
        lse = [Double](repeating: -7, count: attention.lseCount)
        dq = out
        dk = [Double](repeating: -7, count: k.count)
        dv = dk
        let keyCount = attention.prefix + attention.length
        dbias = [Double](repeating: -7, count: attention.length * keyCount)
        if dout != nil {
            for row in margin..<margin + attention.length {
                for column in 0..<attention.keyValueHeads * size {
                    dk[row * attention.keyStride + column] = 0
                    dv[row * attention.keyStride + column] = 0
                }
            }
        }
        for head in 0..<attention.heads {
            for j in 0..<attention.length {
                let first = (margin + j) * attention.queryStride + head * size
                let places = (0..<keyCount).filter {
                    attention.pattern.shows(query: attention.prefix + j, key: $0)
                }
                let rows =
                    ((0..<attention.prefix).map { Int(segment.prefix_start) + $0 }
                    + (0..<attention.length).map { margin + $0 }).enumerated()
                    .filter { attention.pattern.shows(query: attention.prefix + j, key: $0.offset) }.map(\.element)
                let keys = rows.map { $0 * attention.keyStride + head / group * size }
                func dot(_ a: [Double], _ b: [Double], _ from: Int) -> Double {
                    var sum = 0.0
                    for i in 0..<size { sum += a[first + i] * b[from + i] }
                    return sum
                }
                let cap = Double(attention.softcap)
                let scores = zip(keys, places).map { key, place in
                    let score = scale * dot(q, k, key)
                    let bias = attention.bias.map { Double($0[j * keyCount + place]) } ?? 0
                    return (cap == 0 ? score : cap * tanh(score / cap)) + bias
                }
                let kept = places.map { attention.kept(query: j, head: head, key: $0) }
                let sink = attention.sinks.map { Double($0[head]) } ?? -.infinity
                let largest = max(scores.max() ?? 0, sink)
                let sum = scores.reduce(exp(sink - largest)) { $0 + exp($1 - largest) }
                lse[(margin + j) * attention.heads + head] = largest + log(sum)
                let p = scores.map { exp($0 - largest) / sum }
                for i in 0..<size { out[first + i] = 0 }
                for (n, key) in keys.enumerated() {
                    for i in 0..<size { out[first + i] += p[n] * kept[n] * v[key + i] }
                }
                guard let dout else { continue }
                let dp = zip(keys, kept).map { dot(dout, v, $0) * $1 }
                let mean = zip(p, dp).reduce(0) { $0 + $1.0 * $1.1 }
                for i in 0..<size { dq[first + i] = 0 }
                for (n, key) in keys.enumerated() {
                    let slope = cap == 0 ? 1 : 1 - (scores[n] / cap) * (scores[n] / cap)
                    let ds = p[n] * (dp[n] - mean) * scale * slope
                    dbias[j * keyCount + places[n]] = p[n] * (dp[n] - mean)
                    for i in 0..<size {
                        dq[first + i] += ds * k[key + i]
                        dk[key + i] += ds * q[first + i]
                        dv[key + i] += p[n] * kept[n] * dout[first + i]
                    }
                }
            }
        }
    }
}
