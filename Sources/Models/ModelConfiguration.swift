import CheckpointIO

/// The sizes and constants of a model, read from a checkpoint and checked: what all architectures have.
package struct ModelConfiguration: Sendable, Equatable {
    /// The architecture as the checkpoint names it, such as `llama`.
    package let architecture: String
    /// Tokens that have an embedding.
    package let vocabularySize: Int
    /// Width of the residual stream.
    package let hiddenSize: Int
    /// Width inside the MLP.
    package let intermediateSize: Int
    /// Layers.
    package let layerCount: Int
    /// Query heads.
    package let headCount: Int
    /// Key/value heads; divides `headCount`.
    package let keyValueHeadCount: Int
    /// Width of one head; even.
    package let headSize: Int
    /// Elements of a head that the rotary embedding turns, from its first; even.
    package let turnedSize: Int
    /// The longest sequence that the model was made for, in tokens.
    package let maximumPositions: Int
    /// What norms add to the mean square.
    package let rmsNormEpsilon: Float
    /// The base of the rotary frequencies.
    package let rotaryBase: Double
    /// How the rotary frequencies are changed.
    package let rotaryScaling: RotaryScaling
    /// Whether the output head is the embedding matrix.
    package let tiedEmbeddings: Bool
    /// Whether projections of attention have biases; which ones is the architecture's.
    package internal(set) var hasAttentionBias: Bool
    /// Whether the MLP projections have biases.
    package internal(set) var hasMLPBias: Bool
    /// The token that begins a sequence, where there is one.
    package let bosTokenID: Int?
    /// The tokens that end a sequence.
    package let eosTokenIDs: [Int]
    /// The token that fills up a batch's shorter sequences, where one is named.
    package let padTokenID: Int?
    /// What the head for sequences is asked for; nil for a model without one.
    package let task: SequenceTask?
    /// The deviation of new weights.
    package let initializerRange: Double

    /// Width of all query heads together.
    package var querySize: Int { headCount * headSize }
    /// Width of all key (or value) heads together.
    package var keyValueSize: Int { keyValueHeadCount * headSize }

    /// The longest sequence that the model computes, in tokens: a dynamic scaling of rotary frequencies stretches what it
    /// was made for.
    package var positionLimit: Int {
        guard case .dynamic(let factor) = rotaryScaling else { return maximumPositions }
        return Int(min(Double(Int32.max), Double(maximumPositions) * max(1, factor)))
    }

    /// The key of tspeft's own under which a GGUF file has every token that ends a text (INT32 array), where GGUF's
    /// keys for the ends of a text, a turn and a message, one each, do not say it.
    package static let ggufEndTokensKey = "tspeft.eos_token_ids"

    /// What transformers assumes where `config.json` is silent.
    struct Assumptions {
        var maximumPositions = 2048
        /// Nil: as many as query heads.
        var keyValueHeadCount: Int?
        /// Nil: the residual stream's width divided by the query heads.
        var headSize: Int?
        var rmsNormEpsilon = 1e-6
        var rotaryBase = 10_000.0
        var bosTokenID: Int?
        var eosTokenID: Int?
        /// Nil: they must be given.
        var headCount: Int?
        var vocabularySize: Int?
        /// The share of a head that turns; nil for a model that turns all of it, whatever the fields say.
        var turnedShare: Double?
        var tiesEmbeddings = false
        /// Tokens of the first context of a scaling where `config.json` does not say it beside `rope_scaling`; what stands
        /// in there does not count then.
        var originalPositions: Int?
        /// Whether `rope_parameters` may have one object for each kind of layers, of which this is for those that do not
        /// slide.
        var hasRotaryOfLayers = false
        /// Whether yarn's ends are rounded in a GGUF file, which does not say it.
        var truncatesYarn = true
    }

    /// Which modules have biases.
    struct Biases {
        var attention = false
        var mlp = false
    }

    /// Reads what all decoders have.
    ///
    /// - Parameter rotaryKinds: the ways of changing rotary frequencies that the architecture has.
    init(
        _ fields: ModelFields, _ names: ArchitectureNames, assuming assumed: Assumptions, biases: Biases,
        rotaryKinds: [RotaryScaling.Kind]
    ) throws {
        architecture = names.modelType
        hiddenSize = try fields.size(.hiddenSize)
        headCount =
            try assumed.headCount.map { count throws in try fields.size(.headCount, assumed: count) }
            ?? fields.size(.headCount)
        maximumPositions = try fields.size(.maximumPositions, assumed: assumed.maximumPositions)
        keyValueHeadCount =
            try fields.optionalSize(.keyValueHeadCount, assumed: assumed.keyValueHeadCount) ?? headCount
        headSize = try Self.headSize(
            try fields.optionalSize(.headSize, assumed: assumed.headSize), hiddenSize, headCount, fields)
        guard headSize % 2 == 0 else {
            throw fields.bad(.headSize, "an even number (rotary embeddings work on pairs)", "\(headSize)")
        }
        if let share = assumed.turnedShare {
            turnedSize = try fields.turnedSize(headSize: headSize, assumedShare: share)
        } else {
            turnedSize = headSize
            try fields.refuseTurnedShare(headSize: headSize)
        }
        let rotary = try RotaryScaling.read(
            fields,
            RotaryFacts(
                kinds: rotaryKinds, assumedBase: assumed.rotaryBase, maximumPositions: maximumPositions,
                pairs: turnedSize / 2, assumedOriginalPositions: assumed.originalPositions,
                truncatesYarn: assumed.truncatesYarn, isOfLayers: assumed.hasRotaryOfLayers))
        rotaryBase = rotary.base
        rotaryScaling = rotary.scaling
        layerCount = try fields.size(.layerCount)
        intermediateSize = try fields.size(.intermediateSize)
        rmsNormEpsilon = Float(try fields.number(.normEpsilon, assumed: assumed.rmsNormEpsilon))
        vocabularySize = try fields.vocabularySize(hiddenSize: hiddenSize, assumed: assumed.vocabularySize)
        tiedEmbeddings = try fields.tiesEmbeddings(assumed: assumed.tiesEmbeddings)
        hasAttentionBias = biases.attention
        hasMLPBias = biases.mlp
        bosTokenID = try fields.bosTokenID(assumed: assumed.bosTokenID)
        eosTokenIDs = try fields.eosTokenIDs(assumed: assumed.eosTokenID, vocabularySize: vocabularySize)
        padTokenID = fields.padTokenID
        task = fields.task
        initializerRange = fields.initializerRange
        guard headCount % keyValueHeadCount == 0 else {
            throw fields.bad(
                .keyValueHeadCount, "a divisor of the \(headCount) query heads", "\(keyValueHeadCount)")
        }
    }

    private static func headSize(
        _ given: Int?, _ hiddenSize: Int, _ headCount: Int, _ fields: ModelFields
    ) throws(ModelError) -> Int {
        let size: Int
        if let given {
            size = given
        } else {
            guard hiddenSize % headCount == 0 else {
                throw fields.bad(
                    .headCount, "a divisor of \(fields.key(of: .hiddenSize)), \(hiddenSize)", "\(headCount)")
            }
            size = hiddenSize / headCount
        }
        guard let gguf = fields.gguf else { return size }
        let key = gguf.prefix + "attention.value_length"
        if let other = try gguf.positiveInteger(key), other != size {
            throw gguf.unsupported(key, "\(other)", "the size of a head, \(size)")
        }
        return size
    }

    /// Writes what all decoders have, in the order of llama.cpp's converter; tying and the elements' type belong to the
    /// checkpoint that is written, and `rope_scaling` to the writer of `config.json`.
    func write(_ names: ArchitectureNames, to fields: inout WrittenFields) {
        let name = task.flatMap { _ in names.classifierName } ?? names.className
        fields.setJSON("architectures", .array([.string(name)]))
        fields.setJSON("model_type", .string(names.modelType))
        fields.setJSON("attention_dropout", .number("0.0"))
        fields.setJSON("bos_token_id", bosTokenID.map { .integer($0) } ?? .null)
        fields.setJSON("eos_token_id", endTokens ?? .null)
        if let padTokenID { fields.setJSON("pad_token_id", .integer(padTokenID)) }
        fields.setJSON("hidden_act", .string("silu"))
        fields.setJSON("initializer_range", .real(initializerRange))
        fields.setJSON("use_cache", .bool(true))
        fields.setJSON("vocab_size", .integer(vocabularySize))
        fields.set(.layerCount, layerCount)
        fields.set(.maximumPositions, maximumPositions)
        fields.set(.hiddenSize, hiddenSize)
        fields.set(.intermediateSize, intermediateSize)
        fields.set(.headCount, headCount)
        fields.set(.keyValueHeadCount, keyValueHeadCount)
        rotaryScaling.write(to: &fields)
        fields.set(.rotaryBase, rotaryBase)
        fields.set(.normEpsilon, rmsNormEpsilon)
        fields.set(.headSize, headSize)
        fields.setGGUF("attention.value_length", .uint32(UInt32(headSize)))
    }

    /// `eos_token_id` as `config.json` and `generation_config.json` have it: one, a list, or nil for none.
    package var endTokens: JSONValue? {
        switch eosTokenIDs.count {
        case 0: nil
        case 1: .integer(eosTokenIDs[0])
        default: .array(eosTokenIDs.map { .integer($0) })
        }
    }
}
