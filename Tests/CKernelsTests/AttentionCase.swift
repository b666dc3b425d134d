import CKernels
import Foundation

/// Random operands of one attention segment, in the middle of larger matrices.
struct AttentionCase {
    var heads = 4
    var keyValueHeads = 2
    var headSize: Int
    var length: Int
    var prefix = 0
    var element = Element.f32

    /// Rows before and behind the segment that no kernel may touch.
    static let margin = 3
    /// Elements of a row behind the heads, so that strides are not widths.
    static let gap = 5

    let q, k, v, dout: Buffer

    init(
        headSize: Int, length: Int, prefix: Int = 0, heads: Int = 4, keyValueHeads: Int = 2, element: Element = .f32,
        seed: UInt64 = 51
    ) {
        (self.headSize, self.length, self.prefix, self.element) = (headSize, length, prefix, element)
        (self.heads, self.keyValueHeads) = (heads, keyValueHeads)
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

    /// Output and log-sum-exp, in matrices of -7, written in calls for `headRanges`.
    func forward(_ level: KernelLevel, headRanges: [Range<Int>]? = nil) -> (out: Buffer, lse: Buffer) {
        let out = Buffer([Float](repeating: -7, count: q.count), element)
        let lse = Buffer([Float](repeating: -7, count: lseCount)), scratch = scratch
        var segment = segment
        for range in headRanges ?? [0..<heads] {
            level.kernels.attention_forward(
                q.pointer, k.pointer, v.pointer, out.pointer, lse.floatPointer, element.rawValue, queryStride,
                keyStride,
                heads, keyValueHeads, headSize, scale, &segment, range.lowerBound, range.upperBound,
                scratch.floatPointer)
        }
        _ = scratch.values
        return (out, lse)
    }

    /// Gradients, in matrices of -7.
    func backward(_ level: KernelLevel, out: Buffer, lse: Buffer, ranges: [Range<Int>]? = nil)
        -> (dq: Buffer, dk: Buffer, dv: Buffer)
    {
        let dq = Buffer([Float](repeating: -7, count: q.count), element), scratch = scratch
        let dk = Buffer([Float](repeating: -7, count: k.count), element)
        let dv = Buffer([Float](repeating: -7, count: k.count), element)
        var segment = segment
        for range in ranges ?? [0..<keyValueHeads] {
            level.kernels.attention_backward(
                q.pointer, k.pointer, v.pointer, out.pointer, dout.pointer, lse.floatPointer, dq.pointer, dk.pointer,
                dv.pointer, element.rawValue, queryStride, keyStride, heads, keyValueHeads, headSize, scale, &segment,
                range.lowerBound, range.upperBound, scratch.floatPointer)
        }
        _ = scratch.values
        return (dq, dk, dv)
    }
}

/// Attention from its definition, in double: softmax(scale q k') v row by row, and the derivatives of its sums.
struct AttentionReference {
    var out, lse, dq, dk, dv: [Double]

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
                let rows =
                    (0..<attention.prefix).map { Int(segment.prefix_start) + $0 } + (0...j).map { margin + $0 }
                let keys = rows.map { $0 * attention.keyStride + head / group * size }
                func dot(_ a: [Double], _ b: [Double], _ from: Int) -> Double {
                    var sum = 0.0
                    for i in 0..<size { sum += a[first + i] * b[from + i] }
                    return sum
                }
                let scores = keys.map { scale * dot(q, k, $0) }
                let largest = scores.max() ?? 0
                let sum = scores.reduce(0) { $0 + exp($1 - largest) }
                lse[(margin + j) * attention.heads + head] = largest + log(sum)
                let p = scores.map { exp($0 - largest) / sum }
                for i in 0..<size { out[first + i] = 0 }
                for (n, key) in keys.enumerated() {
                    for i in 0..<size { out[first + i] += p[n] * v[key + i] }
                }
                guard let dout else { continue }
                let dp = keys.map { dot(dout, v, $0) }
                let mean = zip(p, dp).reduce(0) { $0 + $1.0 * $1.1 }
                for i in 0..<size { dq[first + i] = 0 }
                for (n, key) in keys.enumerated() {
                    let ds = p[n] * (dp[n] - mean) * scale
                    for i in 0..<size {
                        dq[first + i] += ds * k[key + i]
                        dk[key + i] += ds * q[first + i]
                        dv[key + i] += p[n] * dout[first + i]
                    }
                }
            }
        }
    }
}
