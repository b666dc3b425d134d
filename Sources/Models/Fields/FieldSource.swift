/// A fact of a model that both kinds of checkpoints tell, each under a key of its own.
package struct Field: Sendable {
    /// The key in `config.json`.
    let json: String
    /// The key in GGUF metadata, behind the architecture's name and a dot.
    let gguf: String

    init(_ json: String, gguf: String) {
        self.json = json
        self.gguf = gguf
    }
}

/// The fields that most decoders have.
extension Field {
    static let hiddenSize = Field("hidden_size", gguf: "embedding_length")
    static let intermediateSize = Field("intermediate_size", gguf: "feed_forward_length")
    static let layerCount = Field("num_hidden_layers", gguf: "block_count")
    static let headCount = Field("num_attention_heads", gguf: "attention.head_count")
    static let keyValueHeadCount = Field("num_key_value_heads", gguf: "attention.head_count_kv")
    static let headSize = Field("head_dim", gguf: "attention.key_length")
    static let maximumPositions = Field("max_position_embeddings", gguf: "context_length")
    static let normEpsilon = Field("rms_norm_eps", gguf: "attention.layer_norm_rms_epsilon")
    static let rotaryBase = Field("rope_theta", gguf: "rope.freq_base")
}

/// What facts are read from: `config.json` or GGUF metadata.
protocol FieldSource {
    /// The file, for messages.
    var file: String { get }
    /// What this source calls a field.
    func key(of field: Field) -> String
    /// The error for a value that is missing or unsound.
    func bad(_ key: String, _ expected: String, _ found: String) -> ModelError
    /// The error for a value that asks for what is not built.
    func unsupported(_ key: String, _ found: String, _ supported: String) -> ModelError
    /// A size; nil where there is none.
    func positiveInteger(_ key: String) throws(ModelError) -> Int?
    /// A number; nil where there is none.
    func positiveNumber(_ key: String) throws(ModelError) -> Double?
}

extension FieldSource {
    func requiredPositiveInteger(_ key: String) throws(ModelError) -> Int {
        guard let value = try positiveInteger(key) else { throw bad(key, "a positive integer", "missing") }
        return value
    }

    func requiredPositiveNumber(_ key: String) throws(ModelError) -> Double {
        guard let value = try positiveNumber(key) else { throw bad(key, "a positive number", "missing") }
        return value
    }
}
