import Adapters
import CheckpointIO
import Compute
import ModelTestSupport
import Models
import TensorCore
import TestSupport
import Testing

@testable import Transforms

/// Merging adapters that hold whole layers.
@Suite struct WholeModuleMergeTests {
    private static let golden = fixture("golden/llama-lora-dense-saved")

    /// The golden dense adapter with whole layers of other values than any base's.
    private func adapter(_ modules: [WholeModule], shape: [Int] = [160, 64]) throws -> AdapterDirectory {
        let dense = try goldenAdapter()
        var fields = try #require(dense.configuration.json.objectValue)
        fields["modules_to_save"] = .array(modules.map { .string($0.name) })
        return try AdapterDirectory(
            configuration: AdapterConfiguration(json: .object(fields), file: "adapter_config.json"),
            modules: dense.modules,
            tensors: dense.tensors
                + modules.map { module in
                    AdapterTensor(
                        PEFTNames.key(module.path, PEFTNames.weight), shape, values(module, shape[0] * shape[1]))
                })
    }

    private func values(_ module: WholeModule, _ count: Int = 160 * 64) -> [Float] {
        randomValues(count, seed: module == .embedding ? 5 : 6, in: -3...3)
    }

    @Test func mergedModelComputesWhatTheAdapterDoes() throws {
        try withTemporaryFolder { folder in
            let base = try ModelCheckpoint.open(Self.golden + "/model")
            let adapter = try AdapterDirectory.read(Self.golden + "/adapter_final")
            let report = try CheckpointMerge(base: base, adapter: adapter).write(to: folder + "/merged")
            #expect(report.mergedCount == 10 && report.parts[0].modules.count == 10)
            #expect(
                report.parts[0].modules.filter(\.plan.isWhole).map(\.plan.module) == ["lm_head", "model.embed_tokens"])
            let merged = try ModelCheckpoint.open(folder + "/merged")
            #expect(try !merged.configuration.tiedEmbeddings)
            #expect(merged.checkpoint.tensors == base.checkpoint.tensors)
            let tokens = AdaptedModel.tokens(30, seed: 3, below: 91)
            let context = ComputeContext(dtype: .f32, threadCount: 1)
            let model = try base.makeModel(context)
            _ = try InjectedAdapter(
                into: model, adapter.configuration, tensors: adapter.allTensors, thresholds: [:], source: "adapter")
            let found = try AdaptedModel.logits(merged.makeModel(context), [tokens])
            #expect(try relativeError(found, AdaptedModel.logits(model, [tokens])) < 1e-5)
        }
    }

    /// The golden base ties its embeddings; peft makes an adapter for it all the same.
    @Test(
        arguments: [[WholeModule.outputHead], [.embedding], [.outputHead, .embedding]],
        [DType.f32, .bf16, .f16, .f64])
    func tiedBaseIsUntied(modules: [WholeModule], dtype: DType) throws {
        try withTemporaryFolder { folder in
            let base = try ModelCheckpoint.open(try makeBase(in: folder, dtype: dtype, shardCount: 2))
            #expect(try base.configuration.tiedEmbeddings)
            let report = try CheckpointMerge(base: base, adapter: adapter(modules)).write(to: folder + "/merged")
            #expect(report.mergedCount == 15 + modules.count && report.parts[0].lostInRounding.isEmpty)
            let merged = try ModelCheckpoint.open(folder + "/merged")
            #expect(try !merged.configuration.tiedEmbeddings)
            #expect(merged.checkpoint.configuration?["tie_word_embeddings"] == .bool(false))
            #expect(merged.tensorNames.count == base.tensorNames.count + 1)
            let old = try bytes(base.checkpoint, LlamaNames.embedding)
            for module in WholeModule.allCases {
                let expected = modules.contains(module) ? encoded(values(module), dtype) : old
                let isExact = try bytes(merged.checkpoint, module.weightName) == expected
                #expect(isExact, "\(module)")
            }
            let change = try #require(report.parts[0].modules.last)
            #expect(change.changedCount > 160 * 63 && change.largestChange > 1)
        }
    }

    @Test(arguments: [DType.f32, .bf16, .f64]) func valuesOfTheBaseAreNoChange(dtype: DType) throws {
        try withTemporaryFolder { folder in
            let base = try ModelCheckpoint.open(try makeBase(in: folder, dtype: dtype))
            let whole = try adapter([.embedding])
            var tensors = whole.allTensors
            tensors[tensors.count - 1].values = try base.floats(LlamaNames.embedding)
            let same = try AdapterDirectory(
                configuration: whole.configuration, modules: whole.modules, tensors: tensors)
            let report = try CheckpointMerge(base: base, adapter: same).write(to: folder + "/merged")
            #expect(report.parts[0].modules.last?.changedCount == 0)
            let merged = try Checkpoint.open(folder + "/merged")
            let name = LlamaNames.embedding
            let isSame = try bytes(merged, name) == bytes(base.checkpoint, name)
            #expect(isSame)
        }
    }

    @Test func ggufBaseIsUntiedToo() throws {
        try withTemporaryFolder { folder in
            let base = try ModelCheckpoint.open(fixture("tiny-llama-gguf/tiny-llama-bf16.gguf"))
            #expect(try base.configuration.tiedEmbeddings)
            let shape = try #require(base.specifications.embedding?.shape)
            let configuration = try AdapterConfiguration(
                LoRASettings(rank: 1, alpha: 1), isGated: false, targets: .names(["q_proj"]),
                modulesToSave: ["embed_tokens"], layersToTransform: [0])
            let path = "model.layers.0.self_attn.q_proj"
            let ones = [Float](repeating: 1, count: shape[1])
            let adapter = try AdapterDirectory(
                configuration: configuration, modules: [path],
                tensors: [
                    AdapterTensor(PEFTNames.key(path, PEFTNames.loraA), [1, shape[1]], ones),
                    AdapterTensor(PEFTNames.key(path, PEFTNames.loraB), [shape[1], 1], ones),
                    AdapterTensor(
                        PEFTNames.key("model.embed_tokens", PEFTNames.weight), shape,
                        values(.embedding, shape[0] * shape[1])
                    ),
                ])
            let report = try CheckpointMerge(base: base, adapter: adapter).write(to: folder + "/merged")
            #expect(report.mergedCount == 2)
            let merged = try ModelCheckpoint.open(folder + "/merged")
            #expect(try !merged.configuration.tiedEmbeddings)
            let embedding = try bytes(merged.checkpoint, LlamaNames.embedding)
            let head = try bytes(merged.checkpoint, LlamaNames.outputHead)
            let isReplaced = embedding == encoded(values(.embedding, shape[0] * shape[1]), .bf16)
            let isKept = try head == encoded(base.floats(LlamaNames.embedding), .bf16)
            #expect(isReplaced && isKept)
        }
    }

    @Test func wholeLayersTellAdaptersApart() throws {
        let one = try adapter([.outputHead])
        var tensors = one.allTensors
        tensors[tensors.count - 1].values[0] += 1
        let other = try AdapterDirectory(configuration: one.configuration, modules: one.modules, tensors: tensors)
        #expect(one.digest != other.digest)
    }

    @Test func layerThatIsAdaptedAndSavedWholeIsRefused() throws {
        try withTemporaryFolder { folder in
            let base = try ModelCheckpoint.open(try makeBase(in: folder))
            let configuration = try AdapterConfiguration(
                LoRASettings(rank: 1, alpha: 1), isGated: false, targets: .names(["lm_head"]),
                modulesToSave: ["lm_head"])
            let adapter = try AdapterDirectory(
                configuration: configuration, modules: ["lm_head"],
                tensors: [
                    AdapterTensor(
                        PEFTNames.key("lm_head", PEFTNames.loraA), [1, 64], [Float](repeating: 1, count: 64)),
                    AdapterTensor(
                        PEFTNames.key("lm_head", PEFTNames.loraB), [160, 1], [Float](repeating: 1, count: 160)),
                    AdapterTensor(PEFTNames.key("lm_head", PEFTNames.weight), [160, 64], values(.outputHead)),
                ])
            let error = #expect(throws: TransformError.self) { try CheckpointMerge(base: base, adapter: adapter) }
            #expect(error?.exitStatus == .unsupported)
        }
    }
}
