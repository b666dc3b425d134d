import Adapters
import Compute
import Models
import TensorCore
import TestSupport
import Testing

/// A projection with its gate: h_i = W0 x_i + S_i M(x_i), forward and backward.
@Suite struct GatedProjectionTests {
    private static let tokens = 12
    private static let (inputSize, outputSize, rank) = (6, 5, 2)
    private static let x = randomValues(tokens * inputSize, seed: 1)
    private static let a = randomValues(rank * inputSize, seed: 2)
    private static let b = randomValues(outputSize * rank, seed: 3, in: -0.5...0.5)
    private static let weights = randomValues(tokens * outputSize, seed: 4)
    /// With all else linear, differences are exact for any step; this one is so small that no decision changes.
    private static let step: Float = 0.002
    /// Rounding of h at 6e-8 against this step, as a part of a gradient's largest element.
    private static let gradientTolerance = 1e-3

    /// Keeps the last decision and mu.
    private final class Witness: GateObserver {
        var decision: GateDecision?
        var mu: [Float] = []

        func observe(
            _ projection: GatedProjection, _ decision: GateDecision, updateNorms: Tensor, outputNorms: Tensor,
            inner: Tensor?
        ) { self.decision = decision }

        func observe(_ projection: GatedProjection, mu: UnsafeBufferPointer<Float>) { self.mu = Array(mu) }
    }

    /// One projection in a context of its own.
    private final class Bench {
        let context: ComputeContext
        let projection: GatedProjection
        let witness = Witness()

        init(a: [Float] = GatedProjectionTests.a, b: [Float] = GatedProjectionTests.b, tau: Float?) {
            let context = ComputeContext(dtype: .f32, threadCount: 1)
            self.context = context
            func parameter(_ name: String, _ shape: [Int], _ values: [Float]) -> AdapterParameter {
                let value = context.tensor(shape)
                value.copy(from: values)
                return AdapterParameter(name: name, value: value, context)
            }
            let weight = context.tensor([outputSize, inputSize])
            weight.copy(from: randomValues(outputSize * inputSize, seed: 5))
            let bias = context.tensor([outputSize])
            bias.copy(from: randomValues(outputSize, seed: 6))
            let lora = LoRA(
                a: parameter("A", [rank, inputSize], a), b: parameter("B", [outputSize, rank], b), scaling: 1.5,
                dropoutRate: 0.3, context)
            projection = GatedProjection(
                PlainProjection(path: "layer", frozen: FrozenLinear(weight: weight, bias: bias)), method: lora,
                gate: tau.map { TokenGate(tau: $0) })
            let scratch = UnsafeMutablePointer<Double>.allocate(capacity: lora.preparationScratchCount)
            defer { scratch.deallocate() }
            lora.prepare(scratch: scratch, wantsNorms: true)
        }

        func forward(
            _ x: [Float], recording: Bool = false, rows: RowRoles = .tokens
        ) -> (h: Variable, x: Variable, tape: Tape) {
            let input = context.tensor([x.count / inputSize, inputSize])
            input.copy(from: x)
            let variable = Variable(input, needsGradient: true)
            let tape = Tape(context, isRecording: recording)
            let pass = Pass(tape, dropout: RandomStream(seed: 11), observer: witness, rows: rows)
            return (projection.forward(variable, in: pass), variable, tape)
        }
    }

    /// A tau in the middle of the widest gap between the tokens' r near their median.
    private static let tau: Float = {
        let bench = Bench(tau: 0)
        _ = bench.forward(x)
        let sorted = bench.witness.decision!.ratios.sorted()
        let gaps = zip(sorted, sorted.dropFirst()).map { $1 - $0 }
        let index = (tokens / 3..<2 * tokens / 3).max { gaps[$0] < gaps[$1] }!
        return (sorted[index] + sorted[index + 1]) / 2
    }()

