import CheckpointIO
import Compute

/// Llama (Touvron et al., arXiv 2302.13971; grouped-query attention as in Llama 2 and 3): norms before attention and
/// feed-forward network, rotary position embedding over whole heads.
package struct Llama: Architecture {
    package static let names = ArchitectureNames("llama", class: "LlamaForCausalLM", gguf: "llama")

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
            rotaryKinds: [.standard, .linear, .llama3])
    }

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
        fields.setGGUF("rope.dimension_count", .uint32(UInt32(headSize)))
    }
}

extension Decoder {
    /// Llama's graph.
    static func plain(_ weights: WeightLoader) throws -> Decoder {
        let configuration = weights.configuration
        let rotary = RotaryTable(inverseFrequencies: configuration.inverseFrequencies, weights.context)
        return try Decoder(weights) { layer in
            DecoderLayer(
                attention: Sublayer(
                    norm: try layer.norm(.inputNorm),
                    block: try AttentionBlock(layer, configuration, rotary: rotary)),
                feedForward: Sublayer(norm: try layer.norm(.postAttentionNorm), block: try FeedForwardBlock(layer)))
        }
    }
}
