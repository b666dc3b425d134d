import CheckpointIO

/// The sizes and constants of a Llama-family model, read from a checkpoint and checked.
package struct LlamaConfiguration: Sendable, Equatable {
    /// Tokens that have an embedding.
    package let vocabularySize: Int
    /// Width of the residual stream.
    package let hiddenSize: Int
    /// Width inside the MLP.
    package let intermediateSize: Int
    /// Decoder layers.
    package let layerCount: Int
    /// Query heads.
    package let headCount: Int
    /// Key/value heads; divides `headCount`.
    package let keyValueHeadCount: Int
    /// Width of one head; even.
    package let headSize: Int
    /// The longest sequence that the model was made for, in tokens.
    package let maximumPositions: Int
    /// What RMSNorm adds to the mean square.
    package let rmsNormEpsilon: Float
    /// The base of the rotary frequencies.
    package let rotaryBase: Double
    /// How the rotary frequencies are changed.
    package let rotaryScaling: RotaryScaling
    /// Whether the output head is the embedding matrix.
    package let tiedEmbeddings: Bool
    /// Whether the attention projections q, k, v and o have biases.
    package let hasAttentionBias: Bool
    /// Whether the MLP projections have biases.
    package let hasMLPBias: Bool
    /// The token that begins a sequence, where there is one.
    package let bosTokenID: Int?
    /// The tokens that end a sequence.
    package let eosTokenIDs: [Int]
    /// The architecture as the checkpoint names it, such as `llama`.
    package let architecture: String

    /// The architectures that share the Llama graph.
    package static let knownArchitectures = ["llama", "mistral (without a sliding window)"]

    /// Width of all query heads together.
    package var querySize: Int { headCount * headSize }
    /// Width of all key (or value) heads together.
    package var keyValueSize: Int { keyValueHeadCount * headSize }
}

extension LlamaConfiguration {
    /// What transformers assumes where `config.json` is silent.
    enum Defaults {
        static let rmsNormEpsilon = 1e-6
        static let rotaryBase = 10_000.0
        static let llamaPositions = 2048
        static let mistralPositions = 4096 * 32
        static let mistralKeyValueHeads = 8
        static let bosTokenID = 1
        static let eosTokenID = 2
    }

    /// Reads a Hugging Face `config.json`; `file` names it in messages.
    ///
    /// `embeddingsAreTied` overrides `tie_word_embeddings`, for a checkpoint whose tensors say otherwise.
    package init(
        configuration: JSONValue, file: String, embeddingsAreTied: Bool? = nil
    ) throws {
        let fields = ConfigurationFields(file: file, value: configuration)
        let isMistral = try Self.checkArchitecture(fields)
        try Self.refuseUnsupported(fields, isMistral: isMistral)
        let hiddenSize = try fields.requiredPositiveInteger("hidden_size")
        let headCount = try fields.requiredPositiveInteger("num_attention_heads")
        let maximumPositions =
            try fields.positiveInteger("max_position_embeddings")
            ?? (isMistral ? Defaults.mistralPositions : Defaults.llamaPositions)
        let keyValueHeadCount = try fields.positiveInteger("num_key_value_heads")
        let rotary = try RotaryScaling.read(
            fields, defaultBase: Defaults.rotaryBase, maximumPositions: maximumPositions)
        if isMistral, let window = try fields.positiveInteger("sliding_window"), window < maximumPositions {
            throw fields.unsupported(
                "sliding_window", "\(window)", "null or a window not below max_position_embeddings")
        }
        self.hiddenSize = hiddenSize
        self.headCount = headCount
        self.maximumPositions = maximumPositions
        self.keyValueHeadCount =
            keyValueHeadCount
            ?? (isMistral && !fields.hasKey("num_key_value_heads") ? Defaults.mistralKeyValueHeads : headCount)
        headSize = try Self.headSize(try fields.positiveInteger("head_dim"), hiddenSize, headCount, fields)
        vocabularySize = try fields.requiredPositiveInteger("vocab_size")
        intermediateSize = try fields.requiredPositiveInteger("intermediate_size")
        layerCount = try fields.requiredPositiveInteger("num_hidden_layers")
        rmsNormEpsilon = Float(try fields.positiveNumber("rms_norm_eps") ?? Defaults.rmsNormEpsilon)
        rotaryBase = rotary.base
        rotaryScaling = rotary.scaling
        tiedEmbeddings = try embeddingsAreTied ?? fields.flag("tie_word_embeddings") ?? false
        hasAttentionBias = try !isMistral && fields.flag("attention_bias") ?? false
        hasMLPBias = try !isMistral && fields.flag("mlp_bias") ?? false
        bosTokenID =
            fields.hasKey("bos_token_id") ? try fields.tokenIDs("bos_token_id").first : Defaults.bosTokenID
        eosTokenIDs = fields.hasKey("eos_token_id") ? try fields.tokenIDs("eos_token_id") : [Defaults.eosTokenID]
        architecture = isMistral ? "mistral" : "llama"
        try checkHeads(fields, "num_key_value_heads", "head_dim")
    }

