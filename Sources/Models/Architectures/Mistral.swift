import CheckpointIO
import Compute

/// Mistral (Jiang et al., arXiv 2310.06825): Llama's graph without biases, with a sliding window in every layer or in
/// none. GGUF files call it `llama`; those of llama.cpp do not tell of the window, and are read as Llama without one.
package struct Mistral: Architecture {
    package static let names = ArchitectureNames(
        "mistral", class: "MistralForCausalLM", classifier: "MistralForSequenceClassification", gguf: "llama")

    package static var modules: [ModuleTemplate<Mistral>] {
        decoderModules { .rotaryPairs(headSize: $0.configuration.headSize) }
    }

    package let configuration: ModelConfiguration
    /// Tokens that a token sees, itself one of them; nil for all before it.
    let window: Int?

    package init(_ fields: ModelFields) throws {
        try fields.refuseUnknownForms()
        try fields.refuseExperts()
        try fields.refuseScales()
        configuration = try ModelConfiguration(
            fields, Self.names,
            assuming: .init(
                maximumPositions: 4096 * 32, keyValueHeadCount: 8, bosTokenID: 1, eosTokenID: 2),
            biases: .init(), rotaryKinds: [.standard, .linear, .dynamic, .llama3, .yarn])
        let given = try fields.window(assumed: 4096)
        let layers = try fields.slidingLayers(configuration.layerCount, assumed: .all)
        window = layers.contains(0) ? given : nil
        if let layer = layers.firstUnlike0 {
            throw fields.unsupported("layer_types", "another kind for layer \(layer)", "one kind for all layers")
        }
    }

    package static func reads(_ fields: GGUFFields) -> Bool { fields.hasWindow && !fields.hasExperts }

    package func write(to fields: inout WrittenFields) {
        configuration.write(names, to: &fields)
        fields.setJSON("sliding_window", window.map { .integer($0) } ?? .null)
        configuration.writeLlamaKeys(to: &fields)
        if let window { fields.setGGUF("attention.sliding_window", .uint32(UInt32(window))) }
    }

    package func makeModel(_ weights: WeightLoader) throws -> any Model {
        try Decoder.plain(weights) { _, rotary in
            AttentionForm(rotary: rotary, scoring: AttentionScoring(.sliding(window)))
        }
    }
}
