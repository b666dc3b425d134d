import Compute
import TensorCore
import TestSupport
import Testing

/// Every operation's backward pass against differences of its forward pass.
@Suite struct BackwardTests {
    private func expectSmall(_ errors: [Double], sourceLocation: SourceLocation = #_sourceLocation) {
        for (input, error) in errors.enumerated() {
            #expect(error < GradientCheck.tolerance, "gradient of input \(input)", sourceLocation: sourceLocation)
        }
    }

    /// 3 rows are multiplied as they are, 20 are rounded up to a multiple that reaches behind the last one.
    @Test(arguments: [3, 20], [false, true]) func linearPassesGradientBack(rows: Int, bias: Bool) {
        let layer = GradientCheck.layer(6, 5, bias: bias, seed: 10)
        expectSmall(GradientCheck { tape, inputs in tape.linear(inputs[0], layer) }.errors(inputs: [[rows, 5]]))
    }

    @Test(arguments: [3, 20]) func gradientsOfTwoReadersAddUp(rows: Int) {
        let first = GradientCheck.layer(6, 5, seed: 10)
        let second = GradientCheck.layer(6, 5, bias: true, seed: 20)
        let check = GradientCheck { tape, inputs in
            tape.siluProduct(gate: tape.linear(inputs[0], first), up: tape.linear(inputs[0], second))
        }
        expectSmall(check.errors(inputs: [[rows, 5]]))
    }

    @Test func rmsNormPassesGradientBack() {
        let context = ComputeContext(dtype: .f32, threadCount: 1)
        let weight = context.tensor([9])
        weight.copy(from: randomValues(9, seed: 30))
        for epsilon: Float in [1e-5, 0.5] {
            let check = GradientCheck { tape, inputs in
                tape.rmsNorm(inputs[0], weight: weight, epsilon: epsilon)
            }
            expectSmall(check.errors(inputs: [[17, 9]]))
        }
    }

    @Test func siluProductPassesGradientBack() {
        let check = GradientCheck { tape, inputs in tape.siluProduct(gate: inputs[0], up: inputs[1]) }
        expectSmall(check.errors(inputs: [[5, 7], [5, 7]]))
    }

    @Test func gatedProductWithGeluPassesGradientBack() {
        let check = GradientCheck { tape, inputs in
            tape.gatedProduct(.geluTanh, gate: inputs[0], up: inputs[1])
        }
        expectSmall(check.errors(inputs: [[5, 7], [5, 7]]))
    }

    /// Gate and up as the two halves of one projection's columns.
    @Test func gatedProductOfHalvesPassesGradientBack() {
        let check = GradientCheck { tape, inputs in
            let parts = inputs[0].split([7, 7])
            return tape.gatedProduct(.silu, gate: parts[0], up: parts[1])
        }
        expectSmall(check.errors(inputs: [[5, 14]]))
    }

    @Test func scaledPassesGradientBack() {
        let check = GradientCheck { tape, inputs in
            tape.residual(inputs[0], plus: tape.scaled(inputs[1], by: 0.3))
        }
        expectSmall(check.errors(inputs: [[5, 7], [5, 7]]))
    }

    /// A part of each head, halves or neighbours, with a factor for all and one for each position.
    @Test(arguments: [false, true]) func rotationOfPartsTurnsGradientBack(isInPairs: Bool) {
        let context = ComputeContext(dtype: .f32, threadCount: 1)
        let form = RotaryForm(factor: 1.3, isInPairs: isInPairs) { 1 + 0.1 * Float($0) }
        let table = RotaryTable(inverseFrequencies: [1, 0.3], context, form: form)
        let check = GradientCheck { tape, inputs in
            tape.rotated(inputs[0], table, positions: [0, 3, 1, 8, 8], headSize: 6)
        }
        expectSmall(check.errors(inputs: [[5, 12]]))
    }

