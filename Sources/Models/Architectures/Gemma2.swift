import CheckpointIO
import Compute

/// Gemma 2 (arXiv 2408.00118): norms before and behind each sublayer that multiply by 1 + w, embeddings times the root of
/// their width, capped scores and logits; every other layer slides.
package struct Gemma2: Architecture {
    package static let names = ArchitectureNames(
        "gemma2", class: "Gemma2ForCausalLM", classifier: "Gemma2ForSequenceClassification", gguf: "gemma2")

    package static var modules: [ModuleTemplate<Gemma2>] {
        // llama.cpp knows no head of Gemma 2's but the embedding.
        gemmaModules().map { $0.role == .outputHead ? $0.with { $0.isInGGUF = false } : $0 }
    }

    package let configuration: ModelConfiguration
    let gemma: GemmaFields

    package init(_ fields: ModelFields) throws {
        configuration = try ModelConfiguration(
            fields, Self.names,
            assuming: .init(
                maximumPositions: 8192, keyValueHeadCount: 4, headSize: 256, bosTokenID: 2, eosTokenID: 1,
                tiesEmbeddings: true),
            biases: .init(attention: try fields.hasBias(flag: "attention_bias", .query)),
            rotaryKinds: [.standard, .linear])
        gemma = try GemmaFields(
            fields, configuration,
            GemmaFields.Assumptions(
                period: 2, widestLayerCount: 46, softcaps: (attention: 50, logits: 30)))
    }

    package var ggufProblem: String? {
        configuration.tiedEmbeddings ? gemma.ggufProblem(configuration) : "an output head of its own"
    }

    package func write(to fields: inout WrittenFields) {
        configuration.write(names, to: &fields)
        gemma.write(configuration, to: &fields)
        if let cap = gemma.scoreSoftcap { fields.setGGUF(GemmaFields.scoreKey, .float32(Float(cap))) }
        if let cap = gemma.logitSoftcap { fields.setGGUF(GemmaFields.logitKey, .float32(Float(cap))) }
    }

    package func makeModel(_ weights: WeightLoader) throws -> any Model {
        let rotary = configuration.rotary.table(weights.context)
        return try Decoder.gemma(weights, gemma) { _, layer in AttentionForm(rotary: rotary) }
    }
}