    /// Whether `tie_word_embeddings` asks for tying; for callers that must look at the tensors too.
    static func asksForTiedEmbeddings(_ configuration: JSONValue) -> Bool {
        configuration["tie_word_embeddings"]?.boolValue ?? false
    }

    /// True for Mistral, false for Llama; throws for anything else.
    private static func checkArchitecture(_ fields: ConfigurationFields) throws(ModelError) -> Bool {
        let classes = fields.member("architectures")?.arrayValue?.compactMap(\.stringValue) ?? []
        let name = try fields.string("model_type") ?? classes.first ?? "(no model_type)"
        switch (name, classes.first) {
        case ("llama", nil), ("llama", "LlamaForCausalLM"), ("LlamaForCausalLM", _): return false
        case ("mistral", nil), ("mistral", "MistralForCausalLM"), ("MistralForCausalLM", _): return true
        case ("llama", .some(let head)), ("mistral", .some(let head)):
            throw .unknownArchitecture(file: fields.file, name: head)
        default: throw .unknownArchitecture(file: fields.file, name: name)
        }
    }

    private static func refuseUnsupported(_ fields: ConfigurationFields, isMistral: Bool) throws(ModelError) {
        if let quantization = fields.member("quantization_config") {
            let method = quantization["quant_method"]?.stringValue ?? "unnamed"
            throw fields.unsupported("quantization_config", "'\(method)'", "F32, F16 and BF16 weights, or GGUF")
        }
        let activation = try fields.string("hidden_act") ?? "silu"
        guard activation == "silu" || activation == "swish" else {
            throw fields.unsupported("hidden_act", "'\(activation)'", "silu")
        }
        if isMistral, !fields.hasKey("sliding_window") {
            // transformers then assumes a window of 4096, which this graph has not.
            throw fields.unsupported("sliding_window", "missing", "an explicit null")
        }
    }

    private static func headSize(
        _ given: Int?, _ hiddenSize: Int, _ headCount: Int, _ fields: ConfigurationFields
    ) throws(ModelError) -> Int {
        if let given { return given }
        guard hiddenSize % headCount == 0 else {
            throw fields.bad("num_attention_heads", "a divisor of hidden_size, \(hiddenSize)", "\(headCount)")
        }
        return hiddenSize / headCount
    }

    private func checkHeads(
        _ fields: ConfigurationFields, _ keyValueKey: String, _ headSizeKey: String
    ) throws(ModelError) {
        guard headCount % keyValueHeadCount == 0 else {
            throw fields.bad(keyValueKey, "a divisor of the \(headCount) query heads", "\(keyValueHeadCount)")
        }
        guard headSize % 2 == 0 else {
            throw fields.bad(headSizeKey, "an even number (rotary embeddings work on pairs)", "\(headSize)")
        }
    }
}
