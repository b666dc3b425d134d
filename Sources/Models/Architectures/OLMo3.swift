import CheckpointIO
import Compute

/// OLMo 3: OLMo 2's graph, of which most layers slide; those turn plainly, the others by a scaling such as yarn.
package struct OLMo3: Architecture {
    package static let names = ArchitectureNames(
        "olmo3", class: "Olmo3ForCausalLM", classifier: "Olmo3ForSequenceClassification", gguf: "olmo2")

    package static var modules: [ModuleTemplate<OLMo3>] { normedOutputModules }

    package let configuration: ModelConfiguration
    let window: Int?
    /// The layers that slide.
    let sliding: LayerPattern
    /// The base of their rotary frequencies.
    let slidingBase: Double

    private static let assumedBase = 500_000.0
    /// An array of truth values, one for each layer.
    private static let patternKey = "attention.sliding_window_pattern"

    package init(_ fields: ModelFields) throws {
        try fields.refuseUnknownForms()
        try fields.refuseExperts()
        try fields.refuseScales()
        configuration = try ModelConfiguration(
            fields, Self.names,
            assuming: .init(
                rmsNormEpsilon: 1e-5, rotaryBase: Self.assumedBase, eosTokenID: 50279, hasRotaryOfLayers: true),
            biases: .init(attention: try fields.hasBias(flag: "attention_bias", .query)),
            rotaryKinds: [.standard, .linear, .yarn])
        window = try fields.window(assumed: 4096)
        let assumed = try Self.pattern(fields, configuration.layerCount) ?? .allButEvery(4)
        sliding = try fields.slidingLayers(configuration.layerCount, assumed: assumed)
        slidingBase =
            fields.gguf == nil
            ? try fields.slidingRotaryBase(olderKey: nil, assumed: Self.assumedBase) : configuration.rotaryBase
    }

    private static func pattern(_ fields: ModelFields, _ count: Int) throws(ModelError) -> LayerPattern? {
        guard let gguf = fields.gguf, let value = gguf.metadata[gguf.prefix + patternKey] else { return nil }
        guard let flags = value.booleans, flags.count == count else {
            throw gguf.bad(gguf.prefix + patternKey, "\(count) truth values, one for each layer", "something else")
        }
        return .each(flags)
    }

    package static func reads(_ fields: GGUFFields) -> Bool { fields.hasWindow }

    package var ggufProblem: String? {
        slidingBase == configuration.rotaryBase ? nil : "two bases of rotary frequencies"
    }

    package func write(to fields: inout WrittenFields) {
        configuration.write(names, to: &fields)
        fields.setJSON("attention_bias", .bool(configuration.hasAttentionBias))
        fields.setJSON("sliding_window", window.map { .integer($0) } ?? .null)
        fields.setJSON("layer_types", sliding.layerTypes(configuration.layerCount))
        configuration.writeRotaryOfLayers(slidingBase: slidingBase, to: &fields)
        guard let window else { return }
        fields.setGGUF("attention.sliding_window", .uint32(UInt32(window)))
        fields.setGGUF(Self.patternKey, .booleans((0..<configuration.layerCount).map { sliding.contains($0) }))
    }

    package func makeModel(_ weights: WeightLoader) throws -> any Model {
        let full = configuration.rotary.table(weights.context)
        let plain = configuration.rotary.plain(base: slidingBase).table(weights.context)
        return try Decoder.normedOutputs(weights) { layer in
            let slides = sliding.contains(layer)
            return AttentionForm(
                rotary: slides ? plain : full, scoring: AttentionScoring(.sliding(slides ? window : nil)))
        }
    }
}
