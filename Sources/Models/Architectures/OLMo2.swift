import CheckpointIO
import Compute

/// OLMo 2 (Walsh et al., arXiv 2501.00656): norms behind attention and feed-forward network and none before, and norms of
/// all queries and of all keys of a token together.
package struct OLMo2: Architecture {
    package static let names = ArchitectureNames(
        "olmo2", class: "Olmo2ForCausalLM", classifier: "Olmo2ForSequenceClassification", gguf: "olmo2")

    package static var modules: [ModuleTemplate<OLMo2>] { normedOutputModules }

    package let configuration: ModelConfiguration

    package init(_ fields: ModelFields) throws {
        try fields.refuseUnknownForms()
        try fields.refuseExpertsScalesAndWindows()
        configuration = try ModelConfiguration(
            fields, Self.names, assuming: .init(rmsNormEpsilon: 1e-5, eosTokenID: 50279),
            biases: .init(attention: try fields.hasBias(flag: "attention_bias", .query)),
            rotaryKinds: [.standard, .linear, .dynamic, .yarn])
    }

    package static func reads(_ fields: GGUFFields) -> Bool { !fields.hasWindow }

    package func write(to fields: inout WrittenFields) {
        configuration.write(names, to: &fields)
        fields.setJSON("attention_bias", .bool(configuration.hasAttentionBias))
    }

    package func makeModel(_ weights: WeightLoader) throws -> any Model {
        let rotary = configuration.rotary.table(weights.context)
        return try Decoder.normedOutputs(weights) { _ in AttentionForm(rotary: rotary) }
    }
}

// MARK: What OLMo 3 shares

extension Architecture {
    /// The modules of a decoder with norms behind its sublayers alone, and of all queries and keys.
    static var normedOutputModules: [ModuleTemplate<Self>] {
        [
            .embedding, .norm(.attentionOutputNorm), .norm(.feedForwardOutputNorm),
            ModuleTemplate(.queryNorm, .norm) { [$0.configuration.querySize] },
            ModuleTemplate(.keyNorm, .norm) { [$0.configuration.keyValueSize] },
        ]
            + ModuleTemplate.attention(
                hasBias: { $0.configuration.hasAttentionBias }, outputHasBias: { $0.configuration.hasAttentionBias })
            + ModuleTemplate.feedForward()
            + [.finalNorm, .outputHead]
    }
}

extension Decoder {
    /// The graph of those modules.
    static func normedOutputs(
        _ weights: WeightLoader, attention: (_ layer: Int) -> AttentionForm
    ) throws -> Decoder {
        try Decoder(weights) { layer in
            var form = attention(layer.index)
            form.norms = (query: try layer.norm(.queryNorm), key: try layer.norm(.keyNorm))
            return DecoderLayer(
                attention: Sublayer(
                    block: try AttentionBlock(layer, weights.configuration, form),
                    outputNorm: try layer.norm(.attentionOutputNorm)),
                feedForward: Sublayer(
                    block: try FeedForwardBlock(layer), outputNorm: try layer.norm(.feedForwardOutputNorm)))
        }
    }
}
