import CheckpointIO
import Compute

/// Phi-3 and Phi-4 (Abdin et al., arXiv 2404.14219): Llama's graph with queries, keys and values in one projection, and
/// gate and up in one; some slide, some turn a part of each head, some by factors that depend on the sequence's length.
package struct Phi3: Architecture {
    package static let names = ArchitectureNames(
        "phi3", class: "Phi3ForCausalLM", classifier: "Phi3ForSequenceClassification", gguf: "phi3")
    package static let defaultTargets: [String]? = ["qkv_proj", "gate_up_proj", "down_proj"]

    package static var modules: [ModuleTemplate<Phi3>] {
        [
            .embedding, .norm(.inputNorm), .norm(.postAttentionNorm),
            ModuleTemplate(.queryKeyValue, .projection) {
                [$0.configuration.querySize + 2 * $0.configuration.keyValueSize, $0.configuration.hiddenSize]
            },
            ModuleTemplate(.output, .projection) { [$0.configuration.hiddenSize, $0.configuration.querySize] },
        ] + ModuleTemplate.fusedFeedForward + [.finalNorm, .outputHead]
    }

    package let configuration: ModelConfiguration
    /// Tokens that a token sees, itself one of them; nil for all before it.
    let window: Int?

    package init(_ fields: ModelFields) throws {
        try fields.refuseUnknownForms()
        try fields.refuseExperts()
        try fields.refuseScales()
        for key in ["resid_pdrop", "embd_pdrop"] {
            if let rate = fields.json?.member(key)?.doubleValue, rate != 0 {
                throw fields.unsupported(key, "\(rate)", "0")
            }
        }
        configuration = try ModelConfiguration(
            fields, Self.names,
            assuming: .init(
                maximumPositions: 4096, rmsNormEpsilon: 1e-5, bosTokenID: 1, eosTokenID: 32000, turnedShare: 1,
                originalPositions: 4096),
            biases: .init(), rotaryKinds: [.standard, .longrope])
        window = try fields.window(assumed: nil)
    }

    package func write(to fields: inout WrittenFields) {
        configuration.write(names, to: &fields)
        fields.setJSON("sliding_window", window.map { .integer($0) } ?? .null)
        fields.setGGUF("rope.dimension_count", .uint32(UInt32(configuration.turnedSize)))
        // As llama.cpp's converter has it: 0 for none.
        fields.setGGUF("attention.sliding_window", .uint32(UInt32(window ?? 0)))
        configuration.writeTurnedShare(to: &fields)
        if case .longrope(let long) = configuration.rotaryScaling {
            fields.setJSON("original_max_position_embeddings", .integer(long.originalPositions))
        }
    }

    package func makeModel(_ weights: WeightLoader) throws -> any Model {
        let rotary = configuration.rotary.table(weights.context)
        let form = AttentionForm(rotary: rotary, scoring: AttentionScoring(.sliding(window)))
        var decoder = DecoderForm()
        // As transformers does when it generates.
        if case .longrope(let long) = configuration.rotaryScaling { decoder.restart = long.originalPositions }
        return try Decoder(weights, decoder) { layer in
            DecoderLayer(
                attention: Sublayer(
                    norm: try layer.norm(.inputNorm),
                    block: try AttentionBlock(layer, configuration, form, fused: .queryKeyValue)),
                feedForward: Sublayer(
                    norm: try layer.norm(.postAttentionNorm), block: try FeedForwardBlock(layer, fused: .gateUp)))
        }
    }
}
