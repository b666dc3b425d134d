/// What the two kinds of checkpoints call a module: inside a layer, or outside the layers.
package struct ModulePart: Sendable {
    /// Hugging Face's name, such as `self_attn.q_proj`.
    let path: String
    /// GGUF's, such as `attn_q`.
    let gguf: String

    init(_ path: String, gguf: String) {
        self.path = path
        self.gguf = gguf
    }

    /// What comes before a layer's number in GGUF files.
    static let ggufLayerPrefix = "blk."

    /// What comes before a layer's number in Hugging Face's checkpoints.
    static let layerPrefix = "model.layers."

    /// Hugging Face's path of the module in a layer, such as `model.layers.3.self_attn.q_proj`.
    func path(layer: Int, behind prefix: String = layerPrefix) -> String { prefix + "\(layer)." + path }

    /// GGUF's name of the module in a layer, such as `blk.3.attn_q`.
    func gguf(layer: Int) -> String { Self.ggufLayerPrefix + "\(layer)." + gguf }

    /// The tensors of a module.
    enum Kind: String {
        case weight
        case bias

        /// The tensor's name.
        func name(of module: String) -> String { module + "." + rawValue }
    }
}

/// The parts that most decoders have, by the names that Llama gave them.
extension ModulePart {
    /// The embedding of tokens.
    static let embedding = ModulePart("model.embed_tokens", gguf: "token_embd")
    /// The norm behind the last layer.
    static let finalNorm = ModulePart("model.norm", gguf: "output_norm")
    /// The output head.
    static let outputHead = ModulePart("lm_head", gguf: "output")
    /// The head for sequences of a decoder.
    static let score = ModulePart("score", gguf: "cls.output")
    /// The norm before attention.
    static let inputNorm = ModulePart("input_layernorm", gguf: "attn_norm")
    /// Attention's projections.
    static let query = ModulePart("self_attn.q_proj", gguf: "attn_q")
    static let key = ModulePart("self_attn.k_proj", gguf: "attn_k")
    static let value = ModulePart("self_attn.v_proj", gguf: "attn_v")
    static let output = ModulePart("self_attn.o_proj", gguf: "attn_output")
    /// Norms of each head of q and k.
    static let queryNorm = ModulePart("self_attn.q_norm", gguf: "attn_q_norm")
    static let keyNorm = ModulePart("self_attn.k_norm", gguf: "attn_k_norm")
    /// The norm before the feed-forward network.
    static let postAttentionNorm = ModulePart("post_attention_layernorm", gguf: "ffn_norm")
    /// Norms behind attention and around the feed-forward network, as Gemma and OLMo name them.
    static let attentionOutputNorm = ModulePart("post_attention_layernorm", gguf: "post_attention_norm")
    static let feedForwardNorm = ModulePart("pre_feedforward_layernorm", gguf: "ffn_norm")
    static let feedForwardOutputNorm = ModulePart("post_feedforward_layernorm", gguf: "post_ffw_norm")
    /// Queries, keys and values in one projection; gate and up in one.
    static let queryKeyValue = ModulePart("self_attn.qkv_proj", gguf: "attn_qkv")
    static let gateUp = ModulePart("mlp.gate_up_proj", gguf: "ffn_up")
    /// The feed-forward network's projections.
    static let gate = ModulePart("mlp.gate_proj", gguf: "ffn_gate")
    static let up = ModulePart("mlp.up_proj", gguf: "ffn_up")
    static let down = ModulePart("mlp.down_proj", gguf: "ffn_down")
}

/// The names of a module's tensors in a Hugging Face checkpoint.
package enum CheckpointNames {
    /// The weight of a module.
    package static func weight(of module: String) -> String { ModulePart.Kind.weight.name(of: module) }

    /// The bias of a module, [outputSize].
    package static func bias(of module: String) -> String { ModulePart.Kind.bias.name(of: module) }
}
