import Compute
import TensorCore
import TestSupport
import Testing

/// Operations whose inputs are read twice, and views: gradients add up, in F32 by differences of the forward pass, in
/// BF16 as in F32.
@Suite struct CompositionTests {
    /// A computation and the shapes of its inputs.
    struct Composition: CustomTestStringConvertible, Sendable {
        let name: String
        let inputs: [[Int]]
        /// Inputs that are F32 in either type.
        var streams: Set<Int> = []
        let run: @Sendable (Tape, [Variable]) -> Variable
        var testDescription: String { name }
    }

    private static func layer(_ tape: Tape, _ outputSize: Int, _ inputSize: Int, seed: UInt64) -> FrozenLinear {
        GradientCheck.layer(outputSize, inputSize, bias: true, tape.context.dtype, seed: seed)
    }

    private static func weight(_ count: Int, _ tape: Tape) -> Tensor {
        let weight = tape.context.tensor([count], .f32)
        weight.copy(from: randomValues(count, seed: 30))
        return weight
    }

    private static func rotary(_ headSize: Int, _ tape: Tape) -> RotaryTable {
        RotaryTable(inverseFrequencies: (0..<headSize / 2).map { 1 / Float(1 + 3 * $0) }, tape.context)
    }

    private static let layout = TokenLayout(lengths: [4, 3])

    static let readTwice = [
        Composition(name: "a layer reads x twice", inputs: [[17, 6]]) { tape, x in
            let layer = layer(tape, 5, 6, seed: 10)
            return tape.residual(tape.linear(x[0], layer), plus: tape.linear(x[0], layer))
        },
        Composition(name: "x is gate and up", inputs: [[5, 7]]) { tape, x in
            tape.siluProduct(gate: x[0], up: x[0])
        },
        Composition(name: "gate and up are read again", inputs: [[5, 7], [5, 7]]) { tape, x in
            let product = tape.siluProduct(gate: x[0], up: x[1])
            return tape.residual(tape.residual(product, plus: x[0]), plus: x[1])
        },
        Composition(name: "x is stream and contribution", inputs: [[5, 7]]) { tape, x in
            tape.residual(x[0], plus: x[0])
        },
        Composition(name: "a contribution is added twice", inputs: [[5, 7], [5, 7]], streams: [0]) { tape, x in
            tape.residual(tape.residual(x[0], plus: x[1]), plus: x[1])
        },
        Composition(name: "the norm's input is read again", inputs: [[5, 7]]) { tape, x in
            tape.residual(tape.rmsNorm(x[0], weight: weight(7, tape), epsilon: 1e-3), plus: x[0])
        },
        Composition(name: "the stream is read by two norms", inputs: [[5, 7]], streams: [0]) { tape, x in
            let first = tape.rmsNorm(x[0], weight: weight(7, tape), epsilon: 1e-3)
            let second = tape.rmsNorm(x[0], weight: weight(7, tape), epsilon: 0.5)
            return tape.residual(first, plus: second)
        },
        Composition(name: "what is rotated is read before and after", inputs: [[7, 12]]) { tape, x in
            let before = tape.rmsNorm(x[0], weight: weight(12, tape), epsilon: 1e-3)
            let rotated = tape.rotated(x[0], rotary(6, tape), positions: layout.positions, headSize: 6)
            return tape.residual(tape.residual(before, plus: rotated), plus: x[0])
        },
        Composition(name: "x is query, key and value", inputs: [[7, 12]]) { tape, x in
            let shape = AttentionShape(headCount: 2, keyValueHeadCount: 2, headSize: 6)
            return tape.attention(q: x[0], k: x[0], v: x[0], shape, layout)
        },
        Composition(name: "query, key, value and result are read again", inputs: [[7, 12], [7, 6], [7, 6]]) {
            tape, x in
            let shape = AttentionShape(headCount: 2, keyValueHeadCount: 1, headSize: 6)
            let mixed = tape.attention(q: x[0], k: x[1], v: x[2], shape, layout)
            let again = tape.attention(q: mixed, k: x[2], v: x[1], shape, layout)
            return tape.residual(tape.residual(mixed, plus: again), plus: x[0])
        },
    ]

