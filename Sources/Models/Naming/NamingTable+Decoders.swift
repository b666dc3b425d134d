/// Text models, and those of several kinds of input by the names of their text models, that publish their files by other
/// names than those in memory.
extension NamingTable {
    private static let diffusersAttention = [
        Rule("self_attn.o_proj", "self_attn.to_out"), Rule("self_attn.q_proj", "self_attn.to_q"),
        Rule("self_attn.k_proj", "self_attn.to_k"),
        Rule("self_attn.v_proj", "self_attn.to_v"),
    ]
    /// Inkling's attention, but for what it is within.
    private static func inklingAttention(_ inner: String) -> [Rule] {
        let names = [("q_proj", "wq_du"), ("k_proj", "wk_dv"), ("v_proj", "wv_dv"), ("o_proj", "wo_ud")]
        return names.map { own, files in Rule("self_attn." + own + inner, "attn." + files) }
    }
    /// What lies in the files without the tower around it.
    private static let cosmosTower: [Rule] =
        ["blocks", "merger", "patch_embed", "pos_embed", "deepstack_merger_list"].map {
            Rule("visual." + $0, $0)
        }
    private static let inklingEmbedding = [
        Rule("^lm_head", "^model.llm.unembed"), Rule("language_model.embed_tokens", "llm.embed"),
        Rule("post_attention_layernorm", "mlp_norm"), Rule("input_layernorm", "attn_norm"),
    ]

    static let decoders: [NamingFamily] = [
        NamingFamily(
            ["cosmos3_edge"],
            diffusersAttention + [Rule("mlp.fc1", "mlp.up_proj"), Rule("mlp.fc2", "mlp.down_proj")]),
        NamingFamily(
            ["cosmos3_omni"],
            diffusersAttention + cosmosTower + [
                Rule("self_attn.q_norm", "self_attn.norm_q"), Rule("self_attn.k_norm", "self_attn.norm_k"),
            ]),
        NamingFamily(
            ["axk2"],
            [
                Rule("self_attn.q_gate_proj", "self_attn.q_b_proj"), Rule("mlp.fc1", "W_down"), Rule("mlp.fc2", "W_up"),
            ]),
        NamingFamily(["axk1"], [Rule("mlp.post_mlp_layernorm", "post_mlp_layernorm")]),
        NamingFamily(
            ["inkling_mm_model", "inkling_text", "inkling_mm_text"],
            inklingAttention("") + inklingEmbedding + [
                Rule("self_attn.r_proj", "attn.wr_du"), Rule("self_attn.rel_logits_proj", "attn.rel_logits_proj"),
                Rule("self_attn.q_norm", "attn.q_norm"), Rule("self_attn.k_norm", "attn.k_norm"),
                Rule("mlp.down_proj", "mlp.w2_md"),
            ], fusions: [Fusion("mlp.w13_dn", inTurn: "mlp.gate_proj", "mlp.up_proj")]),
        NamingFamily(
            ["inkling2", "inkling2_text", "inkling2_loop", "inkling2_loop_text"],
            inklingAttention(".linear") + inklingEmbedding + [
                Rule("self_attn.relative_position_bias.linear", "attn.wr_du"),
                Rule("self_attn.o_proj.gate_proj", "attn.gate_attn"),
                Rule("self_attn.sink_proj", "attn.attn_sink_proj"),
                Rule("embed_tokens", "embed"),
            ]),
        NamingFamily(
            ["hy_v4", "hy_v4_text", "hy_v4_vl", "hy_v4_vl_text"],
            [Rule("self_attn.gate_proj", "self_attn.linear_gate"), Rule("mlp.gate_proj", "mlp.linear_gate")]),
        NamingFamily(["lfm3"], [Rule("self_attn.g_proj", "self_attn.gate_proj")]),
        NamingFamily(
            ["deepseek_v4"],
            experts + [
                Rule("self_attn.q_a_proj", "attn.wq_a"), Rule("self_attn.q_b_proj", "attn.wq_b"),
                Rule("self_attn.kv_proj", "attn.wkv"), Rule("self_attn.o_a_proj", "attn.wo_a"),
                Rule("self_attn.o_b_proj", "attn.wo_b"), Rule("self_attn", "attn"), Rule("mlp", "ffn"),
                Rule("mlp.shared_experts.gate_proj", "ffn.shared_experts.w1"),
                Rule("mlp.shared_experts.up_proj", "ffn.shared_experts.w3"),
                Rule("mlp.shared_experts.down_proj", "ffn.shared_experts.w2"), Rule("input_layernorm", "attn_norm"),
                Rule("post_attention_layernorm", "ffn_norm"), Rule("embed_tokens", "embed"),
                Rule("^lm_head", "^head"),
            ]),
        NamingFamily(["glm5_next", "glm5_next_text"], forgetGate),
        NamingFamily(["kimi_linear"], experts + forgetGate + [Rule("mlp", "block_sparse_moe")]),
        NamingFamily(
            ["bailing_hybrid"],
            [
                Rule("self_attn.o_proj", "attention.dense"), Rule("self_attn.forget_gate.f_proj", "attention.f_proj"),
                Rule("self_attn", "attention"), Rule("embed_tokens", "word_embeddings"),
            ]),
        NamingFamily(
            ["sarvam_moe"],
            [
                Rule("self_attn.o_proj", "attention.dense"), Rule("self_attn.q_norm", "attention.query_layernorm"),
                Rule("self_attn.k_norm", "attention.key_layernorm"), Rule("self_attn", "attention"),
                Rule("embed_tokens", "word_embeddings"),
            ],
            fusions: ["self_attn", "attention"].map {
                Fusion("\($0).query_key_value", of: "\($0).q_proj", "\($0).k_proj", "\($0).v_proj")
            }),
        NamingFamily(
            ["kolibri1"],
            [
                Rule("post_self_attn_layernorm", "post_attn_norm"), Rule("post_mlp_layernorm", "post_ffn_norm"),
            ]),
        NamingFamily(
            ["jina_embeddings_v3"],
            [Rule("layers.#", "encoder.layers.#"), Rule("self_attn.o_proj", "mixer.out_proj")],
            fusions: [Fusion("mixer.Wqkv", of: "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")]),
        NamingFamily(
            ["ultrabert"], [Rule("^model", "^ultrabert"), Rule("^head.decoder", "^cls")]),
        NamingFamily(["timesfm2_5"], [Rule("fc1", "ff0"), Rule("fc2", "ff1")]),
    ]

    /// Projections of a forget gate that lie beside the attention's own in the files.
    private static let forgetGate = [
        Rule("self_attn.forget_gate.f_a_proj", "self_attn.f_a_proj"),
        Rule("self_attn.forget_gate.f_b_proj", "self_attn.f_b_proj"),
    ]
}
