import CheckpointIO
import Foundation
import Models
import TestSupport
import Testing

@testable import Transforms

/// What stands beside the tensors, from Hugging Face's files through a GGUF file and back.
@Suite struct ConversionMetadataTests {
    /// Converts the fixture's model, with parts of the texts of its small files replaced, to GGUF and back.
    private func roundTrip(
        _ changes: [(file: String, old: String, new: String)],
        _ check: (_ gguf: GGUFMetadata, _ input: String, _ back: String) throws -> Void
    ) throws {
        try withTemporaryFolder { folder in
            let (input, gguf, back) = (folder + "/in", folder + "/m.gguf", folder + "/back")
            try FileManager.default.copyItem(atPath: fixture("tiny-llama"), toPath: input)
            for change in changes {
                let path = input + "/" + change.file
                let text = String(decoding: try readSmallFile(path, limit: 1 << 24), as: UTF8.self)
                #expect(text.contains(change.old))
                try writeFile(path, text.replacingOccurrences(of: change.old, with: change.new))
            }
            try CheckpointConversion(try Checkpoint.open(input), to: .gguf, at: gguf).write(threadCount: 2)
            try CheckpointConversion(try Checkpoint.open(gguf), to: .huggingFace, at: back).write(threadCount: 2)
            try check(try #require(try Checkpoint.open(gguf).metadata), input, back)
        }
    }

    private func json(_ path: String) throws -> JSONValue {
        try JSONValue.parse(try readSmallFile(path, limit: 1 << 20))
    }

    private static let oneEnd = #""eos_token_id": 0"#
    private static let threeEnds = #""eos_token_id": [1, 0, 2]"#

    @Test(arguments: ["config.json", "generation_config.json"])
    func everyEndTokenComesBack(file: String) throws {
        try roundTrip([(file, Self.oneEnd, Self.threeEnds)]) { gguf, _, back in
            // '<|pad|>' and '!' end no turn by their texts.
            #expect(gguf["tokenizer.ggml.eos_token_id"]?.intValue == 0)
            #expect(gguf["tokenizer.ggml.eot_token_id"] == nil && gguf["tokenizer.ggml.eom_token_id"] == nil)
            let ends = file == "config.json" ? [1, 0, 2] : [0, 1, 2]
            #expect(gguf[ModelConfiguration.ggufEndTokensKey]?.integers(in: .anything) == ends)
            #expect(try ModelCheckpoint.open(back).configuration.eosTokenIDs == ends)
            let generation = try json(back + "/generation_config.json")
            #expect(generation["eos_token_id"]?.arrayValue?.compactMap(\.intValue) == ends)
        }
    }

    @Test func endThatIsNoTokenIsSaidToBeLeftOut() throws {
        try roundTrip([("config.json", Self.oneEnd, #""eos_token_id": [0, 999999999]"#)]) { gguf, input, back in
            #expect(gguf["tokenizer.ggml.eos_token_id"]?.intValue == 0)
            #expect(try ModelCheckpoint.open(back).configuration.eosTokenIDs == [0])
            let notes = try CheckpointConversion(try Checkpoint.open(input), to: .gguf, at: back + ".gguf").notes
            #expect(
                notes.contains { $0.hasPrefix("'eos_token_id' names 999999999, which is none of the 2048 tokens") })
        }
    }

    @Test(arguments: [("<|im_end|>", "eot"), ("<|eom_id|>", "eom")])
    func endOfATurnIsKnownByItsText(text: String, key: String) throws {
        try roundTrip([
            ("config.json", Self.oneEnd, #""eos_token_id": [0, 1]"#), ("tokenizer.json", "<|pad|>", text),
            ("tokenizer_config.json", "<|pad|>", text),
        ]) { gguf, _, back in
            #expect(gguf["tokenizer.ggml.\(key)_token_id"]?.intValue == 1)
            #expect(gguf[ModelConfiguration.ggufEndTokensKey] == nil)
            let ends = try ModelCheckpoint.open(back).configuration.eosTokenIDs
            #expect(ends == [0, 1])
        }
    }

    @Test func samplingNumbersComeBack() throws {
        let numbers = #""temperature": 0.6, "top_p": 0.9, "min_p": 0.05, "top_k": 50, "repetition_penalty": 1.1"#
        try roundTrip([("generation_config.json", Self.oneEnd, Self.oneEnd + ", " + numbers)]) { gguf, input, back in
            let (left, right) = (
                try json(input + "/generation_config.json"), try json(back + "/generation_config.json")
            )
            for name in ["temperature", "top_p", "min_p", "top_k", "repetition_penalty", "bos_token_id"] {
                let isSame = right[name] == left[name]
                #expect(isSame, "\(name)")
            }
            #expect(right["do_sample"]?.boolValue == true && right["_from_model_config"] == nil)
        }
        try roundTrip([]) { _, _, back in
            let generation = try json(back + "/generation_config.json")
            #expect(generation["do_sample"] == nil && generation["_from_model_config"]?.boolValue == true)
        }
    }

    @Test func unusualScalingComesBack() throws {
        let scaling =
            #""rope_type": "llama3", "factor": 3.0, "low_freq_factor": 1.5, "high_freq_factor": 8.0, "#
            + #""original_max_position_embeddings": 200"#
        try roundTrip([("config.json", #""rope_type": "default""#, scaling)]) { _, input, back in
            let (left, right) = (try ModelCheckpoint.open(input), try ModelCheckpoint.open(back))
            guard case .llama3(3, 1.5, 8, 200) = try left.configuration.rotaryScaling else {
                Issue.record("the scaling is not read")
                return
            }
            #expect(try right.configuration.rotaryScaling == left.configuration.rotaryScaling)
        }
    }
}
