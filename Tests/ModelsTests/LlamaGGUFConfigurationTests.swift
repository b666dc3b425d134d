import CheckpointIO
import Models
import TensorCore
import TestSupport
import Testing

private func read(
    _ model: SmallModel = SmallModel(), _ change: (inout GGUFBuilder) -> Void
) throws -> ModelConfiguration {
    try withTemporaryFolder { folder in
        try model.writeGGUF(to: folder + "/m.gguf", change)
        return try ModelCheckpoint.open(folder + "/m.gguf").configuration
    }
}

@Test func ggufMetadataIsRead() throws {
    let configuration = try read { builder in
        builder.add("llama.rope.freq_base", float: 500)
        builder.add("tokenizer.ggml.bos_token_id", integer: 3)
        builder.add("tokenizer.ggml.eos_token_id", integer: 4)
        builder.add("tokenizer.ggml.eot_token_id", integer: 5)
    }
    #expect(configuration.hiddenSize == 8 && configuration.headSize == 4 && configuration.keyValueHeadCount == 2)
    #expect(configuration.vocabularySize == 10 && configuration.rotaryBase == 500)
    #expect(configuration.bosTokenID == 3 && configuration.eosTokenIDs == [4, 5])
    #expect(configuration.rotaryScaling == .standard && !configuration.tiedEmbeddings)
}

@Test func ggufWithoutAnOutputMatrixIsTied() throws {
    var model = SmallModel()
    model.remove("lm_head.weight")
    #expect(try read(model) { _ in }.tiedEmbeddings)
}

@Test func ggufRotaryScalingIsReadAsLlamaCppDoes() throws {
    func linear(_ type: String?, _ key: String, _ factor: Float) throws -> RotaryScaling {
        try read { builder in
            if let type { builder.add("llama.rope.scaling.type", text: type) }
            builder.add(key, float: factor)
        }.rotaryScaling
    }
    #expect(try linear("linear", "llama.rope.scaling.factor", 4) == .linear(factor: 4))
    #expect(try linear(nil, "llama.rope.scaling.factor", 4) == .linear(factor: 4))
    #expect(try linear(nil, "llama.rope.scale_linear", 4) == .linear(factor: 4))
    #expect(try linear("none", "llama.rope.scaling.factor", 4) == .standard)
    #expect(try linear("linear", "llama.rope.scaling.factor", 0) == .standard)
    let error = try #require(throws: ModelError.self) { try linear("longrope", "llama.rope.scaling.factor", 4) }
    #expect(error.exitStatus == .unsupported && error.description.contains("longrope"))
    // Of a yarn the first context must be there.
    let incomplete = try #require(throws: ModelError.self) { try linear("yarn", "llama.rope.scaling.factor", 4) }
    #expect(incomplete.exitStatus == .badData && incomplete.description.contains("original_context_length"))
}

@Test func ggufRotaryFactorsAreRead() throws {
    let configuration = try read { $0.addTensor("rope_freqs.weight", shape: [2], floats: [1, 8]) }
    #expect(configuration.rotaryScaling == .factors([1, 8]))
    for bad in [[1], [1, 2, 3], [1, 0], [1, -.infinity]] as [[Float]] {
        #expect(throws: ModelError.self) {
            try read { $0.addTensor("rope_freqs.weight", shape: [bad.count], floats: bad) }
        }
    }
    #expect(throws: ModelError.self) {
        try read { builder in
            builder.add("llama.rope.scaling.factor", float: 2)
            builder.addTensor("rope_freqs.weight", shape: [2], floats: [1, 8])
        }
    }
}

@Test func ggufThatTheGraphCannotRunIsUnsupported() throws {
    let changes: [(String, @Sendable (inout GGUFBuilder) -> Void)] = [
        ("llama.expert_count", { $0.add("llama.expert_count", integer: 8) }),
        ("llama.attention.scale", { $0.add("llama.attention.scale", float: 0.5) }),
        ("llama.rope.dimension_count", { $0.add("llama.rope.dimension_count", integer: 2) }),
        ("llama.attention.value_length", { $0.add("llama.attention.value_length", integer: 8) }),
    ]
    for (key, change) in changes {
        let error = try #require(throws: ModelError.self) { try read(SmallModel(), change) }
        #expect(error.exitStatus == .unsupported && error.description.contains(key), "\(error)")
    }
}

@Test func ggufOfAnotherArchitectureIsNamed() throws {
    try withTemporaryFolder { folder in
        var builder = GGUFBuilder()
        builder.add("general.architecture", text: "mamba")
        try writeFile(folder + "/m.gguf", builder.file)
        let error = try #require(throws: ModelError.self) { try ModelCheckpoint.open(folder + "/m.gguf").configuration }
        #expect(
            error
                == .noGraph(file: folder + "/m.gguf", name: "mamba", purpose: ModelCheckpoint.computing))
        try writeFile(folder + "/m.gguf", GGUFBuilder().file)
        #expect(throws: ModelError.self) { try ModelCheckpoint.open(folder + "/m.gguf").configuration }
    }
}

@Test func ggufSizesThatAreMissingOrUnsoundAreNamed() throws {
    try withTemporaryFolder { folder in
        var builder = GGUFBuilder()
        builder.add("general.architecture", text: "llama")
        try writeFile(folder + "/m.gguf", builder.file)
        let missing = try #require(throws: ModelError.self) {
            try ModelCheckpoint.open(folder + "/m.gguf").configuration
        }
        #expect(missing.description.contains("'llama.embedding_length' is missing"), "\(missing)")
        builder.add("llama.embedding_length", text: "wide")
        try writeFile(folder + "/m.gguf", builder.file)
        let unsound = try #require(throws: ModelError.self) {
            try ModelCheckpoint.open(folder + "/m.gguf").configuration
        }
        #expect(unsound.exitStatus == .badData && unsound.description.contains("llama.embedding_length"))
    }
}
