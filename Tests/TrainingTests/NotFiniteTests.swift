import Adapters
import Compute
import Data
import ModelTestSupport
import Models
import TensorCore
import Testing
import Training

/// A NaN or an infinity ends a run with the step and the module where it came up.
@Suite struct NotFiniteTests {
    /// Overwrites one element.
    private func poison(_ tensor: Tensor, at index: Int = 3, with value: Float = .nan) {
        var values = tensor.toArray()
        values[index] = value
        tensor.copy(from: values)
    }

    private func projection(_ bench: TrainingBench, _ path: String) -> any Projection {
        bench.adapted.model.projections.first { $0.path == path }!
    }

    @Test(arguments: [Float.nan, .infinity]) func brokenBaseWeightIsNamed(value: Float) throws {
        let bench = try TrainingBench { $0.storage = .copied }
        _ = try bench.loop.takeStep()
        let module = "model.layers.1.mlp.gate_proj"
        poison(projection(bench, module).frozen.copiedWeight, with: value)
        let before = bench.loop.state
        let expected = TrainingError.notFinite(what: "the loss", step: 2, module: module, dtype: .f32)
        #expect(throws: expected) { try bench.loop.takeStep() }
        #expect(expected.exitStatus == .failedSelfCheck)
        #expect("\(expected)".contains("step 2") && "\(expected)".contains(module))
        // Neither parameters nor thresholds have moved, and the model's projections are those of before.
        #expect(zip(before.tensors, bench.loop.state.tensors).allSatisfy { $0.values == $1.values })
        #expect(before.thresholds == bench.loop.state.thresholds)
        #expect(bench.adapted.model.projections.count { $0 is GatedProjection } == 15)
        #expect(bench.adapted.model.projections.count { $0 is PlainProjection } == 6)
    }

    /// A gate must not hide a broken update: |M| is NaN, and a NaN is not below tau.
    @Test(arguments: [true, false]) func brokenAdapterIsNamed(isGated: Bool) throws {
        let bench = try TrainingBench {
            $0.isGated = isGated
            $0.tau = 0.001
        }
        let wrapped = bench.adapted.adapter.projections[7]
        poison(wrapped.method.parameters[1].value)
        bench.adapted.adapter.prepare()
        #expect(throws: TrainingError.notFinite(what: "the loss", step: 1, module: wrapped.path, dtype: .f32)) {
            try bench.loop.takeStep()
        }
    }

    /// g is a sum of lambda over active tokens among others: a lambda near the largest number overflows it.
    @Test func thresholdThatIsNotFiniteIsNamed() throws {
        var configuration = TrainingBench.configuration
        configuration.thresholds.lambda = 1e308
        let bench = try TrainingBench(configuration)
        let first = bench.adapted.adapter.projections[0].path
        let error = #expect(throws: TrainingError.self) { try bench.loop.takeStep() }
        #expect(error?.exitStatus == .failedSelfCheck)
        #expect(error?.description.contains("tau of \(first)") == true)
    }

    /// F32 is advice for a run in BF16 alone.
    @Test func adviceFitsTheRunsType() {
        let words = [DType.f32, .bf16].map {
            "\(TrainingError.notFinite(what: "the loss", step: 1, module: nil, dtype: $0))"
        }
        #expect(words.allSatisfy { $0.contains("; try a smaller learning rate") })
        #expect(words[0].hasSuffix("learning rate") && words[1].hasSuffix("computing in F32 rather than BF16"))
    }

    @Test func brokenHeadIsNoModuleOutput() throws {
        let bench = try TrainingBench { $0.storage = .copied }
        poison(bench.adapted.model.head!.copiedWeight)
        let expected = TrainingError.notFinite(what: "the loss", step: 1, module: nil, dtype: .f32)
        #expect(throws: expected) { try bench.loop.takeStep() }
        #expect("\(expected)".contains("all module outputs are finite"))
    }

    /// A product that the library refuses ends the step, though the backward pass that met it cannot throw.
    @Test func failedProductEndsTheStep() throws {
        let bench = try TrainingBench()
        let context = bench.adapted.model.context
        let tensor = context.zeros([2, 2], .f32)
        context.products.multiply(tensor, tensor, into: tensor, MatrixProducts.Form(m: -1, n: 2, k: 2))
        #expect(throws: ComputeError.self) { try bench.loop.takeStep() }
        _ = try bench.loop.takeStep()
    }
}