    @Test func backwardAgreesWithDifferencesWhileDecisionsStand() throws {
        let bench = Bench(tau: Self.tau)
        let (h, x, tape) = bench.forward(Self.x, recording: true)
        let decisions = try #require(bench.witness.decision).isActive
        #expect(decisions.contains(true) && decisions.contains(false))
        let gradient = bench.context.tensor(h.value.shape)
        gradient.copy(from: Self.weights)
        h.gradientSum.add(bench.context, giving: gradient)
        tape.runBackward()

        func combination(x: [Float] = Self.x, a: [Float] = Self.a, b: [Float] = Self.b) throws -> Double {
            let shifted = Bench(a: a, b: b, tau: Self.tau)
            let output = shifted.forward(x).h.value.toArray()
            try #require(shifted.witness.decision!.isActive == decisions, "a step has changed a decision")
            return zip(Self.weights, output).reduce(0) { $0 + Double($1.0) * Double($1.1) }
        }
        let parameters = bench.projection.method.parameters.map { $0.gradient.toArray() }
        let xError = try gradientError(x.gradient!.toArray(), at: Self.x, step: Self.step) { try combination(x: $0) }
        let aError = try gradientError(parameters[0], at: Self.a, step: Self.step) { try combination(a: $0) }
        let bError = try gradientError(parameters[1], at: Self.b, step: Self.step) { try combination(b: $0) }
        for (name, error) in [("x", xError), ("A", aError), ("B", bError)] {
            #expect(error < Self.gradientTolerance, "gradient of \(name)")
        }
    }

    @Test func gatedRowsAreEitherDenseOrFrozen() throws {
        let gated = Bench(tau: Self.tau)
        let found = gated.forward(Self.x).h.value.toArray()
        let dense = Bench(tau: nil).forward(Self.x).h.value.toArray()
        let frozen = Bench(tau: .infinity).forward(Self.x).h.value.toArray()
        let decision = try #require(gated.witness.decision)
        for token in 0..<Self.tokens {
            let row = token * Self.outputSize..<(token + 1) * Self.outputSize
            if decision.isActive[token] {
                #expect(zip(found[row], dense[row]).allSatisfy { abs($0 - $1) <= 1e-6 }, "token \(token)")
            } else {
                #expect(zip(found[row], frozen[row]).allSatisfy { $0.bitPattern == $1.bitPattern }, "token \(token)")
            }
        }
    }

    /// r and mu of each token, skipped ones too, against the two outputs that a closed and an open gate give.
    @Test func ratioAndMuAreOfEveryToken() throws {
        let bench = Bench(tau: Self.tau)
        let (h, _, tape) = bench.forward(Self.x, recording: true)
        let gradient = bench.context.tensor(h.value.shape)
        gradient.copy(from: Self.weights)
        h.gradientSum.add(bench.context, giving: gradient)
        tape.runBackward()
        let dense = Bench(tau: nil).forward(Self.x).h.value.toArray().map(Double.init)
        let frozen = Bench(tau: .infinity).forward(Self.x).h.value.toArray().map(Double.init)
        let decision = try #require(bench.witness.decision)
        var g = 0.0
        for token in 0..<Self.tokens {
            let row = token * Self.outputSize..<(token + 1) * Self.outputSize
            let update = row.map { dense[$0] - frozen[$0] }
            let size = update.reduce(0) { $0 + $1 * $1 }.squareRoot()
            let base = row.reduce(0) { $0 + frozen[$1] * frozen[$1] }.squareRoot()
            #expect(abs(Double(decision.ratios[token]) * base / size - 1) < 1e-5, "r of token \(token)")
            #expect(decision.isActive[token] == (decision.ratios[token] >= Self.tau))
            let mu = zip(row, update).reduce(0) { $0 + Double(Self.weights[$1.0]) * $1.1 }
            #expect(abs(Double(bench.witness.mu[token]) - mu) < 1e-5, "mu of token \(token)")
            let active = decision.isActive[token]
            if (mu >= 0) == active { g += mu }
            if active { g += 0.25 }
        }
        #expect(abs(try #require(bench.projection.gate).step.gradient(lambda: 0.25) - g) < 1e-4)
    }

