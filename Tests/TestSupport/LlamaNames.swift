/// What checkpoints call the tensors of a Llama, for tests; written down apart from the table of the program.
package enum LlamaNames {
    /// The embedding's weight.
    package static let embedding = "model.embed_tokens.weight"
    /// The output head's weight.
    package static let outputHead = "lm_head.weight"
    /// The path of the output head.
    package static let outputHeadModule = "lm_head"
    /// The weight of the last norm.
    package static let finalNorm = "model.norm.weight"

    /// Hugging Face's names and GGUF's, in order of replacement.
    private static let pairs = [
        ("model.embed_tokens", "token_embd"), ("model.norm", "output_norm"), ("lm_head", "output"),
        ("model.layers", "blk"), ("input_layernorm", "attn_norm"), ("post_attention_layernorm", "ffn_norm"),
        ("self_attn.q_proj", "attn_q"), ("self_attn.k_proj", "attn_k"), ("self_attn.v_proj", "attn_v"),
        ("self_attn.o_proj", "attn_output"), ("mlp.gate_proj", "ffn_gate"), ("mlp.up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
    ]

    /// A module of layer `index`, such as `model.layers.3.self_attn.q_proj`.
    package static func module(_ part: String, layer index: Int) -> String { "model.layers.\(index).\(part)" }

    /// GGUF's name of a tensor; nil for a name without any part of a Llama's.
    package static func gguf(of name: String) -> String? {
        var translated = name
        for (from, to) in pairs {
            if let range = translated.range(of: from) { translated.replaceSubrange(range, with: to) }
        }
        return translated == name ? nil : translated
    }
}

/// The modules of a Llama that can be trained whole.
package enum WholeModule: CaseIterable, Sendable {
    /// The output head.
    case outputHead
    /// The embedding of tokens.
    case embedding

    /// The module's path.
    package var path: String { self == .outputHead ? LlamaNames.outputHeadModule : "model.embed_tokens" }
    /// The last part of the path.
    package var name: String { self == .outputHead ? "lm_head" : "embed_tokens" }
    /// The name of its tensor.
    package var weightName: String { self == .outputHead ? LlamaNames.outputHead : LlamaNames.embedding }
}
