import CheckpointIO
import Models
import TensorCore
import TestSupport
import Testing

private func configuration(_ text: String) throws -> ModelConfiguration {
    try read(JSONValue.parse(text))
}

private func read(_ json: JSONValue) throws -> ModelConfiguration {
    try ArchitectureTable.read(configuration: json, file: "config.json").configuration
}

/// A `config.json` of the least that is needed, with `more` members.
private func small(_ more: String) -> String {
    #"{"model_type":"llama","hidden_size":8,"intermediate_size":12,"num_hidden_layers":2,"num_attention_heads":2,"#
        + #""vocab_size":10"# + (more.isEmpty ? "}" : "," + more + "}")
}

@Test func silentConfigurationTakesTheDefaultsOfTransformers() throws {
    let read = try configuration(small(""))
    #expect(read.headSize == 4 && read.keyValueHeadCount == 2 && read.maximumPositions == 2048)
    #expect(read.rmsNormEpsilon == 1e-6 && read.rotaryBase == 10000 && read.rotaryScaling == .standard)
    #expect(!read.tiedEmbeddings && !read.hasAttentionBias && !read.hasMLPBias)
    #expect(read.bosTokenID == 1 && read.eosTokenIDs == [2])
    #expect(read.architecture == "llama" && read.querySize == 8 && read.keyValueSize == 8)
}

