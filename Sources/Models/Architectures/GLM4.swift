import CheckpointIO
import Compute

/// GLM-4-0414: norms before and behind each sublayer, rotation of neighbours in the first half of each head, gate and up
/// in one projection. `post_attention_layernorm` is the norm before the feed-forward network.
package struct GLM4: Architecture {
    package static let names = ArchitectureNames(
        "glm4", class: "Glm4ForCausalLM", classifier: "Glm4ForSequenceClassification", gguf: "glm4")
    package static let defaultTargets: [String]? = ["q_proj", "k_proj", "v_proj", "gate_up_proj", "down_proj"]

    private static let attentionOutputNorm = ModulePart("post_self_attn_layernorm", gguf: "post_attention_norm")
    private static let feedForwardOutputNorm = ModulePart("post_mlp_layernorm", gguf: "post_ffw_norm")

    package static var modules: [ModuleTemplate<GLM4>] {
        [
            .embedding, .norm(.inputNorm), .norm(attentionOutputNorm), .norm(.postAttentionNorm),
            .norm(feedForwardOutputNorm),
        ]
            + ModuleTemplate.attention(
                hasBias: { $0.configuration.hasAttentionBias }, outputHasBias: { _ in false })
            + ModuleTemplate.fusedFeedForward + [.finalNorm, .outputHead]
    }

    package let configuration: ModelConfiguration

    package init(_ fields: ModelFields) throws {
        try fields.refuseUnknownForms()
        try fields.refuseExpertsScalesAndWindows()
        if let gguf = fields.gguf, gguf.metadata[gguf.prefix + "rope.dimension_sections"] != nil {
            throw fields.unsupported(
                gguf.prefix + "rope.dimension_sections", "there", "text models, whose rotary embedding has none")
        }
        configuration = try ModelConfiguration(
            fields, Self.names,
            assuming: .init(
                maximumPositions: 131_072, keyValueHeadCount: 2, headSize: 128, rmsNormEpsilon: 1.5625e-7,
                turnedShare: 0.5),
            biases: .init(attention: try fields.hasBias(flag: "attention_bias", .query, assumed: true)),
            rotaryKinds: [.standard, .linear])
    }

    package func write(to fields: inout WrittenFields) {
        configuration.write(names, to: &fields)
        fields.setJSON("attention_bias", .bool(configuration.hasAttentionBias))
        fields.setGGUF("rope.dimension_count", .uint32(UInt32(configuration.turnedSize)))
        configuration.writeTurnedShare(to: &fields)
    }

    package func makeModel(_ weights: WeightLoader) throws -> any Model {
        let form = AttentionForm(rotary: configuration.rotary.table(weights.context, isInPairs: true))
        return try Decoder(weights) { layer in
            DecoderLayer(
                attention: Sublayer(
                    norm: try layer.norm(.inputNorm), block: try AttentionBlock(layer, configuration, form),
                    outputNorm: try layer.norm(Self.attentionOutputNorm)),
                feedForward: Sublayer(
                    norm: try layer.norm(.postAttentionNorm), block: try FeedForwardBlock(layer, fused: .gateUp),
                    outputNorm: try layer.norm(Self.feedForwardOutputNorm)))
        }
    }
}
