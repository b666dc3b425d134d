import Compute
import Models
import TensorCore
import Testing

@testable import Adapters
@testable import Training

/// The warnings about thresholds that cannot do their work.
@Suite struct ThresholdWatchTests {
    private let context = ComputeContext(dtype: .f32, threadCount: 1)

    /// Projections with gates at tau 0.5; only the gates' sums matter.
    private func projections(_ count: Int) -> [GatedProjection] {
        (0..<count).map { index in
            func parameter(_ shape: [Int]) -> AdapterParameter {
                AdapterParameter(name: "p", value: context.zeros(shape), context)
            }
            let lora = LoRA(a: parameter([1, 2]), b: parameter([2, 1]), scaling: 1, dropoutRate: 0, context)
            let frozen = FrozenLinear(weight: context.zeros([2, 2]))
            return GatedProjection(
                PlainProjection(path: "layer.\(index)", frozen: frozen), method: lora, gate: TokenGate(tau: 0.5))
        }
    }

    /// Makes a gate's step one of a single token with this r.
    private func see(_ ratio: Float, _ projection: GatedProjection) {
        let gate = projection.gate!
        gate.beginStep()
        let decision = [ratio].withUnsafeBufferPointer { updates in
            [Float(1)].withUnsafeBufferPointer { gate.decide(updateNorms: updates, outputNorms: $0) }
        }
        [Float(0)].withUnsafeBufferPointer { gate.accumulate(mu: $0, decision) }
    }

    @Test func gateThatNeverFiresIsReportedOnceAfterTwentySteps() {
        let projections = projections(3)
        var watch = ThresholdWatch(ThresholdSettings(stepSize: 1), totalSteps: 1000, rateSum: 1000, moduleCount: 3)
        var warnings: [Int: [String]] = [:]
        for step in 1...60 {
            see(0.25, projections[0])
            see(0.125, projections[1])
            // The third passes a token now and then, but not from step 31 on.
            see(step % 19 == 0 && step < 31 ? 1 : 0.25, projections[2])
            let found = watch.look(at: projections, ranks: projections.map { _ in 1 }, step: step)
            if !found.isEmpty { warnings[step] = found.map(\.description) }
        }
        #expect(warnings.keys.sorted() == [20, 39])
        #expect(warnings[20]?.count == 1 && warnings[39]?.count == 1)
        #expect(
            warnings[20]?[0].contains("layer.0 (tau 5.00e-1, largest r 2.50e-1) and 1 more modules for 20 steps")
                == true)
        #expect(warnings[39]?[0].contains("layer.2") == true)
    }

    @Test func gateThatFiresEveryNineteenStepsIsNot() {
        let projections = projections(1)
        var watch = ThresholdWatch(ThresholdSettings(stepSize: 1), totalSteps: 1000, rateSum: 1000, moduleCount: 1)
        for step in 1...200 {
            see(step % 19 == 0 ? 0.5 : 0.25, projections[0])
            #expect(watch.look(at: projections, ranks: projections.map { _ in 1 }, step: step).isEmpty)
        }
    }

    /// At a quarter of the run r is compared with s x steps.
    private func warnings(s: Double, ratios: [Float], update: ThresholdUpdate = .adam) -> [Int: [String]] {
        let projections = projections(ratios.count)
        for projection in projections { projection.gate!.tau = 0 }
        var watch = ThresholdWatch(
            ThresholdSettings(stepSize: s, update: update), totalSteps: 100, rateSum: 100, moduleCount: ratios.count)
        var warnings: [Int: [String]] = [:]
        for step in 1...100 {
            for (projection, ratio) in zip(projections, ratios) { see(ratio, projection) }
            let found = watch.look(at: projections, ranks: projections.map { _ in 1 }, step: step)
            if !found.isEmpty { warnings[step] = found.map(\.description) }
        }
        return warnings
    }

    @Test func stepsTooSmallForTheRunAreReportedOnce() {
        let found = warnings(s: 4e-5, ratios: [0.5, 0.001, 0.25])
        #expect(found.keys.sorted() == [25] && found[25]?.count == 1)
        let text = found[25]?.first ?? ""
        #expect(text.contains("s x steps = 4.00e-3 cannot reach"))
        #expect(text.contains("median of their means now 2.50e-1"))
        #expect(text.contains("2 of 3 gates"))
        // 1.5 times the median over 100 steps.
        #expect(text.contains("s: 3.75e-3 or more"))
    }

    @Test func stepsThatReachMostGatesAreNot() {
        #expect(warnings(s: 4e-3, ratios: [0.5, 0.001, 0.25]).isEmpty)
        // Plain updates are as large as g makes them.
        #expect(warnings(s: 4e-5, ratios: [0.5, 0.001, 0.25], update: .plain).isEmpty)
    }

    /// Warnings of a whole run of 40 steps.
    private func warningsOfARun(s: Double, lambda: Double) throws -> [String] {
        var configuration = TrainingBench.configuration
        configuration.length = .steps(40)
        configuration.batchSize = 1
        configuration.accumulation = 1
        configuration.thresholds = ThresholdSettings(stepSize: s, lambda: lambda)
        var warnings: [String] = []
        var callbacks = TrainingCallbacks()
        callbacks.report = { event in
            if case .warning(let text) = event { warnings.append(text.description) }
        }
        _ = try TrainingBench(configuration).run(callbacks)
        return warnings
    }

    @Test func healthyRunHasNoWarning() throws {
        #expect(try warningsOfARun(s: 2e-3, lambda: 0) == [])
    }

    @Test func runWithTinyStepsIsWarned() throws {
        let warnings = try warningsOfARun(s: 1e-7, lambda: 0)
        #expect(warnings.count == 1 && warnings[0].contains("cannot reach the r of most modules"))
    }

    @Test func runWithHugeStepsIsWarned() throws {
        let warnings = try warningsOfARun(s: 10, lambda: 100)
        #expect(warnings.count == 1 && warnings[0].contains("tau has outrun r"))
    }
}
