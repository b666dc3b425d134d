import CheckpointIO
import Glibc
import TensorCore

/// The facts of a model as its checkpoint tells them, in `config.json` or in GGUF metadata: one reader for both, so that
/// an architecture names each field once.
package struct ModelFields {
    /// Where the facts stand.
    enum Source {
        case json(JSONConfigurationFields)
        case gguf(GGUFFields)
    }

    let source: Source
    /// The tensors, which tell what the fields do not; nil for a `config.json` by itself.
    let checkpoint: Checkpoint?
    /// What the model's head for sequences is asked for; nil for a model without one.
    var task: SequenceTask?

    /// The fields of a `config.json`.
    ///
    /// - Parameter log: is told of every field that is read.
    init(configuration: JSONValue, file: String, checkpoint: Checkpoint?, log: FieldLog? = nil) {
        source = .json(JSONConfigurationFields(file: file, value: configuration, log: log))
        self.checkpoint = checkpoint
    }

    /// The fields of a GGUF file.
    init(metadata: GGUFMetadata, checkpoint: Checkpoint) {
        source = .gguf(GGUFFields(file: checkpoint.path, metadata: metadata))
        self.checkpoint = checkpoint
    }

    /// The fields of `config.json`, where it is that.
    var json: JSONConfigurationFields? { if case .json(let json) = source { json } else { nil } }
    /// The metadata of a GGUF file, where it is that.
    var gguf: GGUFFields? { if case .gguf(let gguf) = source { gguf } else { nil } }

    private var values: any FieldSource {
        switch source {
        case .json(let json): json
        case .gguf(let gguf): gguf
        }
    }

    /// The file, for messages.
    var file: String { values.file }

    /// What the file calls a field.
    func key(of field: Field) -> String { values.key(of: field) }

    /// The error for a value that is missing or unsound.
    func bad(_ field: Field, _ expected: String, _ found: String) -> ModelError {
        values.bad(key(of: field), expected, found)
    }

    /// The error for a value of `config.json`, or of its key in GGUF metadata, that asks for what is not built.
    func unsupported(_ key: String, _ found: String, _ supported: String) -> ModelError {
        values.unsupported(key, found, supported)
    }

    /// The error for a value that asks for what is not built.
    func unsupported(_ field: Field, _ found: String, _ supported: String) -> ModelError {
        values.unsupported(key(of: field), found, supported)
    }

    /// A size that must be given.
    func size(_ field: Field) throws(ModelError) -> Int { try values.requiredPositiveInteger(key(of: field)) }

    /// A size that may be missing: nil then, but for what transformers assumes where `config.json` has not even the key.
    func optionalSize(_ field: Field, assumed: Int? = nil) throws(ModelError) -> Int? {
        if let value = try values.positiveInteger(key(of: field)) { return value }
        guard let json, !json.hasKey(key(of: field)) else { return nil }
        return assumed
    }

    /// A size that GGUF must give and for which transformers assumes something where `config.json` is silent.
    func size(_ field: Field, assumed: Int) throws(ModelError) -> Int {
        guard let json else { return try size(field) }
        return try json.positiveInteger(key(of: field)) ?? assumed
    }

    /// A number that GGUF must give and for which transformers assumes something where `config.json` is silent.
    func number(_ field: Field, assumed: Double) throws(ModelError) -> Double {
        guard let json else { return try values.requiredPositiveNumber(key(of: field)) }
        return try json.positiveNumber(key(of: field)) ?? assumed
    }

    /// A number that may be missing.
    func optionalNumber(_ field: Field) throws(ModelError) -> Double? { try values.positiveNumber(key(of: field)) }

    /// Whether modules have a bias: as a flag of `config.json` says, or else as one of them has in layer 0 of a GGUF
    /// file. llama.cpp uses a bias wherever there is one; the checks of the tensors then demand them in every layer.
    func hasBias(flag: String, _ part: ModulePart, assumed: Bool = false) throws(ModelError) -> Bool {
        if let json { return try json.flag(flag) ?? assumed }
        return checkpoint?.record(ModulePart.Kind.bias.name(of: part.gguf(layer: 0))) != nil
    }

    /// Tokens that have an embedding.
    func vocabularySize(hiddenSize: Int, assumed: Int? = nil) throws(ModelError) -> Int {
        if let json {
            if let assumed, !json.isPresent("vocab_size") { return assumed }
            return try json.requiredPositiveInteger("vocab_size")
        }
        let name = ModulePart.Kind.weight.name(of: ModulePart.embedding.gguf)
        guard let rows = checkpoint?.record(name)?.shape.first else {
            throw .missingTensor(file: file, tensor: name, shape: [hiddenSize])
        }
        return rows
    }

    /// Whether the output head is the embedding: as `tie_word_embeddings` says unless the tensors say otherwise; in a
    /// GGUF file, whether there is no head.
    ///
    /// As transformers does: a head that is there and differs from the embedding is not tied, whatever config.json says.
    func tiesEmbeddings(assumed: Bool = false) throws -> Bool {
        let head = ModulePart.outputHead
        if gguf != nil { return checkpoint?.record(ModulePart.Kind.weight.name(of: head.gguf)) == nil }
        guard try json?.flag("tie_word_embeddings") ?? assumed else { return false }
        guard let checkpoint,
            let head = checkpoint.record(ModulePart.Kind.weight.name(of: head.path)),
            let embedding = checkpoint.record(ModulePart.Kind.weight.name(of: ModulePart.embedding.path))
        else { return true }
        guard head.encoding == embedding.encoding, head.shape == embedding.shape else { return false }
        return try checkpoint.withBytes(of: head) { left in
            try checkpoint.withBytes(of: embedding) { right in
                left.count == 0 || memcmp(left.baseAddress!, right.baseAddress!, left.count) == 0
            }
        }
    }

    // MARK: Refusals

    /// Refuses weights that another program has quantized, and any activation but those of these names, of which the
    /// first is taken where nothing is said.
    ///
    /// - Parameter decoding: the ways of quantizing, by `quant_method`, that the architecture decodes.
    func refuseUnknownForms(
        activations: [String] = ["silu", "swish"], key: String = "hidden_act", decoding: [String] = []
    ) throws(ModelError) {
        guard let json else { return }
        for key in ["quantization", "quantization_config"] {
            guard let fields = json.member(key) else { continue }
            if let method = fields["quant_method"]?.stringValue, decoding.contains(method) { continue }
            var object = JSONObject()
            object[key] = fields
            let packed = PackedQuantization(configuration: .object(object))
            throw json.unsupported(
                key, packed?.words ?? "of a kind that is not known",
                "F32, F16 and BF16 weights, or GGUF" + (packed.map { "; \($0.remedy)" } ?? ""))
        }
        if let activation = try json.string(key), !activations.contains(activation) {
            throw json.unsupported(key, "'\(activation)'", activations[0])
        }
    }

    /// Refuses GGUF files whose metadata ask for experts, for scales of scores, residuals, embeddings or logits, or for
    /// a sliding window that a sequence could outgrow.
    func refuseExpertsScalesAndWindows() throws(ModelError) {
        try refuseExperts()
        try refuseScales()
        try refuseWindow()
    }

    /// Refuses GGUF files whose metadata ask for experts.
    func refuseExperts() throws(ModelError) {
        guard let gguf else { return }
        let key = gguf.prefix + "expert_count"
        if let experts = gguf.metadata[key]?.integer(in: .anything), experts != 0 {
            throw gguf.unsupported(key, "\(experts)", "models without experts")
        }
    }

    /// Refuses GGUF files whose metadata ask for scales of scores, residuals, embeddings or logits.
    func refuseScales() throws(ModelError) {
        guard let gguf else { return }
        let prefix = gguf.prefix
        for key in ["attention.scale", "logit_scale", "residual_scale", "embedding_scale"].map({ prefix + $0 }) {
            if let scale = gguf.metadata[key]?.doubleValue, scale != 0 {
                throw gguf.unsupported(key, "\(scale)", "models without it")
            }
        }
    }

    /// Refuses a GGUF file with a sliding window that a sequence could outgrow.
    func refuseWindow() throws(ModelError) {
        guard let gguf else { return }
        let key = gguf.prefix + "attention.sliding_window"
        if let window = try gguf.positiveInteger(key), window < (try size(.maximumPositions)) {
            throw gguf.unsupported(key, "\(window)", "models without a sliding window")
        }
    }
}
