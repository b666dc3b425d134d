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
    private enum Defaults {
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

extension LlamaConfiguration {
    /// Reads the metadata of a GGUF checkpoint; tensors say what it does not (tying, biases, rotary factors).
    init(gguf checkpoint: Checkpoint) throws {
        guard let metadata = checkpoint.metadata else { throw ModelError.missingConfiguration(file: checkpoint.path) }
        let fields = GGUFFields(file: checkpoint.path, metadata: metadata)
        guard let architecture = metadata["general.architecture"]?.stringValue else {
            throw fields.bad("general.architecture", "a string", "missing")
        }
        guard architecture == "llama" else {
            throw ModelError.unknownArchitecture(file: checkpoint.path, name: architecture)
        }
        try Self.refuseUnsupported(fields)
        hiddenSize = try fields.requiredPositiveInteger("llama.embedding_length")
        layerCount = try fields.requiredPositiveInteger("llama.block_count")
        intermediateSize = try fields.requiredPositiveInteger("llama.feed_forward_length")
        headCount = try fields.requiredPositiveInteger("llama.attention.head_count")
        keyValueHeadCount = try fields.positiveInteger("llama.attention.head_count_kv") ?? headCount
        maximumPositions = try fields.requiredPositiveInteger("llama.context_length")
        if let given = try fields.positiveInteger("llama.attention.key_length") {
            headSize = given
        } else {
            guard hiddenSize % headCount == 0 else {
                throw fields.bad("llama.attention.head_count", "a divisor of \(hiddenSize)", "\(headCount)")
            }
            headSize = hiddenSize / headCount
        }
        for key in ["llama.attention.value_length", "llama.rope.dimension_count"] {
            if let size = try fields.positiveInteger(key), size != headSize {
                throw fields.unsupported(key, "\(size)", "the size of a head, \(headSize)")
            }
        }
        rmsNormEpsilon = Float(try fields.requiredPositiveNumber("llama.attention.layer_norm_rms_epsilon"))
        rotaryBase = try fields.positiveNumber("llama.rope.freq_base") ?? Defaults.rotaryBase
        rotaryScaling = try Self.rotaryScaling(fields, checkpoint, pairs: headSize / 2)
        let embedding = CheckpointNames.gguf(of: CheckpointNames.embedding)!
        guard let rows = checkpoint.record(embedding)?.shape.first else {
            throw ModelError.missingTensor(file: checkpoint.path, tensor: embedding, shape: [hiddenSize])
        }
        vocabularySize = rows
        tiedEmbeddings = checkpoint.record(CheckpointNames.gguf(of: CheckpointNames.outputHead)!) == nil
        // llama.cpp uses a bias wherever there is one; the checks of the tensors then demand them in every layer.
        hasAttentionBias = checkpoint.record("blk.0.attn_q.bias") != nil
        hasMLPBias = checkpoint.record("blk.0.ffn_up.bias") != nil
        bosTokenID = metadata["tokenizer.ggml.bos_token_id"]?.intValue
        var ends: [Int] = []
        for key in ["tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"] {
            if let id = metadata[key]?.intValue, !ends.contains(id) { ends.append(id) }
        }
        eosTokenIDs = ends
        self.architecture = architecture
        guard headCount % keyValueHeadCount == 0 else {
            throw fields.bad(
                "llama.attention.head_count_kv", "a divisor of the \(headCount) query heads", "\(keyValueHeadCount)")
        }
        guard headSize % 2 == 0 else {
            throw fields.bad("llama.attention.key_length", "an even number", "\(headSize)")
        }
    }

    private static func refuseUnsupported(_ fields: GGUFFields) throws(ModelError) {
        if let experts = fields.metadata["llama.expert_count"]?.intValue, experts > 0 {
            throw fields.unsupported("llama.expert_count", "\(experts)", "models without experts")
        }
        for key in ["llama.attention.scale", "llama.logit_scale", "llama.residual_scale", "llama.embedding_scale"] {
            if let scale = fields.metadata[key]?.doubleValue, scale != 0 {
                throw fields.unsupported(key, "\(scale)", "models without it")
            }
        }
        if let window = try fields.positiveInteger("llama.attention.sliding_window"),
            window < (try fields.requiredPositiveInteger("llama.context_length"))
        {
            throw fields.unsupported("llama.attention.sliding_window", "\(window)", "models without a sliding window")
        }
    }

    private static func rotaryScaling(
        _ fields: GGUFFields, _ checkpoint: Checkpoint, pairs: Int
    ) throws -> RotaryScaling {
        // llama.cpp takes linear scaling where the type is not named, and a factor of 0 for 1.
        let name = fields.metadata["llama.rope.scaling.type"]?.stringValue ?? "linear"
        guard name == "none" || name == "linear" else {
            throw fields.unsupported("llama.rope.scaling.type", "'\(name)'", "none, linear and rope_freqs.weight")
        }
        var factor = 1.0
        // The second is the name from before the first.
        let factorKeys = ["llama.rope.scaling.factor", "llama.rope.scale_linear"]
        if name == "linear", let key = factorKeys.first(where: { fields.metadata[$0] != nil }),
            fields.metadata[key]?.doubleValue != 0
        {
            factor = try fields.requiredPositiveNumber(key)
        }
        let isLinear = factor != 1
        guard let record = checkpoint.record(CheckpointNames.ggufRotaryFactors) else {
            return isLinear ? .linear(factor: factor) : .standard
        }
        guard !isLinear else {
            throw fields.unsupported(
                "llama.rope.scaling.factor", "\(factor) beside \(record.name)", "one of the two")
        }
        guard record.shape == [pairs] else {
            throw ModelError.wrongShape(
                file: checkpoint.path, tensor: record.name, expected: [pairs], found: record.shape)
        }
        let factors = try checkpoint.floats(of: record)
        guard factors.allSatisfy({ $0 > 0 && $0.isFinite }) else {
            throw fields.bad(record.name, "positive numbers", "\(factors)")
        }
        return .factors(factors)
    }
}

/// The metadata of a GGUF file, read with checks.
private struct GGUFFields {
    let file: String
    let metadata: GGUFMetadata

    func bad(_ key: String, _ expected: String, _ found: String) -> ModelError {
        .badConfiguration(file: file, key: key, expected: expected, found: found)
    }

    func unsupported(_ key: String, _ found: String, _ supported: String) -> ModelError {
        .unsupportedConfiguration(file: file, key: key, found: found, supported: supported)
    }

    /// A size; an array of equal sizes, one a layer, counts as one.
    func positiveInteger(_ key: String) throws(ModelError) -> Int? {
        guard let value = metadata[key] else { return nil }
        var integer = value.intValue
        if let list = value.integerArray {
            guard let first = list.first, list.allSatisfy({ $0 == first }) else {
                throw unsupported(key, "different from layer to layer", "layers of one shape")
            }
            integer = Int(first)
        }
        guard let integer, integer > 0, integer <= Int(Int32.max) else {
            throw bad(key, "an integer from 1 to \(Int32.max)", "\(value)")
        }
        return integer
    }

    func requiredPositiveInteger(_ key: String) throws(ModelError) -> Int {
        guard let value = try positiveInteger(key) else { throw bad(key, "a positive integer", "missing") }
        return value
    }

    func positiveNumber(_ key: String) throws(ModelError) -> Double? {
        guard let value = metadata[key] else { return nil }
        guard let number = value.doubleValue, number > 0, number.isFinite else {
            throw bad(key, "a positive number", "\(value)")
        }
        return number
    }

    func requiredPositiveNumber(_ key: String) throws(ModelError) -> Double {
        guard let value = try positiveNumber(key) else { throw bad(key, "a positive number", "missing") }
        return value
    }
}
