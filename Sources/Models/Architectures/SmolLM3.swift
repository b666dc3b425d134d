import CheckpointIO
import Compute

/// SmolLM3: Llama's graph, of which some layers do not rotate queries and keys (Yang et al., "RoPE to NoPE and Back Again",
/// arXiv 2501.18795).
package struct SmolLM3: Architecture {
    package static let names = ArchitectureNames(
        "smollm3", class: "SmolLM3ForCausalLM", classifier: "SmolLM3ForSequenceClassification", gguf: "smollm3")

    package static var modules: [ModuleTemplate<SmolLM3>] {
        // The converter turns the rows of all layers, with rotary embedding or without.
        decoderModules { .rotaryPairs(headSize: $0.configuration.headSize) }
    }

    package let configuration: ModelConfiguration
    /// The layers that rotate.
    let rotating: LayerPattern

    /// What transformers assumes, and what llama.cpp takes of every file: the 4th layer does not rotate, nor the 8th...
    private static let assumedInterval = 4

    package init(_ fields: ModelFields) throws {
        try fields.refuseUnknownForms()
        try fields.refuseExpertsScalesAndWindows()
        configuration = try ModelConfiguration(
            fields, Self.names,
            assuming: .init(
                maximumPositions: 32768, keyValueHeadCount: 4, rotaryBase: 2_000_000, bosTokenID: 128_000,
                eosTokenID: 128_001, tiesEmbeddings: true),
            biases: .init(
                attention: try fields.hasBias(flag: "attention_bias", .query),
                mlp: try fields.hasBias(flag: "mlp_bias", .up)),
            rotaryKinds: [.standard, .linear, .dynamic, .llama3, .yarn])
        rotating = try Self.rotatingLayers(fields, configuration.layerCount)
        let sliding = try fields.slidingLayers(configuration.layerCount, assumed: .none)
        let window = try fields.json?.positiveInteger("sliding_window")
        let isUsed = try fields.json?.flag("use_sliding_window") ?? false
        if let window, window < configuration.maximumPositions, isUsed || sliding.isAnywhere {
            throw fields.unsupported("sliding_window", "\(window)", "models without a sliding window")
        }
    }

    private static func rotatingLayers(_ fields: ModelFields, _ count: Int) throws(ModelError) -> LayerPattern {
        guard let json = fields.json else { return .allButEvery(assumedInterval) }
        let key = "no_rope_layers"
        guard json.isPresent(key) else {
            return .allButEvery(try json.positiveInteger("no_rope_layer_interval") ?? assumedInterval)
        }
        let flags = json.member(key)?.arrayValue?.map { $0.integer(in: .sizesOrNone) } ?? []
        guard flags.count == count, flags.allSatisfy({ $0 == 0 || $0 == 1 }) else {
            throw json.bad(key, "a list of \(count) numbers, 0 or 1 for each layer", "\(flags.count) elements")
        }
        return .each(flags.map { $0 == 1 })
    }

    package var ggufProblem: String? {
        let isUsual = (0..<configuration.layerCount).allSatisfy {
            rotating.contains($0) == LayerPattern.allButEvery(Self.assumedInterval).contains($0)
        }
        return isUsual ? nil : "layers without rotary embedding ('no_rope_layers') other than every 4th"
    }

    package func write(to fields: inout WrittenFields) {
        configuration.write(names, to: &fields)
        fields.setJSON("attention_bias", .bool(configuration.hasAttentionBias))
        fields.setJSON("mlp_bias", .bool(configuration.hasMLPBias))
        fields.setJSON(
            "no_rope_layers",
            .array((0..<configuration.layerCount).map { .integer(rotating.contains($0) ? 1 : 0) }))
        fields.setJSON("sliding_window", .null)
        fields.setJSON("use_sliding_window", .bool(false))
        configuration.writeLlamaKeys(to: &fields)
    }

    package func makeModel(_ weights: WeightLoader) throws -> any Model {
        try Decoder.plain(weights) { layer, rotary in
            AttentionForm(rotary: rotating.contains(layer) ? rotary : nil)
        }
    }
}