    /// Two readers of one x: its gradient, and those of the parameters, are the sums of both.
    @Test func gradientsOfTwoReadersOfOneInputAddUp() {
        func gradients(_ readers: Int) -> [[Float]] {
            let bench = Bench(tau: Self.tau)
            let input = bench.context.tensor([Self.tokens, Self.inputSize])
            input.copy(from: Self.x)
            let x = Variable(input, needsGradient: true)
            let tape = Tape(bench.context, isRecording: true)
            let gradient = bench.context.tensor([Self.tokens, Self.outputSize])
            gradient.copy(from: Self.weights)
            for _ in 0..<readers {
                let h = bench.projection.forward(x, in: Pass(tape, dropout: RandomStream(seed: 11)))
                h.gradientSum.add(bench.context, copying: gradient)
            }
            tape.runBackward()
            return [x.gradient!.toArray()] + bench.projection.method.parameters.map { $0.gradient.toArray() }
        }
        for (once, twice) in zip(gradients(1), gradients(2)) {
            for (one, two) in zip(once, twice) { #expect(abs(two - 2 * one) < 1e-5) }
        }
    }

    /// Rows that are no tokens go through the same gate and give the adapter its gradients, but no sum counts them.
    @Test func auxiliaryRowsPassTheGateAndAreCountedNowhere() throws {
        func run(
            _ rows: RowRoles, dropsOut: Bool = false
        ) throws -> (bench: Bench, h: [Float], statistics: ModuleStatistics?) {
            let bench = Bench(tau: Self.tau)
            let input = bench.context.tensor([Self.tokens, Self.inputSize])
            input.copy(from: Self.x)
            let x = Variable(input, needsGradient: true)
            let tape = Tape(bench.context, isRecording: true)
            let collector = StatisticsCollector(collectingInnerSums: true)
            let pass = Pass(
                tape, dropout: dropsOut ? RandomStream(seed: 11) : nil, observer: collector, rows: rows)
            let h = bench.projection.forward(x, in: pass)
            let gradient = bench.context.tensor(h.value.shape)
            gradient.copy(from: Self.weights)
            h.gradientSum.add(bench.context, giving: gradient)
            tape.runBackward()
            return (bench, h.value.toArray(), collector.statistics.first)
        }
        let (tokens, auxiliary) = (try run(.tokens), try run(.auxiliary))
        let gate = try #require(tokens.bench.projection.gate)
        #expect(gate.step.tokens == Self.tokens && (1..<Self.tokens).contains(gate.step.activeTokens))
        #expect(auxiliary.h == tokens.h, "the same gate")
        for (one, other) in zip(
            auxiliary.bench.projection.method.parameters, tokens.bench.projection.method.parameters)
        {
            #expect(one.gradient.toArray() == other.gradient.toArray())
        }
        #expect(auxiliary.bench.projection.gate!.step == GateSums())
        #expect(auxiliary.bench.projection.gate!.stepLargestRatio == 0)
        let nothing = try #require(auxiliary.statistics)
        #expect(nothing.tokens == 0 && nothing.active == 0 && nothing.sumUpdateSquared == 0)
        #expect(nothing.innerSums!.allSatisfy { $0 == 0 } && nothing.activeInnerSums!.allSatisfy { $0 == 0 })
        // Rows of both kinds in one pass: those of tokens and the rest make up the whole.
        let flags = (0..<Self.tokens).map { $0 % 3 == 0 }
        let (some, rest) = (try run(.each(flags)), try run(.each(flags.map(!))))
        let sums = [some, rest].map { $0.bench.projection.gate!.step }
        #expect(sums[0].tokens == flags.count { $0 } && some.statistics?.tokens == sums[0].tokens)
        #expect(sums[0].tokens + sums[1].tokens == gate.step.tokens)
        #expect(sums[0].activeTokens + sums[1].activeTokens == gate.step.activeTokens)
        #expect(abs(sums[0].agreeingMu + sums[1].agreeingMu - gate.step.agreeingMu) < 1e-9)
        #expect(try run(.auxiliary, dropsOut: true).h != run(.tokens, dropsOut: true).h, "masks of their own")
    }

    @Test func closedGateTrainsNothing() {
        let bench = Bench(tau: .infinity)
        let (h, x, tape) = bench.forward(Self.x, recording: true)
        let gradient = bench.context.tensor(h.value.shape)
        gradient.copy(from: Self.weights)
        h.gradientSum.add(bench.context, giving: gradient)
        tape.runBackward()
        #expect(bench.projection.method.parameters.allSatisfy { $0.gradient.toArray().allSatisfy { $0 == 0 } })
        // What reaches x has come through the frozen weight alone, and mu is there nevertheless.
        #expect(x.gradient!.toArray().contains { $0 != 0 })
        #expect(bench.witness.mu.count == Self.tokens && bench.witness.mu.contains { $0 != 0 })
    }
}
