import CheckpointIO
import Compute
import TensorCore

/// What encoders have that decoders have not, as `config.json` tells it.
struct EncoderFields {
    /// Dropout of hidden states, of attention's probabilities, and before the head's last layer.
    var hiddenDropout = 0.0
    var attentionDropout = 0.0
    var headDropout = 0.0
    /// The feed-forward network's non-linearity.
    var activation = HiddenActivation.gelu
    /// Kinds of tokens that have an embedding; 0 for none.
    var typeCount = 0

    /// Reads the fields that BERT and the models after it have. `assumedTypes` and `assumedDropout` are what transformers
    /// assumes where they are silent.
    init(_ fields: ModelFields, assumedTypes: Int, assumedDropout: Double = 0.1) throws(ModelError) {
        let json = try fields.requiredJSON()
        try fields.refuseUnknownForms(activations: HiddenActivation.names, key: "hidden_act")
        hiddenDropout = try json.share("hidden_dropout_prob") ?? assumedDropout
        attentionDropout = try json.share("attention_probs_dropout_prob") ?? assumedDropout
        headDropout = try json.share("classifier_dropout") ?? hiddenDropout
        activation = try json.activation("hidden_act") ?? .gelu
        let types = try json.positiveIntegerOrZero("type_vocab_size")
        typeCount = types ?? (json.hasKey("type_vocab_size") ? 0 : assumedTypes)
    }

    /// Writes what `init` reads.
    func write(to fields: inout WrittenFields) {
        fields.setJSON("hidden_dropout_prob", .real(hiddenDropout))
        fields.setJSON("attention_probs_dropout_prob", .real(attentionDropout))
        fields.setJSON("hidden_act", .string(activation.name))
        fields.setJSON("type_vocab_size", .integer(typeCount))
    }
}

extension ModelFields {
    /// The fields of `config.json`, for what no GGUF file is read of.
    func requiredJSON() throws(ModelError) -> JSONConfigurationFields {
        guard let json else { throw .noGraph(file: file, name: "an encoder in a GGUF file", purpose: "a graph") }
        return json
    }
}

extension JSONConfigurationFields {
    /// A share from 0 to below 1.
    func share(_ key: String) throws(ModelError) -> Double? {
        guard let member = member(key) else { return nil }
        guard let value = member.doubleValue, (0..<1).contains(value) else {
            throw bad(key, "a number from 0 to below 1", member.text())
        }
        return value
    }

    /// A non-linearity by transformers' name.
    func activation(_ key: String) throws(ModelError) -> HiddenActivation? {
        guard let name = try string(key) else { return nil }
        guard let activation = HiddenActivation(name: name) else {
            throw unsupported(key, "'\(name)'", HiddenActivation.names.joined(separator: ", "))
        }
        return activation
    }

    /// Refuses any value of `key` but these, of which the first is assumed.
    func refuse(_ key: String, unless values: [JSONValue]) throws(ModelError) {
        guard let member = member(key), !values.contains(member) else { return }
        throw unsupported(key, member.text(), values.map { $0.text() }.joined(separator: " and "))
    }
}

extension HiddenActivation {
    /// transformers' names, of which the first of each is written.
    private static let table: [(HiddenActivation, [String])] = [
        (.gelu, ["gelu", "gelu_python"]),
        (.geluTanh, ["gelu_new", "gelu_pytorch_tanh", "gelu_python_tanh", "gelu_fast"]), (.relu, ["relu"]),
        (.silu, ["silu", "swish"]), (.quickGelu, ["quick_gelu"]), (.tanh, ["tanh"]),
    ]

    /// All names.
    static var names: [String] { table.flatMap(\.1) }

    /// The one that transformers calls `name`.
    init?(name: String) {
        guard let found = Self.table.first(where: { $0.1.contains(name) })?.0 else { return nil }
        self = found
    }

    /// transformers' name.
    var name: String { Self.table.first { $0.0 == self }?.1[0] ?? "" }
}

extension ModelConfiguration {
    /// What transformers assumes of an encoder where `config.json` is silent, and where its own facts stand.
    struct EncoderAssumptions {
        var hiddenSize = 768
        var layerCount = 12
        var headCount = 12
        var intermediateSize = 3072
        var maximumPositions = 512
        var vocabularySize: Int
        var epsilonKey = "layer_norm_eps"
        var epsilon = 1e-12
        /// Rows of the table of positions that no token uses.
        var unusedPositions = 0
        var padTokenID = 0
    }

    /// Reads what all encoders have.
    init(encoder fields: ModelFields, _ names: ArchitectureNames, assuming assumed: EncoderAssumptions) throws {
        let json = try fields.requiredJSON()
        architecture = names.modelType
        hiddenSize = try json.positiveInteger("hidden_size") ?? assumed.hiddenSize
        headCount = try json.positiveInteger("num_attention_heads") ?? assumed.headCount
        keyValueHeadCount = headCount
        guard hiddenSize % headCount == 0 else {
            throw json.bad("num_attention_heads", "a divisor of hidden_size, \(hiddenSize)", "\(headCount)")
        }
        headSize = hiddenSize / headCount
        turnedSize = headSize
        layerCount = try json.positiveInteger("num_hidden_layers") ?? assumed.layerCount
        intermediateSize = try json.positiveInteger("intermediate_size") ?? assumed.intermediateSize
        let positions = try json.positiveInteger("max_position_embeddings") ?? assumed.maximumPositions
        guard positions > assumed.unusedPositions else {
            throw json.bad("max_position_embeddings", "more than \(assumed.unusedPositions)", "\(positions)")
        }
        maximumPositions = positions - assumed.unusedPositions
        vocabularySize = try json.positiveInteger("vocab_size") ?? assumed.vocabularySize
        rmsNormEpsilon = Float(try json.positiveNumber(assumed.epsilonKey) ?? assumed.epsilon)
        rotaryBase = 10_000
        rotaryScaling = .standard
        tiedEmbeddings = false
        hasAttentionBias = true
        hasMLPBias = true
        bosTokenID = nil
        eosTokenIDs = []
        padTokenID = json.hasKey("pad_token_id") ? fields.padTokenID : assumed.padTokenID
        task = fields.task
        initializerRange = fields.initializerRange
    }

    /// Writes what `init(encoder:)` reads.
    func writeEncoder(
        _ names: ArchitectureNames, epsilonKey: String = "layer_norm_eps", unusedPositions: Int = 0,
        to fields: inout WrittenFields
    ) {
        let name = task.flatMap { _ in names.classifierName } ?? names.className
        fields.setJSON("architectures", .array([.string(name)]))
        fields.setJSON("model_type", .string(names.modelType))
        fields.setJSON("vocab_size", .integer(vocabularySize))
        fields.setJSON("hidden_size", .integer(hiddenSize))
        fields.setJSON("num_hidden_layers", .integer(layerCount))
        fields.setJSON("num_attention_heads", .integer(headCount))
        fields.setJSON("intermediate_size", .integer(intermediateSize))
        fields.setJSON("max_position_embeddings", .integer(maximumPositions + unusedPositions))
        fields.setJSON(epsilonKey, .real(rmsNormEpsilon))
        fields.setJSON("pad_token_id", padTokenID.map { .integer($0) } ?? .null)
        fields.setJSON("initializer_range", .real(initializerRange))
    }
}
