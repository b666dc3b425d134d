import CheckpointIO
import Compute

/// Llama (Touvron et al., arXiv 2302.13971; grouped-query attention as in Llama 2 and 3): norms before attention and
/// feed-forward network, rotary position embedding over whole heads.
package struct Llama: Architecture {
    package static let names = ArchitectureNames(
        "llama", class: "LlamaForCausalLM", classifier: "LlamaForSequenceClassification", gguf: "llama")

    package static var modules: [ModuleTemplate<Llama>] {
        decoderModules { .rotaryPairs(headSize: $0.configuration.headSize) }
    }

    package let configuration: ModelConfiguration

    package init(_ fields: ModelFields) throws {
        try fields.refuseUnknownForms()
        try fields.refuseExpertsScalesAndWindows()
        configuration = try ModelConfiguration(
            fields, Self.names, assuming: .init(bosTokenID: 1, eosTokenID: 2),
            biases: .init(
                attention: try fields.hasBias(flag: "attention_bias", .query),
                mlp: try fields.hasBias(flag: "mlp_bias", .up)),
            rotaryKinds: [.standard, .linear, .dynamic, .llama3, .yarn])
    }

    package static func reads(_ fields: GGUFFields) -> Bool { !fields.hasExperts && !fields.hasWindow }

    package func write(to fields: inout WrittenFields) {
        configuration.write(names, to: &fields)
        fields.setJSON("attention_bias", .bool(configuration.hasAttentionBias))
        fields.setJSON("mlp_bias", .bool(configuration.hasMLPBias))
        fields.setJSON("pretraining_tp", .integer(1))
        configuration.writeLlamaKeys(to: &fields)
    }

    package func makeModel(_ weights: WeightLoader) throws -> any Model {
        try Decoder.plain(weights)
    }
}

// MARK: What other architectures share with Llama

extension GGUFFields {
    /// Whether the file says that it has experts.
    var hasExperts: Bool { metadata[prefix + "expert_count"]?.integer(in: .sizes) != nil }
    /// Whether the file says that its layers slide.
    var hasWindow: Bool { metadata[prefix + "attention.sliding_window"]?.integer(in: .sizes) != nil }
}

extension Architecture {
    /// The modules of a decoder with norms before attention and feed-forward network, biases as the configuration says.
    static func decoderModules(
        rotatedRows: @escaping @Sendable (Self) -> RowOrder
    ) -> [ModuleTemplate<Self>] {
        [.embedding, .norm(.inputNorm), .norm(.postAttentionNorm)]
            + ModuleTemplate.attention(
                hasBias: { $0.configuration.hasAttentionBias }, outputHasBias: { $0.configuration.hasAttentionBias },
                rotatedRows: rotatedRows)
            + ModuleTemplate.feedForward { $0.configuration.hasMLPBias }
            + [.finalNorm, .outputHead]
    }
}

extension ModelConfiguration {
    /// What GGUF files of the Llama family say besides.
    func writeLlamaKeys(to fields: inout WrittenFields) {
        fields.setGGUF("vocab_size", .uint32(UInt32(vocabularySize)))
        fields.setGGUF("rope.dimension_count", .uint32(UInt32(turnedSize)))
    }
}

extension Decoder {
    /// Llama's graph, with attention of another form where one is given.
    static func plain(
        _ weights: WeightLoader, _ form: DecoderForm = DecoderForm(), residualFactor: Float = 1,
        attention: ((_ layer: Int, _ rotary: RotaryTable) -> AttentionForm)? = nil
    ) throws -> Decoder {
        let configuration = weights.configuration
        let rotary = configuration.rotary.table(weights.context)
        return try Decoder(weights, form) { layer in
            let form = attention?(layer.index, rotary) ?? AttentionForm(rotary: rotary)
            return DecoderLayer(
                attention: Sublayer(
                    norm: try layer.norm(.inputNorm), block: try AttentionBlock(layer, configuration, form),
                    factor: residualFactor),
                feedForward: Sublayer(
                    norm: try layer.norm(.postAttentionNorm), block: try FeedForwardBlock(layer),
                    factor: residualFactor))
        }
    }
}
