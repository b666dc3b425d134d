import Compute
import TensorCore
import TestSupport
import Testing

/// Whole weights in training: the output head's and the embedding's.
@Suite struct TrainableWeightTests {
    private static let vocabulary = 11
    private static let width = 5

    private func weight(_ values: [Float], rows: Int, _ context: ComputeContext) -> TrainableWeight {
        let tensor = context.tensor([rows, values.count / rows], .f32)
        tensor.copy(from: values)
        return TrainableWeight(tensor, context)
    }

    /// A pass over `count` rows, of which every third is not scored.
    private struct HeadPass {
        var count: Int
        var vocabulary = TrainableWeightTests.vocabulary
        var width = TrainableWeightTests.width
        var hidden: [Float] { randomValues(count * width, seed: 2) }
        var rows: [Int32] { (0..<Int32(count)).filter { $0 % 3 != 1 } }
        var targets: [Int32] { rows.map { $0 * 901 % Int32(vocabulary) } }

        /// scale * the sum of losses, and the hidden state's variable.
        func run(_ trained: TrainableWeight, on tape: Tape, needsGradient: Bool = false) -> (Double, Variable) {
            let value = tape.context.tensor([count, width])
            value.copy(from: hidden)
            let variable = Variable(value, needsGradient: needsGradient)
            let losses = tape.crossEntropy(
                variable, head: FrozenLinear(weight: trained.rounded), rows: rows, targets: targets, scale: 0.25,
                training: trained)
            return (0.25 * losses.sum, variable)
        }
    }

    /// 2 rows are multiplied as they are, 20 are rounded up; with and without a gradient for what the head reads.
    @Test(arguments: [3, 30], [false, true])
    func crossEntropyPassesGradientToTheHead(rows: Int, needsGradient: Bool) {
        let context = ComputeContext(dtype: .f32, threadCount: 2)
        let pass = HeadPass(count: rows)
        let values = randomValues(Self.vocabulary * Self.width, seed: 3)
        let trained = weight(values, rows: Self.vocabulary, context)
        let tape = Tape(context, isRecording: true)
        let (_, hidden) = pass.run(trained, on: tape, needsGradient: needsGradient)
        tape.runBackward()
        #expect((hidden.gradient != nil) == needsGradient)
        let error = gradientError(trained.gradient.toArray(), at: values) {
            pass.run(weight($0, rows: Self.vocabulary, context), on: Tape(context, isRecording: false)).0
        }
        #expect(error < GradientCheck.tolerance)
    }

