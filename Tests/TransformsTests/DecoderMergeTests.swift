import Adapters
import CheckpointIO
import Foundation
import ModelTestSupport
import Models
import TestSupport
import Testing

@testable import Transforms

/// Merging straight into a GGUF file, for models whose columns or values lie there in another form.
@Suite struct DecoderMergeTests {
    @Test(arguments: [
        ("qwen3_5_text", "out_proj,in_proj_qkv,in_proj_z,in_proj_b,q_proj,down_proj"),
        ("gemma3_text", "q_proj,o_proj,down_proj"), ("phi3", "qkv_proj,gate_up_proj"), ("granite", "q_proj,k_proj"),
    ])
    func mergingStraightIntoGGUFIsTheConversionOfTheMerge(name: String, targets: String) throws {
        try withTemporaryFolder { folder in
            let path = folder + "/base"
            try FileManager.default.copyItem(atPath: fixture("tiny-decoders/\(name)"), toPath: path)
            for file in ["tokenizer.json", "tokenizer_config.json"] {
                try FileManager.default.copyItem(
                    atPath: fixture("tiny-qwen3/\(file)"), toPath: path + "/\(file)")
            }
            let base = try ModelCheckpoint.open(path)
            let configuration = try AdapterConfiguration(
                LoRASettings(rank: 2, alpha: 2), isGated: false, targets: TargetSpecification(argument: targets))
            let adapter = try randomAdapter(configuration, on: base)
            _ = try CheckpointMerge(base: base, adapter: adapter)
                .write(to: folder + "/merged", as: .plain(.f32), threadCount: 1)
            try CheckpointConversion(Checkpoint.open(folder + "/merged"), to: .gguf, at: folder + "/merged.gguf")
                .write(threadCount: 1)
            _ = try CheckpointMerge(base: base, adapter: adapter).write(
                to: OutputTarget(folder + "/straight.gguf"), as: .plain(.f32), in: CheckpointMerge.Form(.gguf, nil),
                threadCount: 1)
            let files = try ["merged", "straight"].map { try Checkpoint.open(folder + "/\($0).gguf") }
            #expect(files[0].tensors.map(\.name) == files[1].tensors.map(\.name))
            for record in files[0].tensors {
                let other = try #require(files[1].record(record.name))
                let isSame = try files[0].floats(of: record) == files[1].floats(of: other)
                #expect(isSame && record.encoding == other.encoding, "\(record.name)")
            }
            // And the merged model's own values come back from it.
            let (merged, read) = (
                try ModelCheckpoint.open(folder + "/merged"), try ModelCheckpoint.open(folder + "/straight.gguf")
            )
            for tensor in merged.tensorNames where !tensor.hasSuffix("A_log") {
                let isSame = try merged.floats(tensor) == read.floats(tensor)
                #expect(isSame, "\(tensor)")
            }
        }
    }
}
