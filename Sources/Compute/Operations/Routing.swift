import CKernels
import Glibc
import TensorCore

/// How a router makes weights of its scores.
package enum RouterWeights: Sendable {
    /// The softmax over the chosen experts' scores, which is the softmax over all divided by the chosen ones' sum.
    case ofChosen
    /// The softmax over all experts' scores, of which the chosen ones' are taken.
    case ofAll
}

/// Which experts each token goes to.
package struct Routing: Sendable {
    /// Experts a token goes to.
    package let count: Int
    /// The experts of token t are at t * count on, the one of the highest score first; of equal scores the first.
    package let experts: [Int32]

    /// For each expert the tokens that it sees, in their order, and for each which of its token's choices it is.
    package func tokens(expertCount: Int) -> [(rows: [Int32], choices: [Int32])] {
        var found = [(rows: [Int32], choices: [Int32])](repeating: ([], []), count: expertCount)
        for (place, expert) in experts.enumerated() {
            found[Int(expert)].rows.append(Int32(place / count))
            found[Int(expert)].choices.append(Int32(place % count))
        }
        return found
    }
}

extension Tape {
    /// The `count` experts of each token with the highest of `scores` [tokens, experts], and their weights [tokens,
    /// count], F32.
    ///
    /// Backward: the softmax's; the choice is a constant.
    package func routed(
        _ scores: Variable, count: Int, _ weights: RouterWeights
    ) -> (routing: Routing, weights: Variable) {
        let context = context
        let (tokens, experts) = (scores.value.rows, scores.value.columns)
        precondition(count > 0 && count <= experts)
        let values = scores.value.toArray()
        var chosen: [Int32] = []
        var shares: [Float] = []
        // The softmax over what the weights are of: the chosen ones first, in their order.
        var softmax: [[Float]] = []
        for token in 0..<tokens {
            let row = values[token * experts..<(token + 1) * experts]
            let order = row.indices.sorted { (-row[$0], $0) < (-row[$1], $1) }
            let taken = weights == .ofChosen ? Array(order[..<count]) : order
            let largest = row[order[0]]
            let exponentials = taken.map { exp(Double(row[$0] - largest)) }
            let sum = exponentials.reduce(0, +)
            let parts = exponentials.map { Float($0 / sum) }
            chosen += order[..<count].map { Int32($0 - row.startIndex) }
            shares += parts[..<count]
            if isRecording, scores.needsGradient {
                var dense = [Float](repeating: 0, count: experts)
                for (index, place) in taken.enumerated() { dense[place - row.startIndex] = parts[index] }
                softmax.append(dense)
            }
        }
        let out = Variable(context.tensor([tokens, count], .f32), needsGradient: scores.needsGradient)
        out.value.copy(from: shares)
        let routing = Routing(count: count, experts: chosen)
        guard scores.needsGradient else { return (routing, out) }
        let (scoreSum, outSum) = (scores.gradientSum, out.gradientSum)
        record {
            guard let gradient = outSum.take()?.toArray() else { return }
            var total = [Float](repeating: 0, count: tokens * experts)
            for token in 0..<tokens {
                let places = chosen[token * count..<(token + 1) * count]
                let dots = zip(places, gradient[token * count..<(token + 1) * count])
                let mean = dots.reduce(Float(0)) { $0 + softmax[token][Int($1.0)] * $1.1 }
                for expert in 0..<experts { total[token * experts + expert] = -softmax[token][expert] * mean }
                for (expert, slope) in dots {
                    total[token * experts + Int(expert)] += softmax[token][Int(expert)] * slope
                }
            }
            let tensor = context.tensor([tokens, experts], .f32)
            tensor.copy(from: total)
            scoreSum.add(context, copying: tensor)
        }
        return (routing, out)
    }

    /// The rows of x that `rows` names, none twice.
    ///
    /// Backward: each row's gradient goes to where the row came from.
    package func gathered(_ x: Variable, rows: [Int32]) -> Variable {
        let context = context
        let y = Variable(context.gatherRows(x.value, rows), needsGradient: x.needsGradient)
        guard x.needsGradient else { return y }
        let (xSum, ySum) = (x.gradientSum, y.gradientSum)
        record {
            guard let dy = ySum.take() else { return }
            xSum.add(context) { dx, accumulates in
                if !accumulates { dx.clear() }
                context.scatterAddRows(dy, rows, to: dx)
            }
        }
        return y
    }

