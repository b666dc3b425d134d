import CKernels
import Glibc
import TensorCore
import Threads

/// The heads of a delta rule.
package struct DeltaShape: Sendable {
    /// Heads of queries and keys.
    package let keyHeadCount: Int
    /// Heads of values; a multiple of those of keys, of which each serves as many heads that stand together.
    package let valueHeadCount: Int
    /// Width of a head of queries and keys, and of values.
    package let (keySize, valueSize): (Int, Int)

    /// The heads as given.
    package init(keyHeadCount: Int, valueHeadCount: Int, keySize: Int, valueSize: Int) {
        precondition(valueHeadCount % keyHeadCount == 0)
        (self.keyHeadCount, self.valueHeadCount) = (keyHeadCount, valueHeadCount)
        (self.keySize, self.valueSize) = (keySize, valueSize)
    }

    fileprivate var stateSize: Int { keySize * valueSize }
    fileprivate func keyHead(_ head: Int) -> Int { head / (valueHeadCount / keyHeadCount) }
}

/// The frozen numbers of a delta rule, one for each head of values: decays are exp(-exp(a) softplus(x + bias)).
package struct DeltaDecay: Sendable {
    package let logRate: [Float]
    package let bias: [Float]

    package init(logRate: [Float], bias: [Float]) { (self.logRate, self.bias) = (logRate, bias) }
}

/// What a delta rule and the convolution before it keep of a run of tokens: for the tokens that continue it.
package final class DeltaState {
    /// For each value head [keySize, valueSize], row-major.
    package internal(set) var heads: [Float]
    /// The last inputs of the convolution, oldest first, [taps - 1, channels].
    package internal(set) var tail: [Float]

    /// Of no tokens.
    package init(_ shape: DeltaShape, channels: Int, taps: Int) {
        heads = [Float](repeating: 0, count: shape.valueHeadCount * shape.stateSize)
        tail = [Float](repeating: 0, count: (taps - 1) * channels)
    }

    private init(heads: [Float], tail: [Float]) { (self.heads, self.tail) = (heads, tail) }

    /// A state of its own with the same numbers.
    package var copy: DeltaState { DeltaState(heads: heads, tail: tail) }
}

extension Tape {
    /// silu(sum_j w_cj x_(t - taps + 1 + j, c)) of each channel c of x [tokens, channels], over the tokens of each run and
    /// the run that it continues; w [channels, taps], frozen. With a state the tokens are one run that continues it.
    ///
    /// Backward: dx is the convolution of the gradient the other way.
    package func shortConvolution(
        _ x: Variable, weights: [Float], _ layout: TokenLayout, state: DeltaState? = nil
    ) -> Variable {
        let context = context
        let (rows, channels) = (x.value.rows, x.value.columns)
        let taps = weights.count / channels
        let values = x.value.toArray()
        let tail = state?.tail
        // The rows that each row's taps read: a row of x, or -1 - i for row i of the tail, or nothing.
        let sources = Self.sources(layout, taps: taps, hasTail: tail != nil)
        var sums = [Float](repeating: 0, count: rows * channels)
        sums.withUnsafeMutableBufferPointer { sums in
            for row in 0..<rows {
                for tap in 0..<taps {
                    guard let source = sources[row * taps + tap] else { continue }
                    for channel in 0..<channels {
                        let input =
                            source >= 0
                            ? values[source * channels + channel] : (tail?[(-1 - source) * channels + channel] ?? 0)
                        sums[row * channels + channel] += weights[channel * taps + tap] * input
                    }
                }
            }
        }
        if let state {
            let all = state.tail + values
            state.tail = Array(all.suffix((taps - 1) * channels))
        }
        let out = Variable(context.tensor([rows, channels], x.value.dtype), needsGradient: x.needsGradient)
        out.value.copy(from: sums.map { $0 / (1 + exp(-$0)) })
        guard x.needsGradient else { return out }
        let (xSum, outSum) = (x.gradientSum, out.gradientSum)
        record {
            guard let dout = outSum.take()?.toArray() else { return }
            var gradient = [Float](repeating: 0, count: rows * channels)
            for row in 0..<rows {
                for tap in 0..<taps {
                    guard let source = sources[row * taps + tap], source >= 0 else { continue }
                    for channel in 0..<channels {
                        let place = row * channels + channel
                        let share = 1 / (1 + exp(-sums[place]))
                        let slope = share * (1 + sums[place] * (1 - share))
                        gradient[source * channels + channel] += weights[channel * taps + tap] * dout[place] * slope
                    }
                }
            }
            let tensor = context.tensor([rows, channels], .f32)
            tensor.copy(from: gradient)
            xSum.add(context, copying: tensor)
        }
        return out
    }

