import CheckpointIO
import Models
import TensorCore

/// The `config.json` and `generation_config.json` that a Hugging Face directory needs, from a model read elsewhere.
enum HuggingFaceConfiguration {
    /// Original context lengths that a Llama 3 scaling is looked for among (tokens).
    private static let originalContexts = [2048, 4096, 8192, 16384, 32768, 65536, 131_072]
    /// Llama 3's band between scaled and unscaled frequencies, the same in all its releases.
    private static let (lowFrequencyFactor, highFrequencyFactor) = (1.0, 4.0)
    /// Frequencies agree if they differ by no more than this part: float32 rounding, with room for a stored factor's.
    private static let frequencyTolerance: Float = 1e-5

    /// `config.json` of `model` in `dtype`, which reads back as the same model.
    ///
    /// `recorded` is the `rope_scaling` that the file has as JSON, taken if the model's frequencies are what it gives.
    /// Throws `TransformError.unsupported` for rotary factors that no scaling of Hugging Face's gives.
    static func config(
        of model: LlamaConfiguration, dtype: DType, tiedEmbeddings: Bool, paddingTokenID: Int?,
        recorded: String? = nil, file: String
    ) throws -> JSONValue {
        let json = config(
            of: model, dtype: dtype, tiedEmbeddings: tiedEmbeddings, paddingTokenID: paddingTokenID)
        return try adding(
            model.rotaryScaling, model.inverseFrequencies, to: json, recorded: recorded, file: file)
    }

    /// `config` with the `rope_scaling` that gives these frequencies; throws `TransformError.unsupported` if there is
    /// none.
    static func adding(
        _ scaling: RotaryScaling, _ frequencies: [Float], to config: JSONObject, recorded: String? = nil, file: String
    ) throws -> JSONValue {
        var config = config
        if let recorded, let json = try? JSONValue.parse(Array(recorded.utf8)), json.objectValue != nil {
            config["rope_scaling"] = json
            // Another program may have changed the factors, or the text.
            if let read = try? LlamaConfiguration(configuration: .object(config), file: "config.json"),
                agree(read.inverseFrequencies, frequencies)
            {
                return .object(config)
            }
        }
        for candidate in candidates(for: scaling) {
            config["rope_scaling"] = candidate
            let read = try LlamaConfiguration(configuration: .object(config), file: "config.json")
            if agree(read.inverseFrequencies, frequencies) { return .object(config) }
        }
        throw TransformError.unsupported(
            path: file,
            reason:
                "its rotary factors (rope_freqs.weight) are no 'linear' or 'llama3' scaling that config.json can say")
    }

    /// `generation_config.json` of `model`, with what a GGUF file's metadata recommend to sample by.
    static func generation(
        of model: LlamaConfiguration, paddingTokenID: Int?, metadata: GGUFMetadata
    ) -> JSONValue {
        var sampling: JSONObject = [:]
        sampling["top_k"] = metadata[GGUFModelMetadata.topKey]?.intValue.map { .integer($0) }
        for (name, key) in GGUFModelMetadata.samplingNumbers {
            sampling[name] = metadata[key]?.doubleValue.map { .real(Float($0)) }
        }
        // transformers makes a configuration anew from the model's if that is said to be its source, and takes no
        // notice of the numbers, or refuses to save them, where 'do_sample' is false.
        var members = sampling
        if sampling.members.isEmpty { members["_from_model_config"] = .bool(true) }
        if sampling.members.contains(where: { $0.key != "repetition_penalty" }) { members["do_sample"] = .bool(true) }
        members["bos_token_id"] = model.bosTokenID.map { .integer($0) }
        members["eos_token_id"] = endTokens(model)
        members["pad_token_id"] = paddingTokenID.map { .integer($0) }
        return .object(members)
    }

    private static func config(
        of model: LlamaConfiguration, dtype: DType, tiedEmbeddings: Bool, paddingTokenID: Int?
    ) -> JSONObject {
        [
            "architectures": .array([.string("LlamaForCausalLM")]),
            "attention_bias": .bool(model.hasAttentionBias),
            "attention_dropout": .number("0.0"),
            "bos_token_id": model.bosTokenID.map { .integer($0) } ?? .null,
            "eos_token_id": endTokens(model) ?? .null,
            "head_dim": .integer(model.headSize),
            "hidden_act": .string("silu"),
            "hidden_size": .integer(model.hiddenSize),
            "initializer_range": .number("0.02"),
            "intermediate_size": .integer(model.intermediateSize),
            "max_position_embeddings": .integer(model.maximumPositions),
            "mlp_bias": .bool(model.hasMLPBias),
            "model_type": .string("llama"),
            "num_attention_heads": .integer(model.headCount),
            "num_hidden_layers": .integer(model.layerCount),
            "num_key_value_heads": .integer(model.keyValueHeadCount),
            "pad_token_id": paddingTokenID.map { .integer($0) } ?? .null,
            "pretraining_tp": .integer(1),
            "rms_norm_eps": .real(model.rmsNormEpsilon),
            "rope_theta": .real(model.rotaryBase),
            "tie_word_embeddings": .bool(tiedEmbeddings),
            "torch_dtype": .string(dtype.torchName),
            "use_cache": .bool(true),
            "vocab_size": .integer(model.vocabularySize),
        ]
    }

    private static func endTokens(_ model: LlamaConfiguration) -> JSONValue? {
        switch model.eosTokenIDs.count {
        case 0: nil
        case 1: .integer(model.eosTokenIDs[0])
        default: .array(model.eosTokenIDs.map { .integer($0) })
        }
    }

    /// What `rope_scaling` may say to give a scaling's frequencies, likeliest first.
    private static func candidates(for scaling: RotaryScaling) -> [JSONValue] {
        switch scaling {
        case .standard: return [.null]
        case .linear(let factor): return [.object(["rope_type": .string("linear"), "factor": .real(factor)])]
        case .llama3(let factor, let low, let high, let original):
            return [llama3(factor: factor, low: low, high: high, original: original)]
        case .factors(let factors):
            // The slowest pair is divided by the whole factor.
            guard let factor = factors.max() else { return [.null] }
            return [.null, .object(["rope_type": .string("linear"), "factor": .real(factor)])]
                + originalContexts.map {
                    llama3(
                        factor: Double(factor), low: lowFrequencyFactor, high: highFrequencyFactor, original: $0)
                }
        }
    }

    /// `rope_scaling` as Llama 3 has it; `original` in tokens.
    static func llama3(factor: Double, low: Double, high: Double, original: Int) -> JSONValue {
        .object([
            "factor": .real(factor), "high_freq_factor": .real(high), "low_freq_factor": .real(low),
            "original_max_position_embeddings": .integer(original), "rope_type": .string("llama3"),
        ])
    }

    private static func agree(_ left: [Float], _ right: [Float]) -> Bool {
        left.count == right.count
            && zip(left, right).allSatisfy { abs($0 - $1) <= frequencyTolerance * max(abs($0), abs($1)) }
    }
}
