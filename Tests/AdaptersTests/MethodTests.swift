import Compute
import ModelTestSupport
import Models
import TensorCore
import TestSupport
import Testing

@testable import Adapters

/// Every method at one projection against its formula: what it adds, its norms, its backward pass by differences.
@Suite struct MethodTests {
    /// Single precision over a few products in a row, as a part of the largest value.
    private static let tolerance = 2e-5
    /// The step of differences in double precision.
    private static let step = 1e-5

    /// A method, which tokens are active, whether there is dropout.
    struct Case: CustomTestStringConvertible, Sendable {
        let variant: MethodBench.Variant
        let tokens: Int
        let active: ActiveTokens
        let dropoutKey: UInt64?

        static let all = MethodBench.Variant.all.flatMap { variant in
            [nil, 0xD0].flatMap { key in
                [
                    Case(variant: variant, tokens: 5, active: .all, dropoutKey: key),
                    Case(variant: variant, tokens: 5, active: .rows([1, 3, 4]), dropoutKey: key),
                    Case(variant: variant, tokens: 5, active: .rows([]), dropoutKey: key),
                    Case(
                        variant: variant, tokens: 33, active: .rows((0..<33).filter { $0 % 3 != 1 }), dropoutKey: key),
                ]
            }
        }

        var testDescription: String { "\(variant), \(tokens) tokens, \(active), dropout \(dropoutKey != nil)" }

        func isActive(_ token: Int) -> Bool {
            switch active {
            case .all: true
            case .rows(let rows): rows.contains(Int32(token))
            }
        }
    }

    private func tensor(_ shape: [Int], _ values: [Float], _ context: ComputeContext) -> Tensor {
        let tensor = context.tensor(shape)
        tensor.copy(from: values)
        return tensor
    }

    private func difference(_ found: [Float], _ expected: [Double]) -> Double {
        let largest = expected.reduce(1e-30) { max($0, abs($1)) }
        return zip(found, expected).reduce(found.count == expected.count ? 0 : .infinity) {
            max($0, abs(Double($1.0) - $1.1) / largest)
        }
    }

    @Test(arguments: Case.all) func forwardAndBackwardAgreeWithTheFormula(_ test: Case) throws {
        let context = ComputeContext(dtype: .f32, threadCount: 2)
        let bench = try MethodBench(test.variant, tokens: test.tokens, dropoutKey: test.dropoutKey)
        let mask = bench.mask(context)
        let n = bench.rowNorms()
        let x = bench.x.map(Double.init)
        let outputSize = MethodBench.outputSize
        let weights = randomValues(test.tokens * outputSize, seed: 5)
        func dropped(_ x: [Double]) -> [Double] { zip(x, mask).map { $0 * $1 } }
        /// <weights, W0 x + S M(x)>.
        func combination(_ values: [String: [Double]], _ x: [Double]) -> Double {
            let (base, update) = (bench.base(x), bench.update(values, droppedX: dropped(x), rowNorms: n))
            return weights.indices.reduce(0.0) { sum, index in
                let output = base[index] + (test.isActive(index / outputSize) ? update[index] : 0)
                return sum + Double(weights[index]) * output
            }
        }

        let method = try bench.method(context)
        let variable = Variable(
            tensor([test.tokens, MethodBench.inputSize], bench.x, context), needsGradient: true)
        let output = tensor([test.tokens, outputSize], bench.base(x).map { Float($0) }, context)
        let before = output.toArray()
        let update = method.update(of: output, input: variable.value, dropoutKey: test.dropoutKey)
        let norms = update.norms().toArray()
        update.apply(to: output, test.active)
        let after = output.toArray()

        let expected = bench.update(bench.values, droppedX: dropped(x), rowNorms: n)
        let expectedNorms = (0..<test.tokens).map { token in
            expected[token * outputSize..<(token + 1) * outputSize].reduce(0) { $0 + $1 * $1 }.squareRoot()
        }
        #expect(difference(norms, expectedNorms) < Self.tolerance, "norms")
        for token in 0..<test.tokens {
            let row = token * outputSize..<(token + 1) * outputSize
            if test.isActive(token) {
                let wanted = row.map { Double(before[$0]) + expected[$0] }
                #expect(difference(Array(after[row]), wanted) < Self.tolerance, "output of token \(token)")
            } else {
                #expect(row.allSatisfy { before[$0].bitPattern == after[$0].bitPattern }, "skipped token \(token)")
            }
        }

        let gradient = tensor(output.shape, weights, context)
        let mu = try #require(update.backward(gradient, input: variable, test.active, wantsMu: true)).toArray()
        let expectedMu = (0..<test.tokens).map { token in
            (token * outputSize..<(token + 1) * outputSize).reduce(0.0) { $0 + Double(weights[$1]) * expected[$1] }
        }
        #expect(difference(mu, expectedMu) < Self.tolerance, "mu")

        for parameter in method.parameters {
            let suffix = parameter.name
            let slopes = slopes(bench.values[suffix]!) { values in
                combination(bench.values.merging([suffix: values]) { $1 }, x)
            }
            #expect(difference(parameter.gradient.toArray(), slopes) < Self.tolerance, "gradient of \(suffix)")
        }
        // What is left in the gradient passes through the frozen layer.
        let through = gradient.toArray().map(Double.init)
        let own = variable.gradient?.toArray() ?? [Float](repeating: 0, count: x.count)
        let found = x.indices.map { index -> Float in
            let (token, column) = (index / MethodBench.inputSize, index % MethodBench.inputSize)
            return (0..<outputSize).reduce(own[index]) {
                $0 + Float(through[token * outputSize + $1]) * bench.weight[$1 * MethodBench.inputSize + column]
            }
        }
        #expect(difference(found, slopes(x) { combination(bench.values, $0) }) < Self.tolerance, "gradient of x")
    }

