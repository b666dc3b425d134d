import Adapters
import Compute
import Data
import ModelTestSupport
import Models
import TensorCore
import Testing
import Training

/// What the end of a run does to AdaLoRA's modules.
@Suite struct RankTrimmingTests {
    /// The end of a run takes the masked ranks away: the same function, without what is zero.
    @Test func trimmingRanksLeavesTheLogits() throws {
        let context = ComputeContext(dtype: .f32, threadCount: 1)
        let checkpoint = try ModelCheckpoint.open(AdaptedModel.randomModel)
        let model = try checkpoint.makeModel(context)
        var settings = AdaLoRASettings()
        settings.initialRank = 4
        settings.targetRank = 1
        settings.finalSteps = 1
        let configuration = try AdapterConfiguration(
            settings, isGated: false, targets: .names(["q_proj", "up_proj"]))
        let modules = try configuration.match(checkpoint.linearModules).modules
        let tensors = try configuration.initialTensors(modules, .init(seed: 3), weights: checkpoint.weights(of:))
        let adapter = try InjectedAdapter(
            into: model, configuration, tensors: tensors, thresholds: [:], source: "test")
        let tokens = (0..<4).map { AdaptedModel.tokens(12, seed: $0 + 1) }
        let examples = tokens.map { Example(tokens: $0, scored: $0.indices.map { $0 > 2 }) }
        var training = TrainingConfiguration()
        training.learningRate = 1e-2
        training.batchSize = 2
        training.length = .steps(6)
        try TrainingLoop(model, adapter, examples: examples, source: "test", training).run(TrainingCallbacks())
        let before = try adapter.logits(of: model, tokens)
        let count = adapter.parameters.reduce(0) { $0 + $1.value.count }
        try adapter.finishRun()
        #expect(adapter.parameters.reduce(0) { $0 + $1.value.count } < count)
        #expect(adapter.configuration.own(AdaLoRASettings.self).keptRanks.count == modules.count)
        // Sums in another order, nothing more.
        #expect(relativeError(try adapter.logits(of: model, tokens), before) < 1e-6)
    }
}

extension InjectedAdapter {
    fileprivate func logits(of model: any Model, _ sequences: [[Int32]]) throws -> [Float] {
        try AdaptedModel.logits(model, sequences)
    }
}
