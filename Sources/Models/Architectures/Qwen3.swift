import CheckpointIO
import Compute

/// Qwen3's dense models (Yang et al., "Qwen3 Technical Report", arXiv 2505.09388): Llama's graph with a norm of each
/// head of q and k before they are rotated, and heads of a width of their own.
package struct Qwen3: Architecture {
    package static let names = ArchitectureNames(
        "qwen3", class: "Qwen3ForCausalLM", classifier: "Qwen3ForSequenceClassification", gguf: "qwen3")

    package static var modules: [ModuleTemplate<Qwen3>] {
        [.embedding, .norm(.inputNorm), .norm(.postAttentionNorm), .headNorm(.queryNorm), .headNorm(.keyNorm)]
            + ModuleTemplate.attention(
                hasBias: { $0.configuration.hasAttentionBias }, outputHasBias: { $0.configuration.hasAttentionBias })
            + ModuleTemplate.feedForward()
            + [.finalNorm, .outputHead]
    }

    package let configuration: ModelConfiguration

    package init(_ fields: ModelFields) throws {
        try fields.refuseUnknownForms()
        try fields.refuseExpertsScalesAndWindows()
        configuration = try ModelConfiguration(
            fields, Self.names,
            assuming: .init(maximumPositions: 32768, keyValueHeadCount: 32, headSize: 128),
            biases: .init(attention: try fields.hasBias(flag: "attention_bias", .query)),
            rotaryKinds: [.standard, .linear, .dynamic, .yarn])
        try fields.refuseSlidingLayers(
            layerCount: configuration.layerCount, maximumPositions: configuration.maximumPositions,
            assumedWindow: 4096, assumedFirstLayer: 28)
    }

    package func write(to fields: inout WrittenFields) {
        configuration.write(names, to: &fields)
        fields.setJSON("attention_bias", .bool(configuration.hasAttentionBias))
        fields.setJSON("max_window_layers", .integer(configuration.layerCount))
        fields.setJSON("sliding_window", .null)
        fields.setJSON("use_sliding_window", .bool(false))
    }

    package func makeModel(_ weights: WeightLoader) throws -> any Model {
        let rotary = configuration.rotary.table(weights.context)
        return try Decoder(weights) { layer in
            let norms = (query: try layer.norm(.queryNorm), key: try layer.norm(.keyNorm))
            let form = AttentionForm(rotary: rotary, norms: norms)
            return DecoderLayer(
                attention: Sublayer(
                    norm: try layer.norm(.inputNorm), block: try AttentionBlock(layer, configuration, form)),
                feedForward: Sublayer(norm: try layer.norm(.postAttentionNorm), block: try FeedForwardBlock(layer)))
        }
    }
}
