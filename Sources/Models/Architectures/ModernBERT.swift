import CheckpointIO
import Compute

/// ModernBERT (Warner et al., arXiv 2412.13663): norms without biases before each sublayer, rotary embeddings of two bases,
/// two layers of three that see a band of tokens, a gated feed-forward network.
package struct ModernBERT: Architecture {
    package static let names = ArchitectureNames(
        encoder: "modernbert", class: "ModernBertModel", classifier: "ModernBertForSequenceClassification",
        gguf: "modern-bert")
    package static let layerPrefix = "model.layers."
    package static let basePrefix = "model."

    private static let fused = ModulePart("attn.Wqkv", gguf: "attn_qkv")
    private static let attentionOutput = ModulePart("attn.Wo", gguf: "attn_output")
    private static let inner = ModulePart("mlp.Wi", gguf: "ffn_up")
    private static let outer = ModulePart("mlp.Wo", gguf: "ffn_down")
    private static let attentionNorm = ModulePart("attn_norm", gguf: "attn_norm")
    private static let feedForwardNorm = ModulePart("mlp_norm", gguf: "ffn_norm")

    package static var modules: [ModuleTemplate<ModernBERT>] {
        let attentionBias: @Sendable (ModernBERT) -> Bool = { $0.configuration.hasAttentionBias }
        let bias: @Sendable (ModernBERT) -> Bool = { $0.configuration.hasMLPBias }
        return [
            .table("model.embeddings.tok_embeddings", gguf: "token_embd", .embedding) {
                $0.configuration.vocabularySize
            },
            .outerNorm("model.embeddings.norm", gguf: "token_embd_norm", hasBias: false),
            // The embeddings' norm stands right before layer 0.
            ModuleTemplate<ModernBERT>.norm(attentionNorm).with { $0.isInLayers = { _, layer in layer > 0 } },
            .init(fused, .projection, hasBias: attentionBias) {
                [3 * $0.configuration.hiddenSize, $0.configuration.hiddenSize]
            },
            .init(attentionOutput, .projection, hasBias: attentionBias) {
                [$0.configuration.hiddenSize, $0.configuration.hiddenSize]
            },
            .norm(feedForwardNorm),
            .init(inner, .projection, hasBias: bias) {
                [2 * $0.configuration.intermediateSize, $0.configuration.hiddenSize]
            },
            .init(outer, .projection, hasBias: bias) {
                [$0.configuration.hiddenSize, $0.configuration.intermediateSize]
            },
            .outerNorm("model.final_norm", gguf: "output_norm", hasBias: false),
            .headLinear("head.dense", hasBias: { $0.hasHeadBias }) { $0.configuration.hiddenSize },
            ModuleTemplate<ModernBERT>.outerNorm("head.norm", gguf: "cls.norm", hasBias: false).with {
                $0.isOfHead = true
            },
            .headLinear("classifier") { $0.configuration.task?.labels.count ?? 0 },
        ]
    }

    package let configuration: ModelConfiguration
    /// Rates of dropout.
    private let dropout: (embedding: Double, attention: Double, feedForward: Double, head: Double)
    private let activation: HiddenActivation
    private let headActivation: HiddenActivation
    private let averages: Bool
    fileprivate let hasHeadBias: Bool
    /// The layers that see a band, how far it reaches, and the bases of both kinds' rotary frequencies.
    private let local: LayerPattern
    private let window: Int
    private let bases: (global: Double, local: Double)

    private static let period = 3

    package init(_ fields: ModelFields) throws {
        let json = try fields.requiredJSON()
        try fields.refuseUnknownForms(activations: HiddenActivation.names, key: "hidden_activation")
        try json.refuse("norm_bias", unless: [.bool(false)])
        dropout = (
            try json.share("embedding_dropout") ?? 0, try json.share("attention_dropout") ?? 0,
            try json.share("mlp_dropout") ?? 0, try json.share("classifier_dropout") ?? 0
        )
        activation = try json.activation("hidden_activation") ?? .gelu
        headActivation = try json.activation("classifier_activation") ?? .gelu
        try json.refuse("classifier_pooling", unless: [.string("cls"), .string("mean")])
        averages = try json.string("classifier_pooling") == "mean"
        hasHeadBias = try json.flag("classifier_bias") ?? false
        var configuration = try ModelConfiguration(
            encoder: fields, Self.names,
            assuming: .init(
                layerCount: 22, intermediateSize: 1152, maximumPositions: 8192, vocabularySize: 50368,
                epsilonKey: "norm_eps", epsilon: 1e-5, padTokenID: 50283))
        configuration.hasAttentionBias = try json.flag("attention_bias") ?? false
        configuration.hasMLPBias = try json.flag("mlp_bias") ?? false
        guard configuration.headSize % 2 == 0 else {
            throw json.bad("num_attention_heads", "such that a head's width is even", "\(configuration.headCount)")
        }
        self.configuration = configuration
        window = try json.positiveInteger("local_attention") ?? 128
        let every = try json.positiveInteger("global_attn_every_n_layers") ?? Self.period
        local = try fields.slidingLayers(
            configuration.layerCount, assumed: .each((0..<configuration.layerCount).map { $0 % every != 0 }))
        bases = (
            try json.base(of: .full, olderKey: "global_rope_theta") ?? 160_000,
            try json.base(of: .sliding, olderKey: "local_rope_theta") ?? 10_000
        )
    }

    package var ggufProblem: String? { "an encoder's graph" }

    package func headDeviation(of tensor: TensorSpecification) -> Double {
        tensor.module == "classifier"
            ? 1 / Double(configuration.hiddenSize).squareRoot()
            : configuration.initializerRange / Double(2 * configuration.layerCount).squareRoot()
    }

    package func write(to fields: inout WrittenFields) {
        configuration.writeEncoder(names, epsilonKey: "norm_eps", to: &fields)
        fields.setJSON("norm_bias", .bool(false))
        fields.setJSON("embedding_dropout", .real(dropout.embedding))
        fields.setJSON("attention_dropout", .real(dropout.attention))
        fields.setJSON("mlp_dropout", .real(dropout.feedForward))
        fields.setJSON("classifier_dropout", .real(dropout.head))
        fields.setJSON("hidden_activation", .string(activation.name))
        fields.setJSON("classifier_activation", .string(headActivation.name))
        fields.setJSON("classifier_pooling", .string(averages ? "mean" : "cls"))
        fields.setJSON("classifier_bias", .bool(hasHeadBias))
        fields.setJSON("attention_bias", .bool(configuration.hasAttentionBias))
        fields.setJSON("mlp_bias", .bool(configuration.hasMLPBias))
        fields.setJSON("local_attention", .integer(window))
        fields.setJSON("layer_types", local.layerTypes(configuration.layerCount))
        func rotary(_ base: Double) -> JSONValue {
            .object(["rope_type": .string("default"), "rope_theta": .real(base)])
        }
        fields.setJSON(
            "rope_parameters",
            .object([
                RotaryLayers.full.rawValue: rotary(bases.global), RotaryLayers.sliding.rawValue: rotary(bases.local),
            ]))
    }

    package func makeModel(_ weights: WeightLoader) throws -> any Model {
        let head = PooledHead(
            weights, pooling: averages ? .mean : .first, output: try HeadLinear(weights, "classifier"))
        head.dense = (try HeadLinear(weights, "head.dense", hasBias: hasHeadBias), headActivation)
        head.norm = try HeadNorm(weights, "head.norm", width: configuration.hiddenSize)
        head.dropout = HiddenDropout(rate: Float(dropout.head), place: "drop")
        let embedding = EncoderEmbedding(
            words: EmbeddingTable(weights, "model.embeddings.tok_embeddings"),
            norm: try weights.layerNorm("model.embeddings.norm"),
            dropout: HiddenDropout(rate: Float(dropout.embedding), place: "model.embeddings.drop"))
        let parts = Encoder.Parts(
            embedding: embedding, finalNorm: try weights.layerNorm("model.final_norm"), head: head)
        let tables = [bases.global, bases.local].map {
            configuration.rotary.plain(base: $0).table(weights.context)
        }
        return try Encoder(weights, layersBehind: Self.layerPrefix, parts) { layer in
            try makeLayer(layer, global: tables[0], local: tables[1])
        }
    }

    private func makeLayer(_ layer: LayerWeights, global: RotaryTable, local table: RotaryTable) throws -> DecoderLayer
    {
        let isLocal = local.contains(layer.index)
        let form = AttentionForm(
            rotary: isLocal ? table : global,
            scoring: AttentionScoring(isLocal ? .band(window / 2) : .everything),
            dropout: layer.dropout(dropout.attention, "attn.attention_dropout"))
        return DecoderLayer(
            attention: Sublayer(
                norm: layer.index == 0 ? nil : try layer.layerNorm(Self.attentionNorm),
                block: try AttentionBlock(
                    layer, configuration, form, fused: Self.fused,
                    parts: AttentionParts(output: Self.attentionOutput)),
                dropout: layer.dropout(dropout.attention, "attn.out_drop")),
            feedForward: Sublayer(
                norm: try layer.layerNorm(Self.feedForwardNorm),
                block: ActivatedBlock(
                    inner: try layer.projection(Self.inner), outer: try layer.projection(Self.outer),
                    activation: activation, isGated: true,
                    dropout: layer.dropout(dropout.feedForward, "mlp.drop"))))
    }
}

extension JSONConfigurationFields {
    /// The base of the rotary frequencies of a kind of layers, which are otherwise as they come; nil where it is not said.
    fileprivate func base(of layers: RotaryLayers, olderKey: String) throws(ModelError) -> Double? {
        guard isPresent("rope_parameters") else {
            try refuse("rope_scaling", unless: [])
            return try positiveNumber(olderKey)
        }
        let all = try object("rope_parameters")
        guard all.isPresent(layers.rawValue) else { return try positiveNumber(olderKey) }
        let own = try all.object(layers.rawValue)
        try own.refuse("rope_type", unless: [.string("default")])
        return try own.positiveNumber("rope_theta")
    }
}