    /// For each of `tokenCount` tokens the sum of what its experts made of it, each times its weight: `outputs` [rows,
    /// width] are the experts' rows one expert behind the other, with `places` naming each row's token and which of the
    /// token's choices it is; weights [tokens, choices], F32. [tokens, width] in the outputs' type, summed in F32.
    ///
    /// Backward: doutputs = weight dout of the token, dweights = <dout, output>.
    package func combined(
        _ outputs: [Variable], _ places: [(rows: [Int32], choices: [Int32])], weights: Variable
    ) -> Variable {
        let context = context
        let width = outputs[0].value.columns
        let shares = weights.value.toArray()
        let count = weights.value.columns
        let sum = context.zeros([weights.value.rows, width], .f32)
        for (part, place) in zip(outputs, places) {
            for (row, token) in place.rows.enumerated() {
                let share = shares[Int(token) * count + Int(place.choices[row])]
                let scaled = context.scaled(part.value.rows(row..<row + 1), by: share)
                context.add(scaled, to: sum.rows(Int(token)..<Int(token) + 1))
            }
        }
        let dtype = outputs[0].value.dtype
        let value = dtype == .f32 ? sum : context.tensor(sum.shape, dtype)
        if dtype != .f32 { context.convert(sum, into: value) }
        let out = Variable(value, needsGradient: weights.needsGradient || outputs.contains { $0.needsGradient })
        guard out.needsGradient else { return out }
        let outSum = out.gradientSum
        let (parts, partSums) = (outputs.map(\.value), outputs.map { $0.needsGradient ? $0.gradientSum : nil })
        let weightSum = weights.needsGradient ? weights.gradientSum : nil
        record {
            guard let dout = outSum.take() else { return }
            var slopes = [Float](repeating: 0, count: shares.count)
            for (index, place) in places.enumerated() {
                let gradient = context.gatherRows(dout, place.rows)
                if weightSum != nil {
                    let dots = Self.rowDots(parts[index], gradient)
                    for (row, token) in place.rows.enumerated() {
                        slopes[Int(token) * count + Int(place.choices[row])] = dots[row]
                    }
                }
                guard let partSum = partSums[index] else { continue }
                let scaled = context.tensor(gradient.shape, gradient.dtype)
                for (row, token) in place.rows.enumerated() {
                    let share = shares[Int(token) * count + Int(place.choices[row])]
                    context.copy(
                        context.scaled(gradient.rows(row..<row + 1), by: share), into: scaled.rows(row..<row + 1))
                }
                partSum.add(context, giving: scaled)
            }
            guard let weightSum else { return }
            let tensor = context.tensor([slopes.count / count, count], .f32)
            tensor.copy(from: slopes)
            weightSum.add(context, giving: tensor)
        }
        return out
    }

    private static func rowDots(_ a: Tensor, _ b: Tensor) -> [Float] {
        let (left, right, width) = (a.toArray(), b.toArray(), a.columns)
        return (0..<a.rows).map { row in
            var sum = 0.0
            for place in row * width..<(row + 1) * width { sum += Double(left[place]) * Double(right[place]) }
            return Float(sum)
        }
    }

    /// (up + 1) gate / (1 + exp(-alpha gate)) with the columns of x [tokens, 2 width] being gate, up, gate, up...; gate at
    /// most `limit`, up from -`limit` to `limit`; [tokens, width].
    ///
    /// Backward: what a limit cuts gets no gradient.
    package func clampedProduct(_ x: Variable, alpha: Float, limit: Float) -> Variable {
        let context = context
        let value = x.value
        let (rows, width) = (value.rows, value.columns / 2)
        let out = Variable(context.tensor([rows, width], value.dtype), needsGradient: x.needsGradient)
        context.parallelRows(value, out.value, grain: 8) { row, count in
            tspeft_clamped_product_forward(
                value.place(row), out.value.place(row), value.dtype.kernelCode, alpha, limit, count * width)
        }
        guard x.needsGradient else { return out }
        let (xSum, outSum) = (x.gradientSum, out.gradientSum)
        record {
            guard let dout = outSum.take() else { return }
            let dx = context.tensor(value.shape, value.dtype)
            context.parallelRows(value, dout, dx, grain: 8) { row, count in
                tspeft_clamped_product_backward(
                    value.place(row), dout.place(row), dx.place(row), value.dtype.kernelCode, alpha, limit,
                    count * width)
            }
            xSum.add(context, giving: dx)
        }
        return out
    }
}