    private static func sources(_ layout: TokenLayout, taps: Int, hasTail: Bool) -> [Int?] {
        var sources = [Int?](repeating: nil, count: layout.rowCount * taps)
        for segment in layout.segments {
            for index in 0..<segment.count {
                for tap in 0..<taps {
                    let place = index - (taps - 1) + tap
                    let row = segment.queryStart + index
                    if place >= 0 {
                        sources[row * taps + tap] = segment.queryStart + place
                    } else if hasTail {
                        sources[row * taps + tap] = -1 - (taps - 1 + place)
                    } else if segment.prefixCount + place >= 0 {
                        sources[row * taps + tap] = segment.prefixStart + segment.prefixCount + place
                    }
                }
            }
        }
        return sources
    }

    /// The gated delta rule (Yang et al., arXiv 2412.06464): for each value head, over the tokens of a run, S <- decay S,
    /// S <- S + k share (v - S' k)', out = S' q, from nothing or the state of the run that it continues. `channels` [tokens,
    /// (2 keyHeads keySize) + valueHeads valueSize] are queries, keys and values; queries and keys are divided by their
    /// lengths, queries also by sqrt(keySize). share = sigmoid of `shares`, decay from `decays`, both [tokens, valueHeads].
    /// [tokens, valueHeads valueSize], F32. With a state the tokens are one run that continues it.
    ///
    /// Backward: the same steps back, with states kept at the beginning of every 64 tokens and computed again between.
    package func deltaRule(
        channels: Variable, shares: Variable, decays: Variable, _ shape: DeltaShape, _ decay: DeltaDecay,
        _ layout: TokenLayout, state: DeltaState? = nil
    ) -> Variable {
        let context = context
        let run = DeltaRun(channels.value, shares.value, decays.value, shape, decay, layout)
        let needsGradient = channels.needsGradient || shares.needsGradient || decays.needsGradient
        let out = Variable(
            context.tensor([run.rows, shape.valueHeadCount * shape.valueSize], .f32), needsGradient: needsGradient)
        let kept = run.forward(into: out.value, state: state, keeps: isRecording && needsGradient, context)
        guard isRecording, needsGradient else { return out }
        let outSum = out.gradientSum
        let sums = [channels, shares, decays].map { $0.needsGradient ? $0.gradientSum : nil }
        record {
            guard let dout = outSum.take() else { return }
            let gradients = run.backward(dout, kept, context)
            for (sum, gradient) in zip(sums, gradients) { sum?.add(context, copying: gradient) }
        }
        return out
    }
}

/// The numbers of one call of the delta rule.
private final class DeltaRun {
    private static let stretch = 64
    private static let epsilon: Float = 1e-6

    let rows: Int
    private let shape: DeltaShape
    private let decay: DeltaDecay
    private let segments: [TokenLayout.Segment]
    private let channels: [Float]
    private let shares: [Float]
    private let decays: [Float]
    private var width: Int { 2 * shape.keyHeadCount * shape.keySize + shape.valueHeadCount * shape.valueSize }

    init(
        _ channels: Tensor, _ shares: Tensor, _ decays: Tensor, _ shape: DeltaShape, _ decay: DeltaDecay,
        _ layout: TokenLayout
    ) {
        rows = channels.rows
        (self.shape, self.decay, segments) = (shape, decay, layout.segments)
        (self.channels, self.shares, self.decays) = (channels.toArray(), shares.toArray(), decays.toArray())
    }

