import Adapters
import CheckpointIO
import Compute
import ModelTestSupport
import Models
import TensorCore
import TestSupport
import Testing

@testable import Transforms

/// Adapters on the parameters in which transformers holds a layer's experts (peft's `target_parameters`).
@Suite struct PackedExpertTests {
    private static let parameters = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]
    /// Models with experts: how many, to how many a token goes, and in how many layers.
    private static let models = [
        (name: "mixtral", experts: 4, used: 2, layers: 2), (name: "qwen3_moe", experts: 6, used: 3, layers: 2),
        (name: "gpt_oss", experts: 4, used: 2, layers: 2),
    ]

    private static func folder(_ name: String) -> String { fixture("tiny-decoders/\(name)") }

    private static func configuration(_ targets: String = "q_proj") throws -> AdapterConfiguration {
        var configuration = try AdapterConfiguration(
            LoRASettings(rank: 2, alpha: 4), isGated: false, targets: TargetSpecification(argument: targets))
        configuration.targetParameters = parameters
        return configuration
    }

    private static func adapter(_ base: ModelCheckpoint, tau: Float? = nil) throws -> AdapterDirectory {
        try randomAdapter(configuration(), on: base, tau: tau)
    }

    private static func injected(
        _ adapter: AdapterDirectory, into model: any Model
    ) throws -> InjectedAdapter {
        try InjectedAdapter(
            into: model, adapter.configuration, tensors: adapter.allTensors, thresholds: adapter.thresholds,
            source: "test")
    }

    /// What the adapted model computes is what the merged one does.
    @Test(arguments: [0, 1, 2]) func adaptedExpertsComputeWhatMergedOnesDo(index: Int) throws {
        let entry = Self.models[index]
        try withTemporaryFolder { temporary in
            let base = try ModelCheckpoint.open(Self.folder(entry.name))
            let adapter = try Self.adapter(base)
            let layers = base.linearModules.filter { $0.path.hasSuffix(".q_proj") }.count
            #expect(adapter.modules.count == layers + 2 * entry.experts * entry.layers)
            // Merging takes the file as peft would write it.
            try adapter.write(to: OutputTarget(temporary + "/adapter"))
            let read = try AdapterDirectory.read(temporary + "/adapter", takingExtras: true)
            #expect(read.modules.count == layers && read.extras.updates.count == 2 * entry.layers)
            _ = try CheckpointMerge(base: base, adapter: read)
                .write(to: temporary + "/merged", as: .plain(.f32), threadCount: 1)
            let context = ComputeContext(dtype: .f32, threadCount: 1)
            let model = try base.makeModel(context)
            let tokens = AdaptedModel.tokens(20, seed: 3, below: 440)
            let plain = try AdaptedModel.logits(model, [tokens])
            let injected = try Self.injected(adapter, into: model)
            #expect(injected.projections.count == adapter.modules.count)
            let found = try AdaptedModel.logits(model, [tokens])
            let merged = try AdaptedModel.logits(
                ModelCheckpoint.open(temporary + "/merged").makeModel(context), [tokens])
            #expect(relativeError(found, merged) < 2e-5)
            #expect(relativeError(plain, merged) > 1e-2)
        }
    }

    /// The file has peft's names and shapes, and comes back bit for bit, gates too.
    @Test(arguments: [0, 1, 2]) func filesHoldExpertsAsPeftDoes(index: Int) throws {
        let entry = Self.models[index]
        try withTemporaryFolder { temporary in
            let base = try ModelCheckpoint.open(Self.folder(entry.name))
            let adapter = try Self.adapter(base, tau: 0.25)
            try adapter.write(to: OutputTarget(temporary + "/adapter"))
            let file = try SafetensorsFile.open(temporary + "/adapter/" + PEFTNames.tensorFile)
            let path = try #require(adapter.packedParameters.first).module
            for (key, name) in [(path + ".base_layer", "gate_up_proj"), (path, "down_proj")] {
                let size = try #require(base.expertModules.first { $0.module.path.hasSuffix(name) }).module
                let a = try file.requiredRecord(PEFTNames.key(key, PEFTNames.loraA))
                let b = try file.requiredRecord(PEFTNames.key(key, PEFTNames.loraB))
                #expect(a.shape == [entry.experts * 2, size.inputSize])
                #expect(b.shape == [size.outputSize, entry.experts * 2])
                #expect(try file.requiredRecord(PEFTNames.key(key, PEFTNames.tau)).shape == [entry.experts])
            }
            let read = try AdapterDirectory.read(temporary + "/adapter")
            #expect(read.modules == adapter.modules && read.thresholds == adapter.thresholds)
            #expect(read.allTensors == adapter.allTensors)
            let checked = try read.validated(against: base.modules(for: read.configuration))
            #expect(checked.modules == adapter.modules)
        }
    }

    /// A token counts in the experts that it goes to and in no others, by one gate for gate and up together.
    @Test(arguments: [0, 1, 2]) func tokensCountInTheirExpertsAlone(index: Int) throws {
        let entry = Self.models[index]
        let adapted = try AdaptedModel {
            $0.path = Self.folder(entry.name)
            $0.targets = "q_proj"
            $0.parameters = Self.parameters
        }
        let collector = StatisticsCollector(collectingInnerSums: true)
        _ = try adapted.logits([AdaptedModel.tokens(20, seed: 3, below: 440)], observer: collector)
        var counts: [String: Int] = [:]
        for statistics in collector.statistics where statistics.module.contains(".experts.") {
            let parts = statistics.module.split(separator: ".")
            counts["\(parts[2]) \(parts.last ?? "")", default: 0] += statistics.tokens
        }
        #expect(counts.count == 2 * entry.layers && counts.values.allSatisfy { $0 == 20 * entry.used }, "\(counts)")
    }

    /// Gradients of the experts' updates against differences of the loss.
    @Test(arguments: [0, 1, 2]) func expertsGetTheirGradients(index: Int) throws {
        let adapted = try AdaptedModel {
            $0.path = Self.folder(Self.models[index].name)
            $0.targets = "q_proj"
            $0.parameters = Self.parameters
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
        var held = 0
        for parameter in adapted.adapter.parameters where parameter.name.contains(".mlp.experts.1.") {
            let gradient = parameter.gradient.toArray()
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
        #expect(held > 1)
    }

    /// Each expert's gate is replaced by a factor of its own; one that is pruned changes nothing.
    @Test func gatesOfExpertsBecomeFactorsOfTheirOwn() throws {
        try withTemporaryFolder { temporary in
            let base = try ModelCheckpoint.open(Self.folder("mixtral"))
            let context = ComputeContext(dtype: .f32, threadCount: 1)
            let tokens = AdaptedModel.tokens(40, seed: 3, below: 440)
            let gated = try Self.adapter(base, tau: 0)
            let model = try base.makeModel(context)
            let injected = try Self.injected(gated, into: model)
            let first = StatisticsCollector(collectingInnerSums: false)
            _ = try AdaptedModel.logits(model, [tokens], observer: first)
            for projection in injected.projections {
                projection.gate?.tau = Float(first.statistics.first { $0.module == projection.path }?.meanRatio ?? 0)
            }
            let collector = StatisticsCollector(collectingInnerSums: false)
            _ = try AdaptedModel.logits(model, [tokens], observer: collector)
            var adapter = try AdapterDirectory(
                configuration: gated.configuration, modules: gated.modules, tensors: gated.allTensors,
                thresholds: injected.thresholds)
            adapter = adapter.with(collector.statistics)
            // The same with each expert's factor in its B, and no gates.
            let factors = try adapter.modules.reduce(into: [String: Float]()) { found, module in
                found[module] = Float(try #require(adapter.statistics?[module]?.bestFactor))
            }
            #expect(Set(factors.values).count > 8)
            var dense = gated.configuration
            dense.isGated = false
            let scaled = try AdapterDirectory(
                configuration: dense, modules: adapter.modules,
                tensors: adapter.modules.flatMap { module in
                    let (a, b) = (adapter.tensor(module, PEFTNames.loraA)!, adapter.tensor(module, PEFTNames.loraB)!)
                    return [a, AdapterTensor(b.name, b.shape, b.values.map { $0 * factors[module]! })]
                })
            func merged(_ adapter: AdapterDirectory, _ name: String) throws -> [Float] {
                try adapter.write(to: OutputTarget(temporary + "/" + name))
                let read = try AdapterDirectory.read(temporary + "/" + name, takingExtras: true)
                _ = try CheckpointMerge(base: base, adapter: read)
                    .write(to: temporary + "/merged-" + name, as: .plain(.f32), threadCount: 1)
                return try AdaptedModel.logits(
                    ModelCheckpoint.open(temporary + "/merged-" + name).makeModel(context), [tokens])
            }
            #expect(relativeError(try merged(adapter, "gated"), try merged(scaled, "scaled")) < 2e-5)
            // Without one expert in the third part of its modules.
            let kept = adapter.modules.filter { !$0.hasSuffix(".experts.1.down_proj") }
            let pruned = try adapter.restricted(to: kept, configuration: adapter.configuration.restricted(to: kept))
            try pruned.write(to: OutputTarget(temporary + "/pruned"))
            let read = try AdapterDirectory.read(temporary + "/pruned")
            #expect(read.modules == kept && read.configuration.expertCounts.count == 4)
            #expect(try read.validated(against: base.modules(for: read.configuration)).modules.count == kept.count)
        }
    }

    /// What peft refuses beside packed parameters is refused by name.
    @Test func dropoutAndOtherMethodsAreRefusedOnPackedExperts() throws {
        var dropped = try AdapterConfiguration(
            LoRASettings(LowRankNumbers(rank: 2, alpha: 4, dropout: 0.1)), isGated: true,
            targets: TargetSpecification(argument: "q_proj"))
        dropped.targetParameters = Self.parameters
        #expect(throws: AdapterError.self) { try dropped.checkParameters() }
        var dora = try AdapterConfiguration(
            DoRASettings(LowRankNumbers(rank: 2, alpha: 4)), isGated: true,
            targets: TargetSpecification(argument: "q_proj"))
        dora.targetParameters = Self.parameters
        let error = #expect(throws: AdapterError.self) { try dora.checkParameters() }
        #expect("\(error as Any)".contains("dora"))
    }

    /// An expert's modules in the files and the parameter that holds them are one place: what is adapted packed is no
    /// target by the files' names.
    @Test func packedExpertsAreNoTargetsByTheFilesNames() throws {
        let base = try ModelCheckpoint.open(Self.folder("mixtral"))
        var configuration = try AdapterConfiguration(
            LoRASettings(rank: 2, alpha: 4), isGated: false, targets: TargetSpecification(argument: "w1"))
        #expect(try configuration.match(base.modules(for: configuration)).modules.count == 8)
        configuration.targetParameters = ["mlp.experts.gate_up_proj"]
        let modules = base.modules(for: configuration)
        #expect(throws: AdapterError.self) { try configuration.match(modules) }
        configuration.targets = try TargetSpecification(argument: "w2")
        #expect(try configuration.match(modules).modules.count == 16)
    }
}