    /// Frequencies of a longer pass in between, which a backward pass must not take for its own.
    @Test func rotationThatDependsOnTheLengthTurnsGradientBack() {
        let context = ComputeContext(dtype: .f32, threadCount: 1)
        let table = RotaryTable(context) { $0 > 4 ? [0.5, 0.1] : [1, 0.3] }
        let check = GradientCheck { tape, inputs in
            let short = tape.rotated(inputs[0], table, positions: [0, 3, 1], headSize: 4)
            let long = tape.rotated(inputs[1], table, positions: [0, 4, 1], headSize: 4)
            return tape.residual(short, plus: long)
        }
        expectSmall(check.errors(inputs: [[3, 8], [3, 8]]))
    }

    @Test func residualPassesGradientToStreamAndLayer() {
        let check = GradientCheck { tape, inputs in tape.residual(inputs[0], plus: inputs[1]) }
        expectSmall(check.errors(inputs: [[5, 7], [5, 7]]))
    }

    /// A layer's shape: the stream is read by the norm and carried on, so its gradient has two parts.
    @Test func residualAroundNormAndLayerAddsBothParts() {
        let context = ComputeContext(dtype: .f32, threadCount: 1)
        let weight = context.tensor([7])
        weight.copy(from: randomValues(7, seed: 40))
        let layer = GradientCheck.layer(7, 7, seed: 41)
        let check = GradientCheck { tape, inputs in
            let normed = tape.rmsNorm(inputs[0], weight: weight, epsilon: 1e-5)
            return tape.residual(inputs[0], plus: tape.linear(normed, layer))
        }
        expectSmall(check.errors(inputs: [[5, 7]]))
    }

    @Test func rotationTurnsGradientBack() {
        let context = ComputeContext(dtype: .f32, threadCount: 1)
        let table = RotaryTable(inverseFrequencies: [1, 0.3, 0.05], context)
        let check = GradientCheck { tape, inputs in
            tape.rotated(inputs[0], table, positions: [0, 3, 1, 8, 8], headSize: 6)
        }
        expectSmall(check.errors(inputs: [[5, 12]]))
    }

    private func attentionErrors(_ heads: (query: Int, key: Int), _ lengths: [Int], stride: Int = 1) -> [Double] {
        let headSize = 6
        let rows = lengths.reduce(0, +)
        let shape = AttentionShape(headCount: heads.query, keyValueHeadCount: heads.key, headSize: headSize)
        let check = GradientCheck { tape, inputs in
            tape.attention(q: inputs[0], k: inputs[1], v: inputs[2], shape, TokenLayout(lengths: lengths))
        }
        let (wide, narrow) = ([rows, heads.query * headSize], [rows, heads.key * headSize])
        return check.errors(inputs: [wide, narrow, narrow], stride: stride)
    }

    /// Heads with keys of their own and heads that share them; one sequence and several.
    @Test(arguments: [(2, 2), (4, 2), (3, 1)], [[5], [1, 3, 2]])
    func attentionPassesGradientBack(heads: (query: Int, key: Int), lengths: [Int]) {
        expectSmall(attentionErrors(heads, lengths))
    }

    /// A sequence longer than the 64 rows that the kernels take at a time, looked at here and there.
    @Test func attentionPassesGradientBackOverLongSequences() {
        expectSmall(attentionErrors((2, 1), [66, 2], stride: 61))
    }

    /// A rotation between projection and attention: the way a layer uses it.
    @Test func attentionOverRotatedProjectionsPassesGradientBack() {
        let context = ComputeContext(dtype: .f32, threadCount: 1)
        let table = RotaryTable(inverseFrequencies: [1, 0.2], context)
        let layout = TokenLayout(lengths: [4, 2])
        let shape = AttentionShape(headCount: 2, keyValueHeadCount: 1, headSize: 4)
        let (query, key, value) = (
            GradientCheck.layer(8, 5, seed: 50), GradientCheck.layer(4, 5, bias: true, seed: 52),
            GradientCheck.layer(4, 5, seed: 54)
        )
        let check = GradientCheck { tape, inputs in
            let q = tape.rotated(tape.linear(inputs[0], query), table, positions: layout.positions, headSize: 4)
            let k = tape.rotated(tape.linear(inputs[0], key), table, positions: layout.positions, headSize: 4)
            let v = tape.linear(inputs[0], value)
            return tape.attention(q: q, k: k, v: v, shape, layout)
        }
        expectSmall(check.errors(inputs: [[6, 5]]))
    }

