import CheckpointIO
import TensorCore

extension LlamaConfiguration {
    /// The key of tspeft's own under which a GGUF file has every token that ends a text (INT32 array), where GGUF's
    /// keys for the ends of a text, a turn and a message, one each, do not say it.
    package static let ggufEndTokensKey = "tspeft.eos_token_ids"
    /// GGUF's own keys for them.
    private static let ggufEndTokenKeys = ["eos", "eot", "eom"].map { "tokenizer.ggml.\($0)_token_id" }

    /// Reads the metadata of a GGUF checkpoint; tensors say what it does not (tying, biases, rotary factors).
    init(gguf checkpoint: Checkpoint) throws {
        guard let metadata = checkpoint.metadata else { throw ModelError.missingConfiguration(file: checkpoint.path) }
        let fields = GGUFFields(file: checkpoint.path, metadata: metadata)
        guard let architecture = metadata["general.architecture"]?.stringValue else {
            throw fields.bad("general.architecture", "a string", "missing")
        }
        guard architecture == "llama" else {
            throw ModelError.unknownArchitecture(
                file: checkpoint.path, name: architecture.beginning(GGUFFields.shownLimit))
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
        eosTokenIDs = try Self.endTokenIDs(fields, vocabularySize: rows)
        self.architecture = architecture
        guard headCount % keyValueHeadCount == 0 else {
            throw fields.bad(
                "llama.attention.head_count_kv", "a divisor of the \(headCount) query heads", "\(keyValueHeadCount)")
        }
        guard headSize % 2 == 0 else {
            throw fields.bad("llama.attention.key_length", "an even number", "\(headSize)")
        }
    }

    private static func endTokenIDs(_ fields: GGUFFields, vocabularySize: Int) throws(ModelError) -> [Int] {
        if let value = fields.metadata[ggufEndTokensKey] {
            guard let count = value.elementCount, count <= vocabularySize, let ids = value.integerArray,
                ids.allSatisfy({ $0 >= 0 && $0 < vocabularySize })
            else {
                throw fields.bad(ggufEndTokensKey, "a list of token ids below \(vocabularySize)", "something else")
            }
            return ids.map(Int.init)
        }
        var ends: [Int] = []
        for key in ggufEndTokenKeys {
            if let id = fields.metadata[key]?.intValue, !ends.contains(id) { ends.append(id) }
        }
        return ends
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
            throw fields.unsupported(
                "llama.rope.scaling.type", "'\(name.beginning(GGUFFields.shownLimit))'",
                "none, linear and rope_freqs.weight")
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

    /// What a message says of a value that may fill the file.
    static func shown(_ value: GGUFValue) -> String {
        if let text = value.stringValue { return "'\(text.beginning(shownLimit))'" }
        if let count = value.elementCount { return "an array of \(count)" }
        return value.intValue.map { "\($0)" } ?? value.doubleValue.map { "\($0)" } ?? "\(value)"
    }

    /// Unicode scalars of a text that a message has room for.
    static let shownLimit = 200

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
            throw bad(key, "an integer from 1 to \(Int32.max)", Self.shown(value))
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
            throw bad(key, "a positive number", Self.shown(value))
        }
        return number
    }

    func requiredPositiveNumber(_ key: String) throws(ModelError) -> Double {
        guard let value = try positiveNumber(key) else { throw bad(key, "a positive number", "missing") }
        return value
    }
}
