import CKernels
import Testing

@Suite struct AttentionTests {
    static let shapes: [(headSize: Int, length: Int, prefix: Int)] = [
        (8, 1, 0), (8, 2, 3), (8, 3, 1), (8, 50, 0), (16, 6, 0), (16, 53, 2), (32, 17, 0), (64, 1, 40), (64, 3, 49),
        (64, 13, 30), (80, 7, 0), (128, 5, 5), (20, 7, 0), (5, 9, 4), (72, 4, 44),
    ]

    @Test(arguments: Element.activations)
    func outputsAndLogSumsFollowTheDefinition(element: Element) {
        for shape in Self.shapes {
            let attention = AttentionCase(
                headSize: shape.headSize, length: shape.length, prefix: shape.prefix, element: element)
            let expected = AttentionReference(attention)
            for level in KernelLevel.all {
                let found = attention.forward(level)
                #expect(agree(found.out.values, expected.out, tolerance: element.rounding + 3e-6), "\(level) \(shape)")
                #expect(agree(found.lse.values, expected.lse, tolerance: 3e-6), "\(level) \(shape)")
            }
        }
    }

    @Test(arguments: Element.activations)
    func gradientsFollowTheirFormulas(element: Element) {
        for shape in Self.shapes where shape.prefix == 0 {
            let attention = AttentionCase(headSize: shape.headSize, length: shape.length, element: element)
            let forward = attention.forward(.plain)
            let expected = AttentionReference(attention, gradients: true)
            // In bf16 the rounded output enters D, which every gradient of a score takes.
            let tolerance = element == .f32 ? 1e-5 : 2e-2
            for level in KernelLevel.all {
                let found = attention.backward(level, out: forward.out, lse: forward.lse)
                #expect(agree(found.dq.values, expected.dq, tolerance: tolerance), "\(level) \(shape)")
                #expect(agree(found.dk.values, expected.dk, tolerance: tolerance), "\(level) \(shape)")
                #expect(agree(found.dv.values, expected.dv, tolerance: element.rounding + 1e-5), "\(level) \(shape)")
            }
        }
    }

    /// Every pattern of visibility, with and without a cap and sinks, from few queries and from many.
    @Test(arguments: Pattern.all, Element.activations)
    func patternsCapsAndSinksFollowTheDefinition(pattern: Pattern, element: Element) {
        for (length, prefix) in [(1, 0), (3, 2), (13, 0), (13, 61), (53, 0)] {
            for softcap: Float in [0, 1.5] {
                var attention = AttentionCase(
                    headSize: 20, length: length, prefix: prefix, element: element, pattern: pattern)
                attention.softcap = softcap
                if softcap != 0 { attention.sinks = [-1, 0.5, 3, -40] }
                let expected = AttentionReference(attention, gradients: prefix == 0)
                let plain = attention.forward(.plain)
                for level in KernelLevel.all {
                    let found = attention.forward(level)
                    let name = "\(level) \(length) \(prefix) \(softcap)"
                    #expect(agree(found.out.values, expected.out, tolerance: element.rounding + 3e-6), "\(name)")
                    #expect(agree(found.lse.values, expected.lse, tolerance: 3e-6), "\(name)")
                    guard prefix == 0 else { continue }
                    let gradients = attention.backward(level, out: plain.out, lse: plain.lse)
                    let tolerance = element == .f32 ? 1e-5 : 2e-2
                    #expect(agree(gradients.dq.values, expected.dq, tolerance: tolerance), "\(name)")
                    #expect(agree(gradients.dk.values, expected.dk, tolerance: tolerance), "\(name)")
                    #expect(agree(gradients.dv.values, expected.dv, tolerance: element.rounding + 1e-5), "\(name)")
                }
            }
        }
    }

    @Test(arguments: [Float(0), 1.5], [false, true])
    func theFormulasAreTheSlopesOfTheDefinition(softcap: Float, drops: Bool) {
        var attention = AttentionCase(headSize: 8, length: 5, heads: 2, keyValueHeads: 1)
        attention.softcap = softcap
        if drops { attention.dropout = (0.4, 7) }
        if softcap != 0 {
            attention.pattern = Pattern(name: "1 to both sides", before: 1, after: 1)
            attention.sinks = [0.5, -1]
        }
        let (q, k, v) = (attention.q.values, attention.k.values, attention.v.values)
        let operands = [q, k, v].map { $0.map(Double.init) }, dout = attention.dout.values.map(Double.init)
        let reference = AttentionReference(attention, gradients: true)
        let gradients = [reference.dq, reference.dk, reference.dv]
        func loss(_ operands: [[Double]]) -> Double {
            let moved = AttentionReference(attention, q: operands[0], k: operands[1], v: operands[2])
            // Outside of the segment the output is constant, so what it multiplies does not matter.
            return zip(moved.out, dout).reduce(0) { $0 + $1.0 * $1.1 }
        }
        var checked = 0
        for (n, gradient) in gradients.enumerated() {
            for i in stride(from: 0, to: gradient.count, by: 7) where gradient[i] != -7 {
                let h = 1e-5
                var (up, down) = (operands, operands)
                up[n][i] += h
                down[n][i] -= h
                #expect(abs((loss(up) - loss(down)) / (2 * h) - gradient[i]) < 1e-8)
                checked += 1
            }
        }
        #expect(checked > 20)
    }