    static let scorings = [
        ("window", AttentionScoring(.window(2))), ("everything", AttentionScoring(.everything, scale: 0.3)),
        ("band", AttentionScoring(.band(1), softcap: 0.7)), ("block", AttentionScoring(.block(3))),
        ("sinks", AttentionScoring(sinks: [0.4, -1])),
    ].map { name, scoring in
        Composition(name: "\(name): x is query, key and value", inputs: [[7, 12]]) { tape, x in
            let shape = AttentionShape(headCount: 2, keyValueHeadCount: 2, headSize: 6)
            let mixed = tape.attention(q: x[0], k: x[0], v: x[0], shape, layout, scoring: scoring)
            return tape.residual(mixed, plus: x[0])
        }
    }

    static let views = [
        Composition(name: "norm by heads", inputs: [[7, 12]]) { tape, x in
            let normed = tape.rmsNorm(x[0].reshaped([21, 4]), weight: weight(4, tape), epsilon: 1e-3)
            let turned = tape.rotated(
                normed.reshaped([7, 12]), rotary(4, tape), positions: layout.positions, headSize: 4)
            return tape.residual(turned, plus: x[0])
        },
        Composition(name: "query, key and value are columns of one", inputs: [[7, 12], [7, 12]], streams: [0]) {
            tape, x in
            let parts = tape.linear(x[1], layer(tape, 24, 12, seed: 40)).split([12, 6, 6])
            let turned = tape.rotated(parts[0], rotary(6, tape), positions: layout.positions, headSize: 6)
            let shape = AttentionShape(headCount: 2, keyValueHeadCount: 1, headSize: 6)
            let mixed = tape.attention(q: turned, k: parts[1], v: parts[2], shape, layout)
            return tape.residual(tape.residual(x[0], plus: mixed), plus: parts[0])
        },
        Composition(name: "query is a view itself", inputs: [[7, 24]]) { tape, x in
            let parts = x[0].split([12, 6, 6])
            let shape = AttentionShape(headCount: 2, keyValueHeadCount: 1, headSize: 6)
            return tape.attention(q: parts[0], k: parts[1], v: parts[2], shape, layout)
        },
        Composition(name: "gate and up are columns of one", inputs: [[5, 14]]) { tape, x in
            tape.siluProduct(gate: x[0].columns(0..<7), up: x[0].columns(7..<14))
        },
        Composition(name: "a layer and a norm read columns", inputs: [[20, 9]]) { tape, x in
            let normed = tape.rmsNorm(x[0].columns(1..<6), weight: weight(5, tape), epsilon: 1e-3)
            return tape.residual(tape.linear(x[0].columns(3..<8), layer(tape, 5, 5, seed: 50)), plus: normed)
        },
        Composition(name: "rows that overlap", inputs: [[9, 6]]) { tape, x in
            let layer = layer(tape, 6, 6, seed: 60)
            let first = tape.linear(x[0].rows(0..<5), layer)
            return tape.residual(tape.residual(first, plus: x[0].rows(4..<9)), plus: x[0].rows(2..<7))
        },
        Composition(name: "columns of rows by heads", inputs: [[6, 12]]) { tape, x in
            let heads = x[0].reshaped([18, 4]).rows(3..<15)
            return tape.residual(heads.columns(0..<2), plus: heads.columns(2..<4))
        },
        Composition(name: "the result of a layer is cut in rows", inputs: [[70, 5]]) { tape, x in
            let y = tape.linear(x[0], layer(tape, 4, 5, seed: 70))
            return tape.residual(y.rows(0..<35), plus: y.rows(35..<70))
        },
    ]

    @Test(arguments: readTwice + scorings + views) func gradientsAddUp(composition: Composition) {
        let errors = GradientCheck(composition.run).errors(inputs: composition.inputs)
        for (input, error) in errors.enumerated() {
            #expect(error < GradientCheck.tolerance, "gradient of input \(input)")
        }
    }

    @Test(arguments: readTwice + scorings + views) func bf16FollowsF32(composition: Composition) {
        let errors = GradientCheck(composition.run).bf16Errors(
            inputs: composition.inputs, streams: composition.streams)
        for (index, error) in errors.enumerated() {
            #expect(error < GradientCheck.bf16Tolerance, "\(index == 0 ? "output" : "gradient \(index - 1)")")
        }
    }

