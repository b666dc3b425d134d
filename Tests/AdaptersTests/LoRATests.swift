import Adapters
import Compute
import TensorCore
import TestSupport
import Testing

/// LoRA's update, its norms and its backward pass at one projection.
@Suite struct LoRATests {
    /// What single precision leaves of a gradient, as a part of its largest element; see `gradientError`.
    private static let gradientTolerance = 5e-4
    /// M is linear in x, A and B each, so differences are exact for any step but for rounding.
    private static let step: Float = 0.1
    private static let scaling: Float = 0.75
    private static let dropoutRate: Float = 0.4

    /// Sizes and values of one case.
    struct Case: CustomTestStringConvertible {
        var tokens: Int
        var active: ActiveTokens
        var dropoutKey: UInt64?
        let inputSize = 7
        let outputSize = 6
        let rank = 3

        var testDescription: String { "\(tokens) tokens, \(active), dropout \(dropoutKey != nil)" }
        var rows: [Int] {
            switch active {
            case .all: Array(0..<tokens)
            case .rows(let rows): rows.map(Int.init)
            }
        }

        /// All tokens, some, one, none; few, and so many that products round their number up.
        static let all: [Case] = [nil, 0xD0].flatMap { key in
            [
                Case(tokens: 5, active: .all, dropoutKey: key),
                Case(tokens: 5, active: .rows([1, 3, 4]), dropoutKey: key),
                Case(tokens: 5, active: .rows([2]), dropoutKey: key),
                Case(tokens: 5, active: .rows([]), dropoutKey: key),
                Case(tokens: 40, active: .all, dropoutKey: key),
                Case(tokens: 40, active: .rows((0..<40).filter { $0 % 3 != 1 }), dropoutKey: key),
            ]
        }
    }

    private func tensor(_ shape: [Int], _ values: [Float], _ context: ComputeContext) -> Tensor {
        let tensor = context.tensor(shape, .f32)
        tensor.copy(from: values)
        return tensor
    }

    private func makeLoRA(
        a: [Float], b: [Float], rank: Int, dropoutRate: Float = 0, _ context: ComputeContext
    ) -> LoRA {
        let lora = LoRA(
            a: AdapterParameter(name: "A", value: tensor([rank, a.count / rank], a, context), context),
            b: AdapterParameter(name: "B", value: tensor([b.count / rank, rank], b, context), context),
            scaling: Self.scaling, dropoutRate: dropoutRate, context)
        let scratch = UnsafeMutablePointer<Double>.allocate(capacity: max(1, lora.preparationScratchCount))
        defer { scratch.deallocate() }
        lora.prepare(scratch: scratch, wantsNorms: true)
        return lora
    }

    /// x in the context's type.
    private func input(_ values: [Float], width: Int, _ context: ComputeContext) -> Tensor {
        let x = context.tensor([values.count / width, width])
        x.copy(from: values)
        return x
    }