    private func slopes(_ point: [Double], of function: ([Double]) -> Double) -> [Double] {
        point.indices.map { index in
            var (above, below) = (point, point)
            above[index] += Self.step
            below[index] -= Self.step
            return (function(above) - function(below)) / (2 * Self.step)
        }
    }

    @Test(arguments: MethodBench.Variant.all) func secondBatchAddsToGradients(_ variant: MethodBench.Variant) throws {
        let context = ComputeContext(dtype: .f32, threadCount: 1)
        let bench = try MethodBench(variant, tokens: 5, dropoutKey: nil)
        let method = try bench.method(context)
        let x = Variable(tensor([5, MethodBench.inputSize], bench.x, context), needsGradient: true)
        func gradients() -> [[Float]] {
            let output = tensor(
                [5, MethodBench.outputSize], bench.base(bench.x.map(Double.init)).map { Float($0) }, context)
            let update = method.update(of: output, input: x.value, dropoutKey: nil)
            update.apply(to: output, .rows([0, 2]))
            let gradient = tensor(output.shape, randomValues(output.count, seed: 5), context)
            _ = update.backward(gradient, input: x, .rows([0, 2]), wantsMu: false)
            return method.parameters.map { $0.gradient.toArray() }
        }
        for (once, twice) in zip(gradients(), gradients()) {
            #expect(zip(once, twice).allSatisfy { abs(2 * $0 - $1) <= 1e-5 })
            #expect(once.contains { $0 != 0 })
        }
    }

    @Test(arguments: AdapterKind.allCases, [DType.f32, .bf16])
    func newAdapterLeavesTheModelsOutputBitForBit(_ kind: AdapterKind, _ dtype: DType) throws {
        let checkpoint = try ModelCheckpoint.open(AdaptedModel.randomModel)
        let model = try checkpoint.makeModel(ComputeContext(dtype: dtype, threadCount: 1))
        let tokens = [AdaptedModel.tokens(9, seed: 1), AdaptedModel.tokens(5, seed: 2)]
        let before = try AdaptedModel.logits(model, tokens)
        for isGated in [false, true] {
            let configuration = try AdapterConfiguration(
                kind.newSettings(rank: 8, alpha: 16), isGated: isGated, targets: .allLinear)
            let modules = try configuration.match(checkpoint.linearModules).modules.filter { $0.path != "lm_head" }
            let model = try checkpoint.makeModel(ComputeContext(dtype: dtype, threadCount: 1))
            let adapter = try InjectedAdapter(
                into: model, configuration,
                tensors: try configuration.initialTensors(
                    modules, RandomStream(seed: 4), weights: checkpoint.weights(of:)),
                thresholds: isGated ? NameTable(uniqueKeysWithValues: modules.map { ($0.path, 0) }) : [:],
                source: "test")
            #expect(adapter.projections.count == modules.count)
            let after = try AdaptedModel.logits(model, tokens)
            #expect(zip(after, before).allSatisfy { $0.bitPattern == $1.bitPattern })
        }
    }