    @Test func gradientOfTheHeadIsAddedOnceAPassAndNeverByEvaluation() {
        let context = ComputeContext(dtype: .f32, threadCount: 1)
        let trained = weight(
            randomValues(Self.vocabulary * Self.width, seed: 3), rows: Self.vocabulary, context)
        func gradient(_ tape: Tape) -> [Float] {
            _ = HeadPass(count: 7).run(trained, on: tape, needsGradient: true)
            tape.runBackward()
            return trained.gradient.toArray()
        }
        let once = gradient(Tape(context, isRecording: true))
        #expect(once.contains { $0 != 0 })
        #expect(gradient(Tape(context, isRecording: false)) == once)
        let twice = gradient(Tape(context, isRecording: true))
        for (one, two) in zip(once, twice) { #expect(abs(two - 2 * one) <= 1e-6) }
    }

    /// The trained head changes nothing of the loss and of the gradient that goes on.
    @Test(arguments: [DType.f32, .bf16]) func lossIsThatOfTheFrozenHead(dtype: DType) {
        let context = ComputeContext(dtype: dtype, threadCount: 2)
        let trained = weight(
            randomValues(Self.vocabulary * Self.width, seed: 3), rows: Self.vocabulary, context)
        let pass = HeadPass(count: 30)
        let tape = Tape(context, isRecording: true)
        let (sum, hidden) = pass.run(trained, on: tape, needsGradient: true)
        tape.runBackward()
        let frozenTape = Tape(context, isRecording: true)
        let frozen = Variable(hidden.value, needsGradient: true)
        let losses = frozenTape.crossEntropy(
            frozen, head: FrozenLinear(weight: trained.rounded), rows: pass.rows, targets: pass.targets, scale: 0.25)
        frozenTape.runBackward()
        #expect(sum == 0.25 * losses.sum)
        #expect(hidden.gradient!.toArray() == frozen.gradient!.toArray())
    }

    /// Logits exist for 64 rows at a time here; the gradient is that of all rows.
    @Test func gradientOfAChunkedPassIsTheSumOfItsRows() {
        let context = ComputeContext(dtype: .f32, threadCount: 2)
        let pass = HeadPass(count: 100, vocabulary: 66_000, width: 3)
        let values = randomValues(pass.vocabulary * pass.width, seed: 4)
        let trained = weight(values, rows: pass.vocabulary, context)
        let tape = Tape(context, isRecording: true)
        _ = pass.run(trained, on: tape)
        tape.runBackward()
        let single = weight(values, rows: pass.vocabulary, context)
        for (row, target) in zip(pass.rows, pass.targets) {
            let value = context.tensor([1, pass.width])
            value.copy(from: Array(pass.hidden[Int(row) * pass.width..<(Int(row) + 1) * pass.width]))
            let tape = Tape(context, isRecording: true)
            _ = tape.crossEntropy(
                Variable(value, needsGradient: false), head: FrozenLinear(weight: single.rounded), rows: [0],
                targets: [target], scale: 0.25, training: single)
        }
        let (found, expected) = (trained.gradient.toArray(), single.gradient.toArray())
        let largest = expected.reduce(0) { max($0, abs($1)) }
        let worst = zip(found, expected).reduce(0) { max($0, abs($1.0 - $1.1)) }
        #expect(largest > 0.1 && worst < 1e-5 * largest)
    }

    /// Ids that stand alone, twice and many times.
    private static let tokens: [Int32] = [3, 0, 10, 3, 3, 7, 10, 3, 1, 3, 3, 0, 8, 3, 9, 5, 6]

    @Test func embeddingPassesGradientToItsRows() {
        let context = ComputeContext(dtype: .f32, threadCount: 2)
        let values = randomValues(Self.vocabulary * Self.width, seed: 5)
        let table = weight(values, rows: Self.vocabulary, context)
        let weights = randomValues(Self.tokens.count * Self.width, seed: 6)
        // Two passes: gradients add up.
        for _ in 0..<2 {
            let tape = Tape(context, isRecording: true)
            let stream = tape.embedding(Self.tokens, table)
            #expect(stream.needsGradient)
            let gradient = context.tensor(stream.value.shape, .f32)
            gradient.copy(from: weights)
            stream.gradientSum.add(context, giving: gradient)
            tape.runBackward()
        }
        let error = gradientError(table.gradient.toArray(), at: values) {
            let tape = Tape(context, isRecording: false)
            let stream = tape.embedding(Self.tokens, weight($0, rows: Self.vocabulary, context))
            return 2 * zip(weights, stream.value.toArray()).reduce(0) { $0 + Double($1.0) * Double($1.1) }
        }
        #expect(error < GradientCheck.tolerance)
        // 2 and 4 occur nowhere.
        for id in [2, 4] {
            #expect(table.gradient.toArray()[id * 5..<id * 5 + 5].allSatisfy { $0 == 0 })
        }
    }

    /// Sums of numbers of very different size depend on their order; it must be that of the tokens.
    @Test(arguments: [1, 2, 3]) func repeatedTokensAddUpInTheirOrder(threads: Int) {
        let context = ComputeContext(dtype: .f32, threadCount: threads)
        let count = 400
        let tokens = (0..<count).map { Int32($0 * 7 % 37 % 13) }
        let gradients = randomValues(count * 3, seed: 7).map { 1 / ($0 + 1.0001) }
        var expected = [Float](repeating: 0, count: 13 * 3)
        for (row, token) in tokens.enumerated() {
            for column in 0..<3 { expected[Int(token) * 3 + column] += gradients[row * 3 + column] }
        }
        let table = weight(randomValues(39, seed: 8), rows: 13, context)
        let tape = Tape(context, isRecording: true)
        let stream = tape.embedding(tokens, table)
        let gradient = context.tensor([count, 3], .f32)
        gradient.copy(from: gradients)
        stream.gradientSum.add(context, giving: gradient)
        tape.runBackward()
        #expect(table.gradient.toArray() == expected)
    }

    /// Where the processor multiplies BF16 a BF16 run computes with a rounded copy, which stays until it is refreshed;
    /// elsewhere products are in F32, and with the value itself.
    @Test func copyIsRoundedAndFollowsOnRefresh() {
        let context = ComputeContext(dtype: .bf16, threadCount: 1)
        let isCopied = context.products.multipliesBF16
        let values: [Float] = [1.001, -2.003, 0.3, 5, 1e-3, 7.7]
        let table = weight(values, rows: 3, context)
        #expect(table.rounded.dtype == (isCopied ? .bf16 : .f32))
        #expect(table.value.toArray() == values)
        func rows() -> [Float] {
            Tape(context, isRecording: false).embedding([2, 0], table).value.toArray()
        }
        func computed(_ values: [Float]) -> [Float] { isCopied ? values.map { BFloat16($0).floatValue } : values }
        let (before, after) = ([values[4], values[5], values[0], values[1]], values.map { 3 * $0 })
        #expect(rows() == computed(before))
        table.value.copy(from: after)
        let tripled = computed([after[4], after[5], after[0], after[1]])
        #expect(rows() == (isCopied ? computed(before) : tripled))
        table.refresh()
        #expect(rows() == tripled)
    }
}
