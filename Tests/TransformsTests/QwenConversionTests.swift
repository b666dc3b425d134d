import Adapters
import CheckpointIO
import Models
import ModelTestSupport
import TensorCore
import TestSupport
import Testing

@testable import Transforms

/// Models whose rows GGUF files hold in the order of Hugging Face's.
@Suite struct QwenConversionTests {
    private static let models = ["tiny-qwen2", "tiny-qwen3"]

    @Test(arguments: models) func modelComesBackFromGGUFAsItWas(name: String) throws {
        try withTemporaryFolder { folder in
            let (gguf, back) = (folder + "/m.gguf", folder + "/back")
            try CheckpointConversion(try Checkpoint.open(fixture(name)), to: .gguf, at: gguf).write(threadCount: 1)
            try CheckpointConversion(try Checkpoint.open(gguf), to: .huggingFace, at: back).write(threadCount: 1)
            let original = try ModelCheckpoint.open(fixture(name))
            for path in [gguf, back] {
                let model = try ModelCheckpoint.open(path)
                let (left, right) = try (model.configuration, original.configuration)
                #expect(left.architecture == right.architecture && left.headSize == right.headSize)
                #expect(left.inverseFrequencies == right.inverseFrequencies)
                #expect(left.rmsNormEpsilon == right.rmsNormEpsilon && left.tiedEmbeddings == right.tiedEmbeddings)
                #expect(left.hasAttentionBias == right.hasAttentionBias)
                #expect(model.specifications.all == original.specifications.all)
                #expect(model.unknownTensors.isEmpty && Set(model.tensorNames) == Set(original.tensorNames))
                for tensor in original.tensorNames {
                    let isSame = try model.floats(tensor) == original.floats(tensor)
                    #expect(isSame, "\(tensor)")
                }
            }
        }
    }

    @Test(arguments: models) func fileHasTheKeysAndNamesOfItsArchitecture(name: String) throws {
        try withTemporaryFolder { folder in
            let path = folder + "/m.gguf"
            try CheckpointConversion(try Checkpoint.open(fixture(name)), to: .gguf, at: path).write(threadCount: 1)
            let file = try Checkpoint.open(path)
            let metadata = try #require(file.metadata)
            let architecture = String(name.dropFirst(5))
            #expect(metadata["general.architecture"]?.stringValue == architecture)
            for (key, value) in [
                ("block_count", 2), ("context_length", 1024), ("embedding_length", 64), ("feed_forward_length", 256),
                ("attention.head_count_kv", 2), ("attention.key_length", architecture == "qwen2" ? 16 : 32),
            ] {
                #expect(metadata["\(architecture).\(key)"]?.intValue == value, "\(key)")
            }
            #expect(metadata["\(architecture).rope.freq_base"]?.doubleValue == 1_000_000)
            let parts =
                architecture == "qwen2"
                ? ["attn_q.bias", "attn_v.bias"] : ["attn_q_norm.weight", "attn_k_norm.weight"]
            for part in parts { #expect(file.record("blk.1.\(part)")?.encoding == .plain(.f32), "\(part)") }
            #expect(file.record("rope_freqs.weight") == nil)
            // Rows lie as they lay.
            let original = try Checkpoint.open(fixture(name))
            let query = try original.requiredRecord("model.layers.1.self_attn.q_proj.weight")
            let isSame = try original.floats(of: query) == file.floats(of: file.requiredRecord("blk.1.attn_q.weight"))
            #expect(isSame)
        }
    }

    @Test(arguments: models) func mergeIntoAGGUFIsTheMergeIntoTheDirectory(name: String) throws {
        try withTemporaryFolder { folder in
            let gguf = folder + "/m.gguf"
            try CheckpointConversion(try Checkpoint.open(fixture(name)), to: .gguf, at: gguf).write(threadCount: 1)
            let configuration = try AdapterConfiguration(
                LoRASettings(rank: 2, alpha: 2), isGated: false,
                targets: TargetSpecification(argument: "q_proj,k_proj,o_proj,down_proj"))
            let base = try ModelCheckpoint.open(fixture(name))
            let adapter = try randomAdapter(configuration, on: base)
            _ = try CheckpointMerge(base: base, adapter: adapter).write(to: folder + "/merged", threadCount: 1)
            _ = try CheckpointMerge(base: ModelCheckpoint.open(gguf), adapter: adapter)
                .write(to: folder + "/merged.gguf", threadCount: 1)
            let (left, right) = (
                try ModelCheckpoint.open(folder + "/merged"), try ModelCheckpoint.open(folder + "/merged.gguf")
            )
            for tensor in left.tensorNames {
                let isSame = try left.floats(tensor) == right.floats(tensor)
                #expect(isSame, "\(tensor)")
            }
            let query = "model.layers.0.self_attn.q_proj.weight"
            #expect(try left.floats(query) != base.floats(query))
        }
    }

    /// llama.cpp's adapter file names a norm's neighbours and keeps B's rows.
    @Test(arguments: models) func exportedAdapterKeepsItsRows(name: String) throws {
        try withTemporaryFolder { folder in
            let configuration = try AdapterConfiguration(
                LoRASettings(rank: 2, alpha: 2), isGated: false, targets: TargetSpecification(argument: "q_proj"))
            let base = try ModelCheckpoint.open(fixture(name))
            let adapter = try randomAdapter(configuration, on: base)
            _ = try AdapterExport(adapter, to: .ggufLoRA, base: base).write(to: folder + "/a.gguf")
            let file = try Checkpoint.open(folder + "/a.gguf")
            #expect(file.metadata?["general.architecture"]?.stringValue == String(name.dropFirst(5)))
            let b = try file.floats(of: file.requiredRecord("blk.1.attn_q.weight.lora_b"))
            #expect(b == adapter.tensor("model.layers.1.self_attn.q_proj", PEFTNames.loraB)?.values)
        }
    }
}