    @Test(arguments: Case.all) func backwardAgreesWithDifferences(_ test: Case) {
        let context = ComputeContext(dtype: .f32, threadCount: 2)
        let x = randomValues(test.tokens * test.inputSize, seed: 1)
        let a = randomValues(test.rank * test.inputSize, seed: 2)
        let b = randomValues(test.outputSize * test.rank, seed: 3)
        let weights = randomValues(test.tokens * test.outputSize, seed: 4)

        /// The random combination of what the update adds to an output of zeros.
        func combination(x: [Float], a: [Float], b: [Float], _ active: ActiveTokens) -> [Double] {
            let lora = makeLoRA(a: a, b: b, rank: test.rank, dropoutRate: Self.dropoutRate, context)
            let h = context.zeros([test.tokens, test.outputSize])
            lora.update(of: h, input: input(x, width: test.inputSize, context), dropoutKey: test.dropoutKey)
                .apply(to: h, active)
            let added = h.toArray()
            return (0..<test.tokens).map { token in
                (token * test.outputSize..<(token + 1) * test.outputSize).reduce(0) {
                    $0 + Double(weights[$1]) * Double(added[$1])
                }
            }
        }
        func sum(x: [Float], a: [Float], b: [Float]) -> Double {
            combination(x: x, a: a, b: b, test.active).reduce(0, +)
        }

        let lora = makeLoRA(a: a, b: b, rank: test.rank, dropoutRate: Self.dropoutRate, context)
        let variable = Variable(input(x, width: test.inputSize, context), needsGradient: true)
        let h = context.zeros([test.tokens, test.outputSize])
        let update = lora.update(of: h, input: variable.value, dropoutKey: test.dropoutKey)
        update.apply(to: h, test.active)
        let gradient = tensor(h.shape, weights, context)
        let mu = update.backward(gradient, input: variable, test.active, wantsMu: true)

        let gradients = [lora.parameters[0].gradient.toArray(), lora.parameters[1].gradient.toArray()]
        let xGradient = variable.gradient?.toArray() ?? [Float](repeating: 0, count: x.count)
        let errors = [
            gradientError(gradients[0], at: a, step: Self.step) { sum(x: x, a: $0, b: b) },
            gradientError(gradients[1], at: b, step: Self.step) { sum(x: x, a: a, b: $0) },
            gradientError(xGradient, at: x, step: Self.step) { sum(x: $0, a: a, b: b) },
        ]
        for (name, error) in zip(["A", "B", "x"], errors) {
            #expect(error < Self.gradientTolerance, "gradient of \(name)")
        }

        // mu of equation 9 is there for skipped tokens too.
        let wanted = combination(x: x, a: a, b: b, .all)
        let largest = wanted.reduce(0) { max($0, abs($1)) }
        for (found, expected) in zip(mu!.toArray(), wanted) { #expect(abs(Double(found) - expected) < 1e-5 * largest) }
    }

    @Test func secondBatchAddsToGradients() {
        let context = ComputeContext(dtype: .f32, threadCount: 1)
        let lora = makeLoRA(a: randomValues(6, seed: 1), b: randomValues(8, seed: 2), rank: 2, context)
        let x = Variable(input(randomValues(9, seed: 3), width: 3, context), needsGradient: true)
        let h = context.zeros([3, 4])
        let gradient = tensor([3, 4], randomValues(12, seed: 4), context)
        func backward() -> [[Float]] {
            _ = lora.update(of: h, input: x.value, dropoutKey: nil).backward(
                gradient, input: x, .rows([0, 2]), wantsMu: false)
            return lora.parameters.map { $0.gradient.toArray() } + [x.gradient!.toArray()]
        }
        for (once, twice) in zip(backward(), backward()) {
            #expect(zip(once, twice).allSatisfy { abs(2 * $0 - $1) <= 1e-6 })
            #expect(once.contains { $0 != 0 })
        }
    }

    @Test func skippedRowsKeepEveryBit() {
        let context = ComputeContext(dtype: .bf16, threadCount: 2)
        let lora = makeLoRA(a: randomValues(24, seed: 1), b: randomValues(15, seed: 2), rank: 3, context)
        let x = input(randomValues(33 * 8, seed: 3), width: 8, context)
        let before = randomValues(33 * 5, seed: 4).map { BFloat16($0).floatValue }
        let h = input(before, width: 5, context)
        lora.update(of: h, input: x, dropoutKey: nil).apply(to: h, .rows([0, 7, 32]))
        let after = h.toArray()
        for row in 0..<33 {
            let same = (row * 5..<row * 5 + 5).allSatisfy { before[$0].bitPattern == after[$0].bitPattern }
            #expect(same == ![0, 7, 32].contains(row), "row \(row)")
        }
    }

    /// B's of which norms are hard to get: columns that all but cancel, columns that do, fewer rows than columns,
    /// nothing.
    private static let difficultB: [(name: String, rank: Int, values: [Float])] = {
        let base = randomValues(20, seed: 1)
        let noise = randomValues(60, seed: 2)
        // Columns base + 1e-6 noise: a condition number of about 1e6.
        let close = (0..<60).map { (index: Int) -> Float in
            base[index / 3] + (index % 3 == 0 ? 0 : 1e-6 * noise[index])
        }
        let deficient = (0..<60).map { (index: Int) -> Float in index % 3 == 2 ? 0 : base[index / 3] }
        return [
            ("random", 3, noise), ("ill-conditioned", 3, close), ("rank-deficient", 3, deficient),
            ("wider than high", 6, Array(noise[..<12])), ("zero", 3, [Float](repeating: 0, count: 60)),
        ]
    }()

    /// |M| by way of R against |scaling B A x| in double precision. R and z are rounded to F32, which costs a few units of
    /// |B| |A| |x|, the sizes that may cancel; a Gram matrix in F32 would cost the square root of that, 2e-4.
    @Test(arguments: difficultB.indices) func normsAgreeWithDoublePrecision(index: Int) {
        let (name, rank, b) = Self.difficultB[index]
        let context = ComputeContext(dtype: .f32, threadCount: 2)
        let inputSize = 9
        let a = randomValues(rank * inputSize, seed: 3)
        // The last inputs are so chosen that z = (1, -1, 0, ...) or so: the columns of B cancel.
        let x = randomValues(18 * inputSize, seed: 4) + cancelling(a, rank: rank, inputSize)
        let lora = makeLoRA(a: a, b: b, rank: rank, context)
        let tokens = x.count / inputSize
        let h = context.zeros([tokens, b.count / rank])
        let norms = lora.update(of: h, input: input(x, width: inputSize, context), dropoutKey: nil).norms().toArray()
        #expect(norms.count == tokens)
        func size(_ values: some Sequence<Float>) -> Double {
            values.reduce(0) { $0 + Double($1) * Double($1) }.squareRoot()
        }
        for token in 0..<tokens {
            let row = x[token * inputSize..<(token + 1) * inputSize]
            let z = (0..<rank).map { (k: Int) -> Double in
                zip(a[k * inputSize..<(k + 1) * inputSize], row).reduce(0) { $0 + Double($1.0) * Double($1.1) }
            }
            let squares = (0..<b.count / rank).map { (i: Int) -> Double in
                let sum = z.indices.reduce(0) { (sum: Double, k: Int) in sum + Double(b[i * rank + k]) * z[k] }
                return sum * sum
            }
            let expected = Double(Self.scaling) * squares.reduce(0, +).squareRoot()
            let cancelled = Double(Self.scaling) * size(b) * size(a) * size(row)
            #expect(abs(Double(norms[token]) - expected) <= 4 * 0x1p-24 * cancelled, "\(name), token \(token)")
            if name == "zero" { #expect(norms[token] == 0) }
        }
    }

    /// Two inputs x with A x near (1, -1, 0 ...), by steepest descent on |A x - z|.
    private func cancelling(_ a: [Float], rank: Int, _ inputSize: Int) -> [Float] {
        [1, 100].flatMap { (scale: Float) -> [Float] in
            var x = [Double](repeating: 0, count: inputSize)
            for _ in 0..<2000 {
                for k in 0..<rank {
                    let wanted: Double = k == 0 ? 1 : k == 1 ? -1 : 0
                    let row = a[k * inputSize..<(k + 1) * inputSize].map(Double.init)
                    // Kaczmarz: onto the plane of one equation after the other.
                    let off = (wanted - zip(row, x).reduce(0) { $0 + $1.0 * $1.1 }) / row.reduce(0) { $0 + $1 * $1 }
                    for index in x.indices { x[index] += off * row[index] }
                }
            }
            return x.map { scale * Float($0) }
        }
    }

    @Test func normsInBF16AreThoseOfTheUpdateThatIsApplied() {
        let context = ComputeContext(dtype: .bf16, threadCount: 2)
        let lora = makeLoRA(a: randomValues(4 * 16, seed: 1), b: randomValues(24 * 4, seed: 2), rank: 4, context)
        let x = input(randomValues(20 * 16, seed: 3), width: 16, context)
        let h = context.zeros([20, 24])
        let update = lora.update(of: h, input: x, dropoutKey: nil)
        update.apply(to: h, .all)
        let applied = h.toArray()
        for (token, norm) in update.norms().toArray().enumerated() {
            let squares = applied[token * 24..<(token + 1) * 24].reduce(0) { $0 + Double($1) * Double($1) }
            // Rounding of z, B and the result to BF16, 2^-9 each, and partly averaged out.
            #expect(abs(Double(norm) / squares.squareRoot() - 1) < 0x1p-7)
        }
    }

    @Test func dropoutFollowsItsKeyAndIsOffWithoutOne() {
        let context = ComputeContext(dtype: .f32, threadCount: 2)
        let values = (randomValues(21, seed: 1), randomValues(12, seed: 2))
        let x = input(randomValues(35, seed: 3), width: 7, context)
        func z(rate: Float, key: UInt64?) -> [Float] {
            let lora = makeLoRA(a: values.0, b: values.1, rank: 3, dropoutRate: rate, context)
            return lora.update(of: context.zeros([5, 4]), input: x, dropoutKey: key).innerActivations!.toArray()
        }
        let plain = z(rate: 0, key: nil)
        #expect(z(rate: 0.5, key: nil) == plain)
        #expect(z(rate: 0, key: 7) == plain)
        #expect(z(rate: 0.5, key: 7) != plain)
        #expect(z(rate: 0.5, key: 7) == z(rate: 0.5, key: 7))
        #expect(z(rate: 0.5, key: 7) != z(rate: 0.5, key: 8))
    }
}
