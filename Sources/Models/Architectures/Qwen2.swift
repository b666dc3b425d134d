import CheckpointIO
import Compute

/// Qwen2 and Qwen2.5's dense models (Yang et al., "Qwen2 Technical Report", arXiv 2407.10671): Llama's graph with biases
/// on q, k and v and none on o.
package struct Qwen2: Architecture {
    package static let names = ArchitectureNames(
        "qwen2", class: "Qwen2ForCausalLM", classifier: "Qwen2ForSequenceClassification", gguf: "qwen2")

    package static var modules: [ModuleTemplate<Qwen2>] {
        [.embedding, .norm(.inputNorm), .norm(.postAttentionNorm)]
            + ModuleTemplate.attention(hasBias: { _ in true }, outputHasBias: { _ in false })
            + ModuleTemplate.feedForward()
            + [.finalNorm, .outputHead]
    }

    package let configuration: ModelConfiguration

    package init(_ fields: ModelFields) throws {
        try fields.refuseUnknownForms()
        try fields.refuseExpertsScalesAndWindows()
        configuration = try ModelConfiguration(
            fields, Self.names, assuming: .init(maximumPositions: 32768, keyValueHeadCount: 32),
            biases: .init(attention: true), rotaryKinds: [.standard, .linear, .dynamic, .yarn])
        try fields.refuseSlidingLayers(
            layerCount: configuration.layerCount, maximumPositions: configuration.maximumPositions,
            assumedWindow: 4096, assumedFirstLayer: 28)
    }

    package func write(to fields: inout WrittenFields) {
        configuration.write(names, to: &fields)
        fields.setJSON("max_window_layers", .integer(configuration.layerCount))
        fields.setJSON("sliding_window", .null)
        fields.setJSON("use_sliding_window", .bool(false))
    }

    package func makeModel(_ weights: WeightLoader) throws -> any Model {
        try Decoder.plain(weights)
    }
}