    /// Two losses over one hidden state, with a row that both score, of a table that two embeddings read.
    @Test(arguments: [DType.f32, .bf16]) func lossesAndEmbeddingsAddUp(dtype: DType) {
        let values = randomValues(9 * 5, seed: 90).map { BFloat16($0).floatValue }
        let tokens: [[Int32]] = [[0, 3, 3, 8, 1, 2], [3, 3, 5, 0, 2, 2]]
        let scored: [(rows: [Int32], targets: [Int32])] = [([0, 2, 3], [10, 0, 4]), ([2, 5], [7, 7])]
        func run(_ values: [Float], _ dtype: DType, recording: Bool = true) -> (loss: Double, gradient: [Float]) {
            let context = ComputeContext(dtype: dtype, threadCount: 2)
            let value = context.tensor([9, 5], .f32)
            value.copy(from: values)
            let table = TrainableWeight(value, context)
            let head = GradientCheck.layer(11, 5, dtype, seed: 60)
            let tape = Tape(context, isRecording: recording)
            let stream = tape.residual(
                tape.embedding(tokens[0], table), plus: tape.embedding(tokens[1], table))
            let hidden = tape.rmsNorm(stream, weight: Self.weight(5, tape), epsilon: 0.1)
            let losses = scored.map {
                tape.crossEntropy(hidden, head: head, rows: $0.rows, targets: $0.targets, scale: 0.25).sum
            }
            tape.runBackward()
            return (0.25 * losses.reduce(0, +), recording ? table.gradient.toArray() : [])
        }
        let (exact, found) = (run(values, .f32), run(values, dtype))
        let error = gradientError(exact.gradient, at: values) { run($0, .f32, recording: false).loss }
        #expect(error < GradientCheck.tolerance)
        let largest = exact.gradient.reduce(0) { max($0, abs($1)) }
        for (one, other) in zip(found.gradient, exact.gradient) {
            #expect(abs(one - other) <= Float(GradientCheck.bf16Tolerance) * largest)
        }
    }

    @Test func viewsShareTheirWholesMemory() {
        let context = ComputeContext(dtype: .f32, threadCount: 1)
        let whole = context.tensor([4, 6])
        whole.copy(from: (0..<24).map(Float.init))
        #expect(whole.reshaped([8, 3]).rows(1..<3).toArray() == [3, 4, 5, 6, 7, 8])
        let part = whole.columns(2..<4).rows(1..<3)
        #expect(part.toArray() == [8, 9, 14, 15] && !part.isContiguous)
        part.copy(from: [-1, -2, -3, -4])
        #expect(whole.toArray()[8..<10] == [-1, -2] && whole.toArray()[14..<16] == [-3, -4])
        part.clear()
        #expect(whole.toArray().filter { $0 == 0 }.count == 5)
        #expect(whole.toArray()[10] == 10 && whole.toArray()[13] == 13)
    }

    /// In F32 and, where the processor has it or not, in BF16: operands that are decoded are views all the same.
    @Test(arguments: [(DType.f32, true), (.bf16, true), (.bf16, false)])
    func productsReadAndWriteViews(dtype: DType, multipliesBF16: Bool) {
        let context = ComputeContext(dtype: dtype, threadCount: 2)
        let products = MatrixProducts(multipliesBF16: multipliesBF16)
        func random(_ shape: [Int], _ seed: UInt64) -> Tensor {
            let tensor = context.tensor(shape)
            tensor.copy(from: randomValues(tensor.count, seed: seed))
            return tensor
        }
        func copied(_ view: Tensor) -> Tensor {
            let tensor = context.tensor(view.shape)
            tensor.copy(from: view.toArray())
            return tensor
        }
        let (left, right) = (random([70, 12], 1).columns(3..<8), random([9, 11], 2).columns(4..<9))
        for accumulates in [false, true] {
            let result = random([70, 15], 3)
            let before = result.toArray()
            let expected = copied(result.columns(2..<11))
            for (a, b, c) in [(left, right, result.columns(2..<11)), (copied(left), copied(right), expected)] {
                products.multiplyRows(a, b, .transposed, into: c, n: 9, k: 5, accumulates: accumulates)
            }
            #expect(result.columns(2..<11).toArray() == expected.toArray())
            #expect(result.columns(0..<2).toArray() == before.enumerated().filter { $0.0 % 15 < 2 }.map(\.1))
            #expect(result.columns(11..<15).toArray() == before.enumerated().filter { $0.0 % 15 >= 11 }.map(\.1))
            let (sum, sumOfCopies) = (context.tensor([5, 9], .f32), context.tensor([5, 9], .f32))
            let form = MatrixProducts.Form(m: 5, n: 9, k: 70, left: .transposed)
            products.multiply(left, result.columns(2..<11), into: sum, form)
            products.multiply(copied(left), expected, into: sumOfCopies, form)
            for (a, b) in zip(sum.toArray(), sumOfCopies.toArray()) { #expect(abs(a - b) < 1e-4) }
        }
        #expect(products.takeFailure() == nil)
    }
}