    /// Head sizes and lengths around every boundary of the blocks; plain C is the reference here.
    @Test(arguments: [8, 16, 32, 64, 80, 128])
    func everyLengthAgreesWithPlainC(headSize: Int) {
        // Plain C is slow in a debug build: the large head sizes do with the lengths around one block.
        for length in [1, 2, 3, 4, 5, 6, 7, 15, 16, 17, 42, 47, 48, 49, 95, 96, 97, 130]
        where length < 50 || headSize <= 16 {
            let prefix = headSize == 8 || length % 4 == 1 ? length % 3 * 37 : 0
            let attention = AttentionCase(
                headSize: headSize, length: length, prefix: prefix, heads: 2, keyValueHeads: 1, seed: UInt64(length))
            let expected = attention.forward(.plain)
            for level in KernelLevel.vectors {
                let found = attention.forward(level)
                #expect(largestDifference(found.out.values, expected.out.values) < 3e-6, "\(level) \(length)")
                #expect(largestDifference(found.lse.values, expected.lse.values) < 5e-6, "\(level) \(length)")
            }
            guard prefix == 0 else { continue }
            let wanted = attention.backward(.plain, out: expected.out, lse: expected.lse)
            for level in KernelLevel.vectors {
                let gradients = attention.backward(level, out: expected.out, lse: expected.lse)
                #expect(largestDifference(gradients.dq.values, wanted.dq.values) < 2e-5, "\(level) \(length)")
                #expect(largestDifference(gradients.dk.values, wanted.dk.values) < 2e-5, "\(level) \(length)")
                #expect(largestDifference(gradients.dv.values, wanted.dv.values) < 2e-5, "\(level) \(length)")
            }
        }
    }

    /// Lengths around the blocks' boundaries for every pattern; plain C is the reference.
    @Test(arguments: Pattern.all)
    func everyPatternAgreesWithPlainC(pattern: Pattern) {
        for length in [4, 6, 47, 49, 96, 131] {
            var attention = AttentionCase(
                headSize: 16, length: length, heads: 2, keyValueHeads: 1, pattern: pattern, seed: UInt64(length))
            if length % 2 == 0 { attention.softcap = 3 }
            let expected = attention.forward(.plain)
            let wanted = attention.backward(.plain, out: expected.out, lse: expected.lse)
            for level in KernelLevel.vectors {
                let found = attention.forward(level)
                #expect(largestDifference(found.out.values, expected.out.values) < 3e-6, "\(level) \(length)")
                #expect(largestDifference(found.lse.values, expected.lse.values) < 5e-6, "\(level) \(length)")
                let gradients = attention.backward(level, out: expected.out, lse: expected.lse)
                #expect(largestDifference(gradients.dq.values, wanted.dq.values) < 2e-5, "\(level) \(length)")
                #expect(largestDifference(gradients.dk.values, wanted.dk.values) < 2e-5, "\(level) \(length)")
                #expect(largestDifference(gradients.dv.values, wanted.dv.values) < 2e-5, "\(level) \(length)")
            }
        }
    }

    /// A bias of each score, of few queries and of several blocks, seen everywhere and in a band.
    @Test(arguments: [Pattern.all[4], Pattern.all[5], .causal], Element.activations)
    func biasesAreAddedAndHaveTheirGradients(pattern: Pattern, element: Element) {
        for (length, prefix) in [(1, 0), (3, 2), (13, 0), (53, 0), (13, 61)] {
            var attention = AttentionCase(
                headSize: 20, length: length, prefix: prefix, heads: 1, keyValueHeads: 1, element: element,
                pattern: pattern)
            var numbers = Numbers(seed: 52)
            attention.bias = numbers.floats(length * (prefix + length), 3)
            agrees(attention)
        }
    }

