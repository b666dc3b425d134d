import CheckpointIO
import Models
import TensorCore
import TestSupport
import Testing

/// Qwen3's fields and tensors; what it computes is held by its golden cases and by transformers' results.
@Suite struct Qwen3Tests {
    private static func configuration(_ change: (inout JSONObject) -> Void = { _ in }) throws -> ModelConfiguration {
        var members: JSONObject = [
            "model_type": .string("qwen3"), "hidden_size": .integer(64), "intermediate_size": .integer(96),
            "num_hidden_layers": .integer(4), "num_attention_heads": .integer(64), "vocab_size": .integer(10),
        ]
        change(&members)
        return try ArchitectureTable.read(configuration: .object(members), file: "config.json").configuration
    }

    @Test func transformersResultsAreReproduced() throws {
        try TransformersResults(fixture: "tiny-qwen3").expectAgreement()
    }

    @Test func silentConfigurationTakesTheDefaultsOfTransformers() throws {
        let read = try Self.configuration()
        #expect(read.headSize == 128 && read.keyValueHeadCount == 32 && read.maximumPositions == 32768)
        #expect(read.rmsNormEpsilon == 1e-6 && read.rotaryBase == 10000 && !read.tiedEmbeddings)
        #expect(!read.hasAttentionBias && read.bosTokenID == nil && read.eosTokenIDs.isEmpty)
        #expect(try Self.configuration { $0["num_key_value_heads"] = .null }.keyValueHeadCount == 64)
    }

    @Test func headsHaveNormsAndRowsStayInPlace() throws {
        let model = try ModelCheckpoint.open(fixture("tiny-qwen3"))
        let norm = try #require(model.specifications["model.layers.1.self_attn.k_norm.weight"])
        #expect(norm.ggufName == "blk.1.attn_k_norm.weight" && norm.shape == [32] && norm.role == .norm)
        #expect(model.specifications.all.allSatisfy { !$0.ggufRows.isPermuted })
        #expect(model.linearModules.count == 15 && model.unknownTensors.isEmpty)
    }

    @Test func olderSpellingOfTheFixtureSaysTheSame() throws {
        let read = try ["config.json", "config-old.json"].map { name in
            let bytes = try readSmallFile(fixture("tiny-qwen3/" + name), limit: 1 << 16)
            return try ArchitectureTable.read(configuration: try JSONValue.parse(bytes), file: name).configuration
        }
        #expect(read[0] == read[1] && read[0].rotaryBase == 1_000_000)
    }

    @Test func windowThatALayerWouldFeelIsRefused() throws {
        func slide(_ members: JSONObject) throws -> ModelConfiguration {
            try Self.configuration { fields in
                fields["use_sliding_window"] = .bool(true)
                for (key, value) in members.members { fields[key] = value }
            }
        }
        let types = JSONValue.array(["full_attention", "sliding_attention"].map { .string($0) })
        let refused: [(JSONObject, String)] = [
            (["max_window_layers": .integer(2)], "use_sliding_window"),
            (["sliding_window": .integer(5), "max_window_layers": .integer(0)], "use_sliding_window"),
            (["layer_types": types], "layer_types"),
            (["layer_types": .array([.string("linear_attention")])], "layer_types"),
        ]
        for (members, key) in refused {
            let error = try #require(throws: ModelError.self) { try slide(members) }
            #expect(error.exitStatus == .unsupported && error.description.contains("'\(key)'"), "\(error)")
        }
        // No layer slides: none from 28 on, no window, one that no sequence outgrows, or none by their types.
        for members: JSONObject in [
            [:], ["sliding_window": .null, "max_window_layers": .integer(0)],
            ["sliding_window": .integer(32768), "max_window_layers": .integer(0)],
            ["max_window_layers": .integer(0), "layer_types": .array([.string("full_attention")])],
        ] {
            _ = try slide(members)
        }
    }

    @Test func scalingOfLlama3IsNotQwens() throws {
        let error = try #require(throws: ModelError.self) {
            try Self.configuration { $0["rope_scaling"] = .object(["rope_type": .string("llama3")]) }
        }
        #expect(error.exitStatus == .unsupported && error.description.contains("'llama3'"))
    }
}