    /// What a step of a head reads.
    private struct Step {
        var q: [Float]
        var k: [Float]
        var v: [Float]
        var decay: Float
        var share: Float
    }

    private func unit(_ vector: ArraySlice<Float>, factor: Float = 1) -> [Float] {
        let sum = vector.reduce(Float(0)) { $0 + $1 * $1 }
        let scale = factor / (sum + Self.epsilon).squareRoot()
        return vector.map { $0 * scale }
    }

    private func places(_ row: Int, _ head: Int) -> (q: Range<Int>, k: Range<Int>, v: Range<Int>) {
        let (keys, start) = (shape.keyHeadCount * shape.keySize, row * width)
        let key = start + shape.keyHead(head) * shape.keySize
        let value = start + 2 * keys + head * shape.valueSize
        return (
            key..<key + shape.keySize, key + keys..<key + keys + shape.keySize, value..<value + shape.valueSize
        )
    }

    private func step(_ row: Int, _ head: Int) -> Step {
        let place = places(row, head)
        let index = row * shape.valueHeadCount + head
        let x = decays[index] + decay.bias[head]
        let softplus = x > 20 ? x : log1p(exp(x))
        return Step(
            q: unit(channels[place.q], factor: 1 / Float(shape.keySize).squareRoot()), k: unit(channels[place.k]),
            v: Array(channels[place.v]), decay: exp(-exp(decay.logRate[head]) * softplus),
            share: 1 / (1 + exp(-shares[index])))
    }

    /// Fills `out`; the states at the beginning of every stretch, for each head and segment, where they are kept.
    func forward(into out: Tensor, state: DeltaState?, keeps: Bool, _ context: ComputeContext) -> [[[Float]]] {
        let heads = shape.valueHeadCount
        let found = ResultSlots.collect(heads, (kept: [[Float]](), end: [Float]())) { slots in
            context.parallelItems(heads) { head, _ in
                var states: [[Float]] = []
                var finals: [[Float]] = []
                var u = [Float](repeating: 0, count: shape.valueSize)
                for segment in segments {
                    var current = [Float](repeating: 0, count: shape.stateSize)
                    if let state {
                        current = Array(state.heads[head * shape.stateSize..<(head + 1) * shape.stateSize])
                    } else if segment.prefixCount > 0 {
                        let before = segments.firstIndex {
                            $0.queryStart == segment.prefixStart && $0.count == segment.prefixCount
                        }
                        guard let before, before < finals.count else {
                            preconditionFailure("a run continues another one of its pass")
                        }
                        current = finals[before]
                    }
                    for index in 0..<segment.count {
                        if keeps, index % Self.stretch == 0 { states.append(current) }
                        let row = segment.queryStart + index
                        let step = step(row, head)
                        tspeft_delta_step(
                            &current, step.q, step.k, step.v, step.decay, step.share, &u,
                            out.floats + row * heads * shape.valueSize + head * shape.valueSize, shape.keySize,
                            shape.valueSize)
                    }
                    finals.append(current)
                }
                slots.put((states, finals.last ?? []), at: head)
            }
        }
        if let state { state.heads = found.flatMap(\.end) }
        return found.map(\.kept)
    }

    /// The gradients of channels, shares and decays for that of the result.
    func backward(_ dout: Tensor, _ kept: [[[Float]]], _ context: ComputeContext) -> [Tensor] {
        let heads = shape.valueHeadCount
        // Heads of values share heads of keys, so each has its own gradient of those.
        let perHead = 2 * shape.keySize + shape.valueSize
        let parts = context.zeros([rows * heads, perHead], .f32)
        let numbers = context.zeros([rows * heads, 2], .f32)
        context.parallelItems(heads) { head, _ in
            var place = kept[head].count
            for segment in segments.reversed() {
                var dstate = [Float](repeating: 0, count: shape.stateSize)
                let stretches = (segment.count + Self.stretch - 1) / Self.stretch
                for stretch in (0..<stretches).reversed() {
                    place -= 1
                    let first = segment.queryStart + stretch * Self.stretch
                    let count = min(Self.stretch, segment.count - stretch * Self.stretch)
                    stretchBackward(
                        first..<first + count, head, from: kept[head][place], dout, &dstate, (parts, numbers))
                }
            }
        }
        return gather(parts, numbers, context)
    }