@Test func everyFieldIsRead() throws {
    let read = try configuration(
        small(
            #""head_dim":16,"num_key_value_heads":1,"max_position_embeddings":64,"rms_norm_eps":1e-5,"#
                + #""tie_word_embeddings":true,"attention_bias":true,"mlp_bias":true,"bos_token_id":null,"#
                + #""eos_token_id":[7,8],"architectures":["LlamaForCausalLM"]"#))
    #expect(read.headSize == 16 && read.keyValueHeadCount == 1 && read.maximumPositions == 64)
    #expect(read.rmsNormEpsilon == 1e-5 && read.tiedEmbeddings && read.hasAttentionBias && read.hasMLPBias)
    #expect(read.bosTokenID == nil && read.eosTokenIDs == [7, 8])
    #expect(read.querySize == 32 && read.keyValueSize == 16)
}

@Test(arguments: [
    (#""rope_parameters":{"rope_theta":500.0,"rope_type":"default"}"#, 500, RotaryScaling.standard),
    (#""rope_parameters":null,"rope_theta":500"#, 500, .standard),
    (#""rope_parameters":{},"rope_theta":500"#, 500, .standard),
    (#""rope_scaling":null,"rope_theta":500"#, 500, .standard),
    (#""rope_scaling":{"type":"linear","factor":2.0},"rope_theta":500"#, 500, .linear(factor: 2)),
    (#""rope_parameters":{"rope_type":"linear","factor":4,"rope_theta":7}"#, 7, .linear(factor: 4)),
    (
        #""rope_scaling":{"type":"linear","factor":2},"rope_parameters":{"rope_type":"default","rope_theta":7}"#, 10000,
        .linear(factor: 2)
    ),
    (
        #""rope_theta":500000.0,"rope_scaling":{"factor":8.0,"low_freq_factor":1.0,"high_freq_factor":4.0,"#
            + #""original_max_position_embeddings":8192,"rope_type":"llama3"}"#, 500000,
        .llama3(factor: 8, lowFrequencyFactor: 1, highFrequencyFactor: 4, originalMaximumPositions: 8192)
    ),
    (
        #""max_position_embeddings":99,"rope_parameters":{"rope_type":"llama3","factor":8,"low_freq_factor":1,"#
            + #""high_freq_factor":4}"#, 10000,
        .llama3(factor: 8, lowFrequencyFactor: 1, highFrequencyFactor: 4, originalMaximumPositions: 99)
    ),
])
func rotarySettingsOfOldAndNewConfigurationsAreRead(_ more: String, _ base: Double, _ scaling: RotaryScaling) throws {
    let read = try configuration(small(more))
    #expect(read.rotaryBase == base && read.rotaryScaling == scaling)
}

@Test(arguments: [
    (#""hidden_size":0"#, "hidden_size"), (#""hidden_size":"8""#, "hidden_size"),
    (#""hidden_size":3000000000"#, "hidden_size"), (#""vocab_size":-1"#, "vocab_size"),
    (#""num_hidden_layers":1.5"#, "num_hidden_layers"), (#""num_attention_heads":3"#, "num_attention_heads"),
    (#""num_key_value_heads":3,"head_dim":4"#, "num_key_value_heads"), (#""head_dim":5"#, "head_dim"),
    (#""rms_norm_eps":0"#, "rms_norm_eps"), (#""rope_theta":-1"#, "rope_theta"),
    (#""tie_word_embeddings":1"#, "tie_word_embeddings"), (#""eos_token_id":"x""#, "eos_token_id"),
    (#""eos_token_id":[1,-2]"#, "eos_token_id"), (#""rope_scaling":3"#, "rope_scaling"),
    (#""rope_scaling":{"type":"linear"}"#, "rope_scaling.factor"),
    (
        #""rope_scaling":{"rope_type":"llama3","factor":8,"low_freq_factor":4,"high_freq_factor":4}"#,
        "rope_scaling.high_freq_factor"
    ),
])
func unsoundValueIsNamed(_ more: String, _ key: String) throws {
    // A key of the least configuration that is given again replaces the first.
    var fields = try JSONValue.parse(small("")).objectValue!
    for (key, value) in try JSONValue.parse("{\(more)}").objectValue!.members { fields[key] = value }
    let error = try #require(throws: ModelError.self) {
        try read(.object(fields))
    }
    #expect(error.exitStatus == .badData)
    #expect(error.description.contains("config.json") && error.description.contains("'\(key)'"), "\(error)")
}

@Test(arguments: ["hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size"])
func missingSizeIsNamed(_ key: String) throws {
    var fields = try JSONValue.parse(small("")).objectValue!
    fields[key] = nil
    let error = try #require(throws: ModelError.self) {
        try read(.object(fields))
    }
    #expect(error.description.contains("'\(key)'") && error.description.contains("missing"))
}

@Test(arguments: [
    (#""hidden_act":"gelu""#, "hidden_act", "gelu"),
    (#""quantization_config":{"quant_method":"gptq"}"#, "quantization_config", "gptq"),
    (#""rope_scaling":{"type":"longrope","factor":2}"#, "rope_type", "longrope"),
    (#""partial_rotary_factor":0.5,"rope_scaling":{"type":"default"}"#, "partial_rotary_factor", "0.5"),
])
func whatTheGraphCannotDoIsUnsupported(_ more: String, _ key: String, _ found: String) throws {
    let error = try #require(throws: ModelError.self) { try configuration(small(more)) }
    #expect(error.exitStatus == .unsupported)
    #expect(error.description.contains(key) && error.description.contains(found), "\(error)")
}

@Test(arguments: [
    (#"{"model_type":"gpt2"}"#, "gpt2"), (#"{"architectures":["FooForCausalLM"]}"#, "FooForCausalLM"),
    (#"{"model_type":"llama","architectures":["LlamaForQuestionAnswering"]}"#, "LlamaForQuestionAnswering"),
    ("{}", "no model_type"),
])
func unknownArchitectureIsNamedWithTheKnownOnes(_ text: String, _ name: String) throws {
    let error = try #require(throws: ModelError.self) { try configuration(text) }
    #expect(error.exitStatus == .unsupported)
    #expect(error.description.contains(name) && error.description.contains("known are llama"), "\(error)")
}

@Test(arguments: [
    (#"{"model_type":"llama","architectures":["Qwen3ForCausalLM"]}"#, "'llama', whose", "that of 'qwen3'"),
    (#"{"model_type":"novel","architectures":["LlamaForCausalLM"]}"#, "'novel', which is not known", "that of 'llama'"),
    (
        #"{"model_type":"llama","architectures":["NovelModel"]}"#, "class is LlamaForCausalLM",
        "'NovelModel', which is not"
    ),
])
func disagreeingNamesAreToldApart(_ text: String, _ type: String, _ className: String) throws {
    let error = try #require(throws: ModelError.self) { try configuration(text) }
    #expect(error.exitStatus == .unsupported)
    for words in ["disagree", "'model_type' says", "'architectures' says", type, className] {
        #expect(error.description.contains(words), "\(error)")
    }
}

@Test func configurationsOfBothLayoutsAgree() throws {
    let directory = try ModelCheckpoint.open(fixture("tiny-llama")).configuration
    let gguf = try ModelCheckpoint.open(fixture("tiny-llama-gguf/tiny-llama-bf16.gguf")).configuration
    #expect(directory == gguf)
    #expect(directory.layerCount == 6 && directory.headSize == 32 && directory.tiedEmbeddings)
}
