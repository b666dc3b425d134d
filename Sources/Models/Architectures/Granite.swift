import CheckpointIO
import Compute

/// Granite 3 and 4's dense models: Llama's graph with a factor each on embeddings, scores, what layers add to the stream,
/// and logits.
package struct Granite: Architecture {
    package static let names = ArchitectureNames("granite", class: "GraniteForCausalLM", gguf: "granite")

    package static var modules: [ModuleTemplate<Granite>] {
        decoderModules { .rotaryPairs(headSize: $0.configuration.headSize) }
    }

    package let configuration: ModelConfiguration
    /// What embeddings and the outputs of sublayers are multiplied by, and what logits are divided by.
    let (embedding, residual, logits): (Double, Double, Double)
    /// The factor of scores; nil for 1 / sqrt(headSize).
    let attention: Double?

    private static let embeddingField = Field("embedding_multiplier", gguf: "embedding_scale")
    private static let residualField = Field("residual_multiplier", gguf: "residual_scale")
    private static let logitField = Field("logits_scaling", gguf: "logit_scale")
    private static let attentionField = Field("attention_multiplier", gguf: "attention.scale")

    package init(_ fields: ModelFields) throws {
        try fields.refuseUnknownForms()
        try fields.refuseExperts()
        try fields.refuseWindow()
        configuration = try ModelConfiguration(
            fields, Self.names, assuming: .init(bosTokenID: 1, eosTokenID: 2),
            biases: .init(
                attention: try fields.hasBias(flag: "attention_bias", .query),
                mlp: try fields.hasBias(flag: "mlp_bias", .up)),
            rotaryKinds: [.standard, .linear, .dynamic, .llama3, .yarn])
        embedding = try fields.optionalNumber(Self.embeddingField) ?? 1
        residual = try fields.optionalNumber(Self.residualField) ?? 1
        logits = try fields.optionalNumber(Self.logitField) ?? 1
        // transformers takes 1 where nothing is said, llama.cpp the usual factor.
        let given = try fields.optionalNumber(Self.attentionField)
        attention = fields.gguf == nil ? given ?? 1 : given
    }

    package func write(to fields: inout WrittenFields) {
        configuration.write(names, to: &fields)
        fields.setJSON("attention_bias", .bool(configuration.hasAttentionBias))
        fields.setJSON("mlp_bias", .bool(configuration.hasMLPBias))
        configuration.writeLlamaKeys(to: &fields)
        fields.set(Self.embeddingField, embedding)
        fields.set(Self.residualField, residual)
        fields.set(Self.logitField, logits)
        fields.set(Self.attentionField, attention ?? 1 / Double(configuration.headSize).squareRoot())
    }

    package func makeModel(_ weights: WeightLoader) throws -> any Model {
        let form = DecoderForm(embeddingFactor: Float(embedding), logitFactor: Float(1 / logits))
        let scoring = AttentionScoring(scale: attention.map { Float($0) })
        return try Decoder.plain(weights, form, residualFactor: Float(residual)) { _, rotary in
            AttentionForm(rotary: rotary, scoring: scoring)
        }
    }
}