    private func stretchBackward(
        _ range: Range<Int>, _ head: Int, from start: [Float], _ dout: Tensor, _ dstate: inout [Float],
        _ targets: (parts: Tensor, numbers: Tensor)
    ) {
        var states = [start]
        var steps: [(step: Step, u: [Float])] = []
        var out = [Float](repeating: 0, count: shape.valueSize)
        for row in range {
            let step = step(row, head)
            var (current, u) = (states[states.count - 1], out)
            tspeft_delta_step(
                &current, step.q, step.k, step.v, step.decay, step.share, &u, &out, shape.keySize, shape.valueSize)
            states.append(current)
            steps.append((step, u))
        }
        let heads = shape.valueHeadCount
        for (index, row) in range.enumerated().reversed() {
            let (step, u) = steps[index]
            let part = targets.parts.floats + (row * heads + head) * (2 * shape.keySize + shape.valueSize)
            let number = targets.numbers.floats + (row * heads + head) * 2
            let slopes = tspeft_delta_slopes(
                dq: part, dk: part + shape.keySize, dv: part + 2 * shape.keySize, ddecay: number, dshare: number + 1)
            step.q.withUnsafeBufferPointer { q in
                step.k.withUnsafeBufferPointer { k in
                    u.withUnsafeBufferPointer { u in
                        states[index].withUnsafeBufferPointer { before in
                            states[index + 1].withUnsafeBufferPointer { after in
                                var values = tspeft_delta_values(
                                    q: q.baseAddress, k: k.baseAddress, u: u.baseAddress, before: before.baseAddress,
                                    after: after.baseAddress, decay: step.decay, share: step.share)
                                var slopes = slopes
                                tspeft_delta_step_backward(
                                    &values, dout.floats + (row * heads + head) * shape.valueSize, &dstate, &slopes,
                                    shape.keySize, shape.valueSize)
                            }
                        }
                    }
                }
            }
        }
    }

    /// From gradients of what a step reads to those of what it was made of.
    private func gather(_ parts: Tensor, _ numbers: Tensor, _ context: ComputeContext) -> [Tensor] {
        let heads = shape.valueHeadCount
        let tensors = [width, heads, heads].map { context.zeros([rows, $0], .f32) }
        for row in 0..<rows {
            for head in 0..<heads {
                let part = parts.floats + (row * heads + head) * (2 * shape.keySize + shape.valueSize)
                let place = places(row, head)
                let step = step(row, head)
                addUnit(place.q, part, factor: 1 / Float(shape.keySize).squareRoot(), to: tensors[0])
                addUnit(place.k, part + shape.keySize, factor: 1, to: tensors[0])
                for (index, target) in place.v.enumerated() {
                    tensors[0].floats[target] += part[2 * shape.keySize + index]
                }
                let index = row * heads + head
                let x = decays[index] + decay.bias[head]
                tensors[1].floats[index] = numbers.floats[2 * index + 1] * step.share * (1 - step.share)
                tensors[2].floats[index] =
                    -numbers.floats[2 * index] * step.decay * exp(decay.logRate[head]) / (1 + exp(-x))
            }
        }
        withExtendedLifetime((parts, numbers)) {}
        return tensors
    }

    /// Adds the gradient of x for that of factor x / sqrt(x^2 + epsilon).
    private func addUnit(_ place: Range<Int>, _ gradient: UnsafeMutablePointer<Float>, factor: Float, to target: Tensor)
    {
        let vector = channels[place]
        let scale = 1 / (vector.reduce(Float(0)) { $0 + $1 * $1 } + Self.epsilon).squareRoot()
        var dot: Float = 0
        for (index, value) in vector.enumerated() { dot += value * gradient[index] }
        for (index, value) in vector.enumerated() {
            target.floats[place.lowerBound + index] +=
                factor * scale * (gradient[index] - value * dot * scale * scale)
        }
    }
}
