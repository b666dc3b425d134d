/// The names of a Llama model's tensors, in Hugging Face checkpoints and in GGUF files. On-disk names are spelled here
/// and nowhere else.
package enum CheckpointNames {
    /// The embedding matrix, [vocabularySize, hiddenSize].
    package static let embedding = "model.embed_tokens.weight"
    /// The weight of the last RMSNorm, [hiddenSize].
    package static let finalNorm = "model.norm.weight"
    /// The path of the output head, a linear module.
    package static let outputHeadModule = "lm_head"
    /// The output head, [vocabularySize, hiddenSize]; absent when tied to the embedding.
    package static let outputHead = "lm_head.weight"
    /// GGUF's divisors of the rotary frequencies, [headSize / 2]; not a tensor of Hugging Face's.
    package static let ggufRotaryFactors = "rope_freqs.weight"

    /// The parts of one decoder layer: Hugging Face's name and GGUF's.
    private static let layerParts: [(huggingFace: String, gguf: String)] = [
        ("input_layernorm", "attn_norm"),
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"),
        ("self_attn.o_proj", "attn_output"),
        ("post_attention_layernorm", "ffn_norm"),
        ("mlp.gate_proj", "ffn_gate"),
        ("mlp.up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
    ]

    private static let topLevel: [(huggingFace: String, gguf: String)] = [
        ("model.embed_tokens", "token_embd"),
        ("model.norm", "output_norm"),
        ("lm_head", "output"),
    ]

    private static let kinds = ["weight", "bias"]
    private static let layerPrefix = "model.layers."

    /// A module of layer `index`, such as `model.layers.3.self_attn.q_proj`.
    package static func module(_ part: String, layer index: Int) -> String { layerPrefix + "\(index).\(part)" }

    /// The layer of a module and its path inside that, such as (3, `self_attn.q_proj`); nil outside the layers.
    package static func layerPart(of module: String) -> (layer: Int, part: String)? {
        guard module.hasPrefix(layerPrefix) else { return nil }
        let rest = module.dropFirst(layerPrefix.count)
        guard let dot = rest.firstIndex(of: "."), let layer = Int(rest[..<dot]) else { return nil }
        return (layer, String(rest[rest.index(after: dot)...]))
    }

    /// Whether GGUF files of Llama models hold the rows of this tensor (Hugging Face's name) in another order: those
    /// of the query and key projections, whose outputs are rotated.
    package static func isPermutedInGGUF(_ name: String) -> Bool {
        name.contains(".self_attn.q_proj.") || name.contains(".self_attn.k_proj.")
    }

    /// The weight of a module.
    package static func weight(of module: String) -> String { module + ".weight" }

    /// The bias of a module, [outputSize].
    package static func bias(of module: String) -> String { module + ".bias" }

    /// The GGUF name of a Hugging Face tensor; nil for a tensor that no Llama model has.
    package static func gguf(of name: String) -> String? {
        translated(name, layerPrefix: layerPrefix, to: "blk.", \.huggingFace, \.gguf)
    }

    /// The Hugging Face name of a GGUF tensor; nil for a tensor that has none, such as `rope_freqs.weight`.
    package static func huggingFace(of name: String) -> String? {
        translated(name, layerPrefix: "blk.", to: layerPrefix, \.gguf, \.huggingFace)
    }

    private static func translated(
        _ name: String, layerPrefix: String, to newPrefix: String,
        _ source: KeyPath<(huggingFace: String, gguf: String), String>,
        _ target: KeyPath<(huggingFace: String, gguf: String), String>
    ) -> String? {
        guard let kind = kinds.first(where: { name.hasSuffix("." + $0) }) else { return nil }
        let stem = String(name.dropLast(kind.count + 1))
        if let pair = topLevel.first(where: { $0[keyPath: source] == stem }) {
            return pair[keyPath: target] + "." + kind
        }
        guard stem.hasPrefix(layerPrefix) else { return nil }
        let rest = stem.dropFirst(layerPrefix.count)
        guard let dot = rest.firstIndex(of: ".") else { return nil }
        let number = rest[..<dot]
        // "03" or "+3" would be two names of one tensor.
        guard let index = Int(number), index >= 0, String(index) == number else { return nil }
        let part = String(rest[rest.index(after: dot)...])
        guard let pair = layerParts.first(where: { $0[keyPath: source] == part }) else { return nil }
        return "\(newPrefix)\(index).\(pair[keyPath: target]).\(kind)"
    }
}
