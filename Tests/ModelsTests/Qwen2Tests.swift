import CheckpointIO
import Models
import TensorCore
import TestSupport
import Testing

/// Qwen2's fields and tensors; what it computes is held by its golden case and by transformers' results.
@Suite struct Qwen2Tests {
    @Test func transformersResultsAreReproduced() throws {
        try TransformersResults(fixture: "tiny-qwen2").expectAgreement()
    }

    @Test func silentConfigurationTakesTheDefaultsOfTransformers() throws {
        let read = try ArchitectureTable.read(
            configuration: .object([
                "architectures": .array([.string("Qwen2ForCausalLM")]), "hidden_size": .integer(128),
                "intermediate_size": .integer(96), "num_hidden_layers": .integer(2),
                "num_attention_heads": .integer(32), "vocab_size": .integer(10),
            ]), file: "config.json"
        ).configuration
        #expect(read.headSize == 4 && read.keyValueHeadCount == 32 && read.maximumPositions == 32768)
        #expect(read.rmsNormEpsilon == 1e-6 && read.rotaryBase == 10000 && !read.tiedEmbeddings)
        #expect(read.hasAttentionBias && !read.hasMLPBias && read.bosTokenID == nil && read.eosTokenIDs.isEmpty)
    }

    @Test func queriesKeysAndValuesHaveBiasesAndOutputsHaveNone() throws {
        let model = try ModelCheckpoint.open(fixture("tiny-qwen2"))
        let biases = model.specifications.all.filter { $0.role == .bias }
        #expect(Set(biases.map(\.part)) == ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"])
        #expect(biases.count == 6 && biases[0].ggufName == "blk.0.attn_q.bias")
        #expect(model.specifications.all.allSatisfy { !$0.ggufRows.isPermuted })
        #expect(try model.configuration.tiedEmbeddings && model.unknownTensors.isEmpty)
    }

    @Test func olderSpellingOfTheFixtureSaysTheSame() throws {
        let read = try ["config.json", "config-old.json"].map { name in
            let bytes = try readSmallFile(fixture("tiny-qwen2/" + name), limit: 1 << 16)
            return try ArchitectureTable.read(configuration: try JSONValue.parse(bytes), file: name).configuration
        }
        #expect(read[0] == read[1] && read[0].rotaryBase == 1_000_000)
    }
}
