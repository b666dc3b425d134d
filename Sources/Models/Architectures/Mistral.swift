import CheckpointIO
import Compute

/// Mistral (Jiang et al., arXiv 2310.06825) without a sliding window, or with one that no sequence outgrows: Llama's
/// graph without biases. GGUF files call it `llama`.
package struct Mistral: Architecture {
    package static let names = ArchitectureNames(
        "mistral", class: "MistralForCausalLM", gguf: "llama", known: "mistral (without a sliding window)")

    package static var modules: [ModuleTemplate<Mistral>] {
        decoderModules { .rotaryPairs(headSize: $0.configuration.headSize) }
    }

    package let configuration: ModelConfiguration

    package init(_ fields: ModelFields) throws {
        try fields.refuseUnknownForms()
        try Self.refuseWindow(fields)
        configuration = try ModelConfiguration(
            fields, Self.names,
            assuming: .init(
                maximumPositions: Self.assumedPositions, keyValueHeadCount: 8, bosTokenID: 1, eosTokenID: 2),
            biases: .init(), rotaryKinds: [.standard, .linear, .llama3])
    }

    private static let assumedPositions = 4096 * 32

    private static func refuseWindow(_ fields: ModelFields) throws(ModelError) {
        guard let json = fields.json else { return }
        guard json.hasKey("sliding_window") else {
            // transformers then assumes a window of 4096, which this graph has not.
            throw json.unsupported("sliding_window", "missing", "an explicit null")
        }
        let positions = try fields.size(.maximumPositions, assumed: assumedPositions)
        if let window = try json.positiveInteger("sliding_window"), window < positions {
            throw json.unsupported(
                "sliding_window", "\(window)", "null or a window not below max_position_embeddings")
        }
    }

    package func write(to fields: inout WrittenFields) {
        configuration.write(names, to: &fields)
        fields.setJSON("sliding_window", .null)
        configuration.writeLlamaKeys(to: &fields)
    }

    package func makeModel(_ weights: WeightLoader) throws -> any Model {
        try Decoder.plain(weights)
    }
}
