import Adapters
import CheckpointIO
import Compute
import ModelTestSupport
import Models
import TensorCore
import TestSupport
import Testing

@testable import Transforms

/// Adapters in the experts of a mixture and in its routers, by the names that the files give them.
@Suite struct ExpertAdapterTests {
    private static let models = [
        (name: "mixtral", targets: "w1,w2,w3,gate,q_proj", experts: 4, used: 2, layers: 2),
        (name: "qwen3_moe", targets: "gate_proj,up_proj,down_proj,gate,o_proj", experts: 6, used: 3, layers: 2),
    ]

    private func folder(_ name: String) -> String { fixture("tiny-decoders/\(name)") }

    /// What the adapted model computes is what the merged one does.
    @Test(arguments: [0, 1]) func adaptedExpertsComputeWhatMergedOnesDo(index: Int) throws {
        let entry = Self.models[index]
        try withTemporaryFolder { temporary in
            let base = try ModelCheckpoint.open(folder(entry.name))
            let configuration = try AdapterConfiguration(
                LoRASettings(rank: 2, alpha: 4), isGated: false, targets: TargetSpecification(argument: entry.targets))
            let adapter = try randomAdapter(configuration, on: base)
            _ = try CheckpointMerge(base: base, adapter: adapter)
                .write(to: temporary + "/merged", as: .plain(.f32), threadCount: 1)
            let context = ComputeContext(dtype: .f32, threadCount: 1)
            let model = try base.makeModel(context)
            let tokens = AdaptedModel.tokens(20, seed: 3, below: 440)
            let plain = try AdaptedModel.logits(model, [tokens])
            let injected = try InjectedAdapter(
                into: model, configuration, tensors: adapter.allTensors, thresholds: [:], source: "test")
            // Of each layer with experts three projections an expert, the router, and those of attention.
            // In qwen3_moe the layer without experts has three of those names, and each of three layers an o_proj.
            let expected = entry.layers * (3 * entry.experts + 1) + (index == 0 ? 2 : 3 + 3)
            #expect(injected.projections.count == expected)
            let found = try AdaptedModel.logits(model, [tokens])
            let merged = try AdaptedModel.logits(
                ModelCheckpoint.open(temporary + "/merged").makeModel(context), [tokens])
            #expect(relativeError(found, merged) < 2e-5)
            #expect(relativeError(plain, merged) > 1e-2)
        }
    }

    /// A token counts in the experts that it goes to and in no others.
    @Test(arguments: [0, 1]) func tokensCountInTheirExpertsAlone(index: Int) throws {
        let entry = Self.models[index]
        let adapted = try AdaptedModel {
            $0.path = folder(entry.name)
            $0.targets = entry.targets
        }
        let tokens = AdaptedModel.tokens(20, seed: 3, below: 440)
        let collector = StatisticsCollector(collectingInnerSums: false)
        _ = try adapted.logits([tokens], observer: collector)
        var counts: [String: Int] = [:]
        for statistics in collector.statistics where statistics.module.contains(".experts.") {
            let parts = statistics.module.split(separator: ".")
            counts["\(parts[2]) \(parts.last ?? "")", default: 0] += statistics.tokens
        }
        #expect(counts.count == 3 * entry.layers && counts.values.allSatisfy { $0 == 20 * entry.used }, "\(counts)")
    }

    /// Gradients of the update of one expert and of the router against differences of the loss.
    @Test(arguments: [0, 1]) func expertsAndRouterGetTheirGradients(index: Int) throws {
        let entry = Self.models[index]
        let adapted = try AdaptedModel {
            $0.path = folder(entry.name)
            $0.targets = entry.targets
            $0.isGated = false
        }
        let tokens = AdaptedModel.tokens(12, seed: 5, below: 440)
        let labels = Labels(rows: (0..<11).map { $0 }, .ids(Array(tokens[1...])))
        func loss(_ tape: Tape) throws -> Double {
            try NextToken().losses(
                tokens, TokenLayout(lengths: [12]), labels, adapted.model, in: Pass(tape)
            ).sum
        }
        adapted.adapter.prepare()
        let tape = Tape(adapted.context, isRecording: true)
        _ = try loss(tape)
        tape.runBackward()
        let names = [".0.mlp.experts.", ".0.block_sparse_moe.experts.", ".mlp.gate.", ".block_sparse_moe.gate."]
        var held = 0
        for parameter in adapted.adapter.parameters where names.contains(where: parameter.name.contains) {
            let gradient = parameter.gradient.toArray()
            // One that no token came to has none.
            guard parameter.name.contains("lora_B"), gradient.contains(where: { $0 != 0 }) else { continue }
            let start = parameter.value.toArray()
            let error = try gradientError(gradient, at: start, step: 0.005, stride: 7) { values in
                parameter.value.copy(from: values)
                adapted.adapter.prepare()
                return try loss(Tape(adapted.context, isRecording: false))
            }
            parameter.value.copy(from: start)
            held += 1
            #expect(error < 2e-2, "\(parameter.name)")
        }
        #expect(held > 6)
    }
}
