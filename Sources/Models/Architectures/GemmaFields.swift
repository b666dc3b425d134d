import CheckpointIO
import Compute

/// What Gemma's models have besides what all decoders have.
struct GemmaFields: Sendable, Equatable {
    /// Scores are <q, k> / sqrt(this).
    let queryScalar: Double
    /// c of c tanh(x / c) for scores and logits.
    let scoreSoftcap: Double?
    let logitSoftcap: Double?
    /// Tokens that a token sees in the layers that slide.
    let window: Int?
    /// Which those are.
    let sliding: LayerPattern
    private let assumed: Assumptions

    /// What transformers or llama.cpp assumes of a generation.
    struct Assumptions: Sendable, Equatable {
        /// Every so many-th layer does not slide.
        let period: Int
        /// The layers of the largest model, the one whose scalar is the hidden size divided by the heads.
        let widestLayerCount: Int
        let attentionSoftcap: Double?
        let logitSoftcap: Double?

        init(period: Int, widestLayerCount: Int, softcaps: (attention: Double?, logits: Double?)) {
            (self.period, self.widestLayerCount) = (period, widestLayerCount)
            (attentionSoftcap, logitSoftcap) = softcaps
        }

        /// What llama.cpp takes for the scalar.
        func ggufScalar(_ model: ModelConfiguration) -> Double {
            model.layerCount == widestLayerCount
                ? Double(model.hiddenSize) / Double(model.headCount) : Double(model.headSize)
        }
    }

    static let (scoreKey, logitKey) = ("attn_logit_softcapping", "final_logit_softcapping")
    private static let activation = "gelu_pytorch_tanh"
    private static let assumedWindow = 4096

    init(_ fields: ModelFields, _ model: ModelConfiguration, _ assumed: Assumptions) throws {
        // `hidden_act` is an older name, which the models do not read.
        for key in ["hidden_act", "hidden_activation"] {
            try fields.refuseUnknownForms(activations: [Self.activation], key: key)
        }
        try fields.refuseExperts()
        try fields.refuseScales()
        if try fields.json?.flag("use_bidirectional_attention") ?? false {
            throw fields.unsupported("use_bidirectional_attention", "true", "false")
        }
        self.assumed = assumed
        window = try fields.window(assumed: Self.assumedWindow) ?? (fields.gguf == nil ? nil : Self.assumedWindow)
        let period = try fields.json?.positiveInteger("sliding_window_pattern") ?? assumed.period
        sliding = try fields.slidingLayers(model.layerCount, assumed: .allButEvery(period))
        if let json = fields.json {
            func softcap(_ key: String, _ assumed: Double?) throws(ModelError) -> Double? {
                json.hasKey(key) ? try json.positiveNumber(key) : assumed
            }
            queryScalar = try json.positiveNumber("query_pre_attn_scalar") ?? 256
            scoreSoftcap = try softcap(Self.scoreKey, assumed.attentionSoftcap)
            logitSoftcap = try softcap(Self.logitKey, assumed.logitSoftcap)
        } else {
            queryScalar = assumed.ggufScalar(model)
            func softcap(_ key: String, _ assumed: Double?) throws(ModelError) -> Double? {
                guard let gguf = fields.gguf, assumed != nil else { return nil }
                return try gguf.positiveNumber(gguf.prefix + key) ?? assumed
            }
            scoreSoftcap = try softcap(Self.scoreKey, assumed.attentionSoftcap)
            logitSoftcap = try softcap(Self.logitKey, assumed.logitSoftcap)
        }
    }

    /// What a GGUF file, of which llama.cpp assumes the rest, would not tell.
    func ggufProblem(_ model: ModelConfiguration) -> String? {
        if queryScalar != assumed.ggufScalar(model) {
            return "a 'query_pre_attn_scalar' of \(queryScalar) in a model with heads of \(model.headSize)"
        }
        let usual = LayerPattern.allButEvery(assumed.period)
        if (0..<model.layerCount).contains(where: { sliding.contains($0) != usual.contains($0) }) {
            return "layers that slide otherwise than all but every \(assumed.period)th"
        }
        if window == nil { return "layers that slide without a window" }
        if scoreSoftcap == nil, assumed.attentionSoftcap != nil { return "scores without a cap" }
        return logitSoftcap == nil && assumed.logitSoftcap != nil ? "logits without a cap" : nil
    }

    func write(_ model: ModelConfiguration, to fields: inout WrittenFields) {
        fields.setJSON("hidden_act", .string(Self.activation))
        fields.setJSON("hidden_activation", .string(Self.activation))
        fields.setJSON("attention_bias", .bool(model.hasAttentionBias))
        fields.setJSON("query_pre_attn_scalar", .real(queryScalar))
        fields.setJSON(Self.scoreKey, scoreSoftcap.map { .real($0) } ?? .null)
        fields.setJSON(Self.logitKey, logitSoftcap.map { .real($0) } ?? .null)
        fields.setJSON("sliding_window", window.map { .integer($0) } ?? .null)
        fields.setJSON("layer_types", sliding.layerTypes(model.layerCount))
        if let window { fields.setGGUF("attention.sliding_window", .uint32(UInt32(window))) }
    }
}

extension Architecture {
    /// The modules of Gemma 2 and later, with further norms in the layers. All norms multiply by 1 + w, and a GGUF file
    /// has 1 + w.
    static func gemmaModules(_ norms: [ModuleTemplate<Self>] = []) -> [ModuleTemplate<Self>] {
        let inside =
            [
                ModuleTemplate<Self>.norm(.inputNorm), .norm(.attentionOutputNorm), .norm(.feedForwardNorm),
                .norm(.feedForwardOutputNorm),
            ] + norms
        func addingOne(_ norm: ModuleTemplate<Self>) -> ModuleTemplate<Self> { norm.with { $0.ggufValues = .plusOne } }
        return [.embedding] + inside.map(addingOne)
            + ModuleTemplate.attention(
                hasBias: { $0.configuration.hasAttentionBias }, outputHasBias: { $0.configuration.hasAttentionBias })
            + ModuleTemplate.feedForward() + [addingOne(.finalNorm), .outputHead]
    }
}

extension Decoder {
    /// The graph of those modules; `attention` gives the form of each layer's, but for how scores are made.
    static func gemma(
        _ weights: WeightLoader, _ gemma: GemmaFields,
        attention: (_ layer: LayerWeights, _ slides: Bool) throws -> AttentionForm
    ) throws -> Decoder {
        let model = weights.configuration
        let form = DecoderForm(
            embeddingFactor: Float(Double(model.hiddenSize).squareRoot()), scalesImages: false, finalNormAddsOne: true,
            logitSoftcap: gemma.logitSoftcap.map { Float($0) })
        return try Decoder(weights, form) { layer in
            let slides = gemma.sliding.contains(layer.index)
            var form = try attention(layer, slides)
            form.scoring = AttentionScoring(
                .sliding(slides ? gemma.window : nil), scale: Float(1 / gemma.queryScalar.squareRoot()),
                softcap: gemma.scoreSoftcap.map { Float($0) })
            return DecoderLayer(
                attention: Sublayer(
                    norm: try layer.norm(.inputNorm, addsOne: true), block: try AttentionBlock(layer, model, form),
                    outputNorm: try layer.norm(.attentionOutputNorm, addsOne: true)),
                feedForward: Sublayer(
                    norm: try layer.norm(.feedForwardNorm, addsOne: true),
                    block: try FeedForwardBlock(layer, .geluTanh),
                    outputNorm: try layer.norm(.feedForwardOutputNorm, addsOne: true)))
        }
    }
}