    @Test(arguments: [false, true], [nil, 0.8]) func crossEntropyPassesGradientOfScoredRowsBack(
        bias: Bool, softcap: Float?
    ) {
        let context = ComputeContext(dtype: .f32, threadCount: 2)
        let layer = GradientCheck.layer(11, 5, bias: bias, seed: 60)
        let head = FrozenLinear(layer.matrix, bias: layer.bias, softcap: softcap)
        let values = randomValues(35, seed: 62)
        func loss(_ values: [Float], on tape: Tape) -> (sum: Double, hidden: Variable) {
            let hidden = Variable(context.tensor([7, 5]), needsGradient: true)
            hidden.value.copy(from: values)
            let losses = tape.crossEntropy(
                hidden, head: head, rows: [0, 2, 3, 6], targets: [10, 0, 4, 4], scale: 0.25)
            return (0.25 * losses.sum, hidden)
        }
        let tape = Tape(context, isRecording: true)
        let hidden = loss(values, on: tape).hidden
        tape.runBackward()
        let gradient = hidden.gradient?.toArray() ?? []
        let error = gradientError(gradient, at: values) { loss($0, on: Tape(context, isRecording: false)).sum }
        #expect(error < GradientCheck.tolerance)
        #expect(gradient[5..<10].allSatisfy { $0 == 0 }, "a row that is not scored")
    }

    /// So many rows of so large a vocabulary that logits exist for a part of them at a time.
    @Test func crossEntropyInChunksEqualsRowByRow() {
        let context = ComputeContext(dtype: .f32, threadCount: 2)
        let head = GradientCheck.layer(66_000, 3, seed: 70)
        let rows = 70
        let targets = (0..<rows).map { Int32($0 * 900) }
        let values = randomValues(rows * 3, seed: 72)
        func losses(_ rows: [Int32], _ targets: [Int32]) -> (values: [Float], gradient: [Float]) {
            let hidden = Variable(context.tensor([70, 3]), needsGradient: true)
            hidden.value.copy(from: values)
            let tape = Tape(context, isRecording: true)
            let losses = tape.crossEntropy(hidden, head: head, rows: rows, targets: targets)
            tape.runBackward()
            return (losses.values, hidden.gradient!.toArray())
        }
        let together = losses((0..<Int32(rows)).map { $0 }, targets)
        // The first and last row of the first chunk of 64, the first and last of the second.
        for row in [0, 63, 64, 69] {
            let alone = losses([Int32(row)], [targets[row]])
            #expect(abs(together.values[row] - alone.values[0]) <= 1e-5 * abs(alone.values[0]))
            for index in row * 3..<row * 3 + 3 {
                #expect(abs(together.gradient[index] - alone.gradient[index]) < 1e-5)
            }
        }
    }

    @Test func wrongGradientIsNoticed() {
        let point = randomValues(6, seed: 80)
        let cubes: ([Float]) -> Double = { $0.reduce(0) { $0 + Double($1 * $1 * $1) } }
        let right = point.map { 3 * $0 * $0 }
        #expect(gradientError(right, at: point, of: cubes) < GradientCheck.tolerance)
        #expect(gradientError(right.map { 1.001 * $0 }, at: point, of: cubes) > GradientCheck.tolerance)
        #expect(gradientError([.nan] + right.dropFirst(), at: point, of: cubes) == .infinity)
        #expect(gradientError([], at: point, of: cubes) == .infinity)
    }
}
