import CheckpointIO
import Compute

/// Gemma 3's language model (arXiv 2503.19786): Gemma 2's graph without caps, with norms of each head of queries and keys,
/// and of six layers five that slide, which turn by a base of their own.
package struct Gemma3: Architecture {
    package static let names = ArchitectureNames(
        "gemma3_text", class: "Gemma3ForCausalLM", classifier: "Gemma3TextForSequenceClassification", gguf: "gemma3")

    package static var modules: [ModuleTemplate<Gemma3>] {
        gemmaModules([.headNorm(.queryNorm), .headNorm(.keyNorm)])
    }

    package let configuration: ModelConfiguration
    let gemma: GemmaFields
    /// The base of the rotary frequencies of layers that slide.
    let slidingBase: Double

    private static let slidingBaseKey = "rope.freq_base_swa"
    private static let assumedSlidingBase = 10_000.0

    package init(_ fields: ModelFields) throws {
        configuration = try ModelConfiguration(
            fields, Self.names,
            assuming: .init(
                maximumPositions: 131_072, keyValueHeadCount: 4, headSize: 256, rotaryBase: 1_000_000, bosTokenID: 2,
                eosTokenID: 1, headCount: 8, vocabularySize: 262_208, tiesEmbeddings: true, hasRotaryOfLayers: true),
            biases: .init(attention: try fields.hasBias(flag: "attention_bias", .query)),
            rotaryKinds: [.standard, .linear])
        gemma = try GemmaFields(
            fields, configuration,
            GemmaFields.Assumptions(period: 6, widestLayerCount: 62, softcaps: (attention: nil, logits: nil)))
        if let gguf = fields.gguf {
            slidingBase = try gguf.positiveNumber(gguf.prefix + Self.slidingBaseKey) ?? Self.assumedSlidingBase
        } else {
            slidingBase = try fields.slidingRotaryBase(
                olderKey: "rope_local_base_freq", assumed: Self.assumedSlidingBase)
        }
    }

    package var ggufProblem: String? {
        gemma.ggufProblem(configuration)
            ?? (gemma.scoreSoftcap ?? gemma.logitSoftcap).map { _ in "caps of scores or logits" }
    }

    package func write(to fields: inout WrittenFields) {
        configuration.write(names, to: &fields)
        gemma.write(configuration, to: &fields)
        fields.setJSON("rope_local_base_freq", .real(slidingBase))
        configuration.writeRotaryOfLayers(slidingBase: slidingBase, to: &fields)
        fields.setGGUF(Self.slidingBaseKey, .float32(Float(slidingBase)))
    }

    package func makeModel(_ weights: WeightLoader) throws -> any Model {
        let full = configuration.rotary.table(weights.context)
        let plain = configuration.rotary.plain(base: slidingBase).table(weights.context)
        return try Decoder.gemma(weights, gemma) { layer, slides in
            AttentionForm(
                rotary: slides ? plain : full,
                norms: (
                    query: try layer.norm(.queryNorm, addsOne: true), key: try layer.norm(.keyNorm, addsOne: true)
                ))
        }
    }
}