    /// Dropout of the probabilities, whose masks are those of `tspeft_dropout`.
    @Test(arguments: [Pattern.all[4], Pattern.all[5], .causal], Element.activations)
    func probabilitiesAreDropped(pattern: Pattern, element: Element) {
        for (length, heads) in [(1, 4), (2, 1), (13, 4), (53, 2)] {
            var attention = AttentionCase(
                headSize: 20, length: length, heads: heads, keyValueHeads: 1, element: element, pattern: pattern)
            attention.dropout = (0.3, 99)
            agrees(attention)
            guard heads == 1 else { continue }
            attention.bias = [1, -2, 0.5, 0]
            agrees(attention)
        }
    }

    /// Every level's results against the definition.
    private func agrees(_ attention: AttentionCase) {
        let expected = AttentionReference(attention, gradients: attention.prefix == 0)
        let plain = attention.forward(.plain)
        for level in KernelLevel.all {
            let found = attention.forward(level)
            let (name, rounding) = ("\(level) \(attention.length) \(attention.prefix)", attention.element.rounding)
            #expect(agree(found.out.values, expected.out, tolerance: rounding + 3e-6), "\(name)")
            #expect(agree(found.lse.values, expected.lse, tolerance: 3e-6), "\(name)")
            guard attention.prefix == 0 else { continue }
            let gradients = attention.backward(level, out: plain.out, lse: plain.lse)
            let tolerance = attention.element == .f32 ? 1e-5 : 2e-2
            #expect(agree(gradients.dq.values, expected.dq, tolerance: tolerance), "\(name)")
            #expect(agree(gradients.dk.values, expected.dk, tolerance: tolerance), "\(name)")
            #expect(agree(gradients.dv.values, expected.dv, tolerance: rounding + 1e-5), "\(name)")
            guard let dbias = gradients.dbias else { continue }
            #expect(agree(dbias.values, expected.dbias, tolerance: tolerance), "\(name)")
        }
    }

    @Test(arguments: KernelLevel.all)
    func anySplitOfTheHeadsGivesTheSameBits(level: KernelLevel) {
        for length in [2, 50] {
            let attention = AttentionCase(headSize: 16, length: length, heads: 6, keyValueHeads: 3)
            let whole = attention.forward(level), parts = attention.forward(level, headRanges: [0..<1, 1..<4, 4..<6])
            #expect(whole.out.bits == parts.out.bits)
            #expect(whole.lse.bits == parts.lse.bits)
            let all = attention.backward(level, out: whole.out, lse: whole.lse)
            let each = attention.backward(level, out: whole.out, lse: whole.lse, ranges: [0..<1, 1..<2, 2..<3])
            #expect(all.dq.bits == each.dq.bits && all.dk.bits == each.dk.bits && all.dv.bits == each.dv.bits)
        }
    }

    @Test(arguments: KernelLevel.all)
    func aPromptReadWithAPrefixIsThePromptReadWhole(level: KernelLevel) {
        // Rows 40... of one sequence of 50, once with all rows and once as ten queries after a prefix of 40 keys.
        let whole = AttentionCase(headSize: 32, length: 50)
        let expected = whole.forward(level).out.values
        let margin = AttentionCase.margin
        for count in [10, 1] {
            let out = Buffer([Float](repeating: 0, count: whole.q.count))
            var segment = tspeft_attention_segment(
                query_start: Int64(margin + 40), query_count: Int64(count), key_start: Int64(margin + 40),
                prefix_start: Int64(margin), prefix_count: 40)
            let scratch = Buffer(count: tspeft_attention_scratch(count, 40 + count, 32))
            var call = whole.call(out: out, lse: nil, sinks: nil)
            level.kernels.attention_forward(&call, &segment, 0, 4, scratch.floatPointer)
            for row in margin + 40..<margin + 40 + count {
                let range = row * whole.queryStride..<row * whole.queryStride + 4 * 32
                #expect(largestDifference(Array(out.values[range]), Array(expected[range])) < 2e-6)
            }
        }
    }

    @Test(arguments: KernelLevel.all)
    func largeScoresDoNotOverflowAndNaNShows(level: KernelLevel) {
        let attention = AttentionCase(headSize: 8, length: 60)
        for i in 0..<attention.q.count { attention.q.floatPointer[i] *= 1000 }
        #expect(!attention.forward(level).out.values.contains { !$0.isFinite })
        // A NaN in the key of the segment's row 50 reaches the queries from there on and no other.
        attention.k.floatPointer[(AttentionCase.margin + 50) * attention.keyStride] = .nan
        let out = attention.forward(level).out.values
        let first = (0..<60).first { out[(AttentionCase.margin + $0) * attention.queryStride].isNaN }
        #expect(first == 50)
    }
}