    /// Where the thresholds alone are trained: mu and the gradient of x as ever, none of the parameters'.
    @Test(arguments: MethodBench.Variant.all)
    func backwardWithoutParametersGivesTheRest(_ variant: MethodBench.Variant) throws {
        let context = ComputeContext(dtype: .f32, threadCount: 1)
        let bench = try MethodBench(variant, tokens: 5, dropoutKey: 0xD0)
        func backward(collecting: Bool) throws -> (mu: [Float], x: [Float], parameters: [[Float]]) {
            let method = try bench.method(context)
            method.collectsGradients = collecting
            let x = Variable(tensor([5, MethodBench.inputSize], bench.x, context), needsGradient: true)
            let output = tensor(
                [5, MethodBench.outputSize], bench.base(bench.x.map(Double.init)).map { Float($0) }, context)
            let update = method.update(of: output, input: x.value, dropoutKey: bench.dropoutKey)
            update.apply(to: output, .rows([0, 2, 3]))
            let gradient = tensor(output.shape, randomValues(output.count, seed: 5), context)
            let mu = try #require(update.backward(gradient, input: x, .rows([0, 2, 3]), wantsMu: true))
            return (mu.toArray(), x.gradient?.toArray() ?? [], method.parameters.map { $0.gradient.toArray() })
        }
        let (with, without) = (try backward(collecting: true), try backward(collecting: false))
        #expect(without.mu == with.mu && without.x == with.x)
        #expect(with.parameters.allSatisfy { $0.contains { $0 != 0 } })
        #expect(without.parameters.allSatisfy { $0.allSatisfy { $0 == 0 } })
    }

    /// weight / terms (|A A' - 1| + |B' B - 1|), and its gradient on top of what was there.
    @Test func adaLoRAsPenaltyHasItsGradient() throws {
        let context = ComputeContext(dtype: .f32, threadCount: 1)
        let bench = try MethodBench(.init(kind: .adalora), tokens: 1, dropoutKey: nil)
        let method = try bench.method(context)
        let (rank, terms) = (MethodBench.rank, 10)
        func penalty(_ a: [Double], _ b: [Double]) -> Double {
            func deviation(_ gram: (Int, Int) -> Double) -> Double {
                var squares = 0.0
                for i in 0..<rank {
                    for j in 0..<rank {
                        let value = gram(i, j) - (i == j ? 1 : 0)
                        squares += value * value
                    }
                }
                return squares.squareRoot()
            }
            let (inputSize, outputSize) = (MethodBench.inputSize, MethodBench.outputSize)
            let ofA = deviation { i, j in
                (0..<inputSize).reduce(0.0) { $0 + a[i * inputSize + $1] * a[j * inputSize + $1] }
            }
            let ofB = deviation { i, j in (0..<outputSize).reduce(0.0) { $0 + b[$1 * rank + i] * b[$1 * rank + j] } }
            return bench.configuration.own(AdaLoRASettings.self).orthogonalWeight / Double(terms) * (ofA + ofB)
        }
        let (a, b) = (bench.values[PEFTNames.adaLoRAA]!, bench.values[PEFTNames.adaLoRAB]!)
        for parameter in method.parameters {
            parameter.gradient.copy(from: [Float](repeating: 0.5, count: parameter.gradient.count))
        }
        #expect(method.penaltyTermCount == 2)
        let value = method.addPenalty(termCount: terms)
        #expect(abs(value / penalty(a, b) - 1) < 1e-6)
        let found = method.parameters.map { $0.gradient.toArray().map { $0 - 0.5 } }
        #expect(difference(found[0], slopes(a) { penalty($0, b) }) < Self.tolerance)
        #expect(difference(found[1], slopes(b) { penalty(a, $0) }) < Self.tolerance)
        #expect(found[2].allSatisfy { $0 == 0 })
    }

    /// A module that has lost all its ranks adds nothing and learns nothing, also with every token active.
    @Test func adaLoRAOfRankZeroIsNothing() throws {
        let context = ComputeContext(dtype: .f32, threadCount: 1)
        let bench = try MethodBench(.init(kind: .adalora), tokens: 4, dropoutKey: nil)
        let method = try #require(try bench.method(context) as? AdaLoRA)
        method.trim(to: [])
        let scratch = UnsafeMutablePointer<Double>.allocate(capacity: max(1, method.preparationScratchCount))
        defer { scratch.deallocate() }
        method.prepare(scratch: scratch, wantsNorms: true)
        let x = Variable(tensor([4, MethodBench.inputSize], bench.x, context), needsGradient: true)
        let output = tensor([4, MethodBench.outputSize], randomValues(4 * MethodBench.outputSize, seed: 6), context)
        let before = output.toArray()
        let update = method.update(of: output, input: x.value, dropoutKey: nil)
        #expect(update.norms().toArray() == [0, 0, 0, 0])
        update.apply(to: output, .all)
        #expect(output.toArray() == before)
        let mu = update.backward(output, input: x, .all, wantsMu: true)
        #expect(mu?.toArray() == [0, 0, 0, 0] && x.gradient == nil)
        #expect(method.addPenalty(termCount: 2) == 0)
        #expect(method.parameters.map(\.value.shape) == [[0, 7], [6, 0], [0, 1]])
    }
}
