import CheckpointIO
import Compute
import Glibc

/// Ministral 3's language model: Mistral's graph with queries that grow with the logarithm of their position, and yarn.
package struct Ministral3: Architecture {
    package static let names = ArchitectureNames(
        "ministral3", class: "Ministral3ForCausalLM", classifier: "Ministral3ForSequenceClassification",
        gguf: "mistral3")

    package static var modules: [ModuleTemplate<Ministral3>] {
        decoderModules { .rotaryPairs(headSize: $0.configuration.headSize) }
    }

    /// Queries at position p are multiplied by 1 + beta ln(1 + floor(p / positions)).
    struct QueryGrowth: Sendable, Equatable {
        let beta: Double
        let positions: Int

        func factor(_ position: Int) -> Float {
            1 + Float(beta) * logf(1 + Float(position / positions))
        }
    }

    package let configuration: ModelConfiguration
    /// How queries grow; nil where they do not.
    let growth: QueryGrowth?

    package init(_ fields: ModelFields) throws {
        try fields.refuseUnknownForms()
        try fields.refuseExpertsScalesAndWindows()
        configuration = try ModelConfiguration(
            fields, Self.names,
            assuming: .init(
                maximumPositions: 262_144, keyValueHeadCount: 8, headSize: 128, rmsNormEpsilon: 1e-5,
                rotaryBase: 1_000_000, bosTokenID: 1, eosTokenID: 2),
            biases: .init(), rotaryKinds: [.standard, .linear, .yarn])
        growth = try Self.growth(fields, configuration.maximumPositions)
        try Self.refuseSliding(fields, configuration)
    }

    private static func growth(_ fields: ModelFields, _ positions: Int) throws(ModelError) -> QueryGrowth? {
        if let gguf = fields.gguf {
            guard let beta = try gguf.positiveNumber(gguf.prefix + temperatureKey) else { return nil }
            let key = gguf.prefix + "rope.scaling.original_context_length"
            return QueryGrowth(beta: beta, positions: try gguf.requiredPositiveInteger(key))
        }
        guard let json = fields.json else { return nil }
        guard let inner = try json.rotaryParameters() else {
            // transformers then takes numbers of its own, a yarn among them.
            throw json.bad("rope_parameters", "the rotary embedding's kind and numbers", "missing")
        }
        guard let beta = try inner.positiveNumber("llama_4_scaling_beta") else { return nil }
        let original = try inner.positiveInteger("original_max_position_embeddings") ?? positions
        return QueryGrowth(beta: beta, positions: original)
    }

    private static let temperatureKey = "attention.temperature_scale"

    private static func refuseSliding(_ fields: ModelFields, _ configuration: ModelConfiguration) throws(ModelError) {
        let window = try fields.window(assumed: nil)
        let layers = try fields.slidingLayers(configuration.layerCount, assumed: .all)
        guard let window, window < configuration.maximumPositions, layers.isAnywhere else { return }
        throw fields.unsupported("sliding_window", "\(window)", "null")
    }

    package func write(to fields: inout WrittenFields) {
        configuration.write(names, to: &fields)
        configuration.writeLlamaKeys(to: &fields)
        fields.setJSON("sliding_window", .null)
        var parameters = configuration.rotaryScaling.parameters(base: configuration.rotaryBase)
        if let growth {
            parameters["llama_4_scaling_beta"] = .real(growth.beta)
            parameters["original_max_position_embeddings"] = .integer(growth.positions)
            fields.setGGUF(Self.temperatureKey, .float32(Float(growth.beta)))
        }
        fields.setJSON("rope_parameters", .object(parameters))
    }

    package func makeModel(_ weights: WeightLoader) throws -> any Model {
        let queries = growth.map { growth in
            configuration.rotary.table(weights.context, positionFactor: { growth.factor($0) })
        }
        return try Decoder.plain(weights) { _, rotary in AttentionForm(rotary: rotary, queryRotary: queries) }
    }
}
