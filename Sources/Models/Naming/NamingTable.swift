import TensorCore

/// What is known of how model types name their modules in memory and in files; all else is found by the names themselves.
enum NamingTable {
    typealias Rule = NamingFamily.Rule
    typealias Fusion = NamingFamily.Fusion

    /// `query`, `key`, `value` and `output.dense` of an attention module that is one within another in the files.
    private static let nestedAttention = [
        Rule("attention.q_proj", "attention.attention.query"), Rule("attention.k_proj", "attention.attention.key"),
        Rule("attention.v_proj", "attention.attention.value"), Rule("attention.o_proj", "attention.output.dense"),
    ]
    /// The same where the inner module is called `self`.
    private static let selfAttention = [
        Rule("attention.q_proj", "attention.self.query"), Rule("attention.k_proj", "attention.self.key"),
        Rule("attention.v_proj", "attention.self.value"), Rule("attention.o_proj", "attention.output.dense"),
    ]
    private static let denseFeedForward = [Rule("mlp.fc1", "intermediate.dense"), Rule("mlp.fc2", "output.dense")]
    static let experts = [
        Rule("experts.#.gate_proj", "experts.#.w1"), Rule("experts.#.up_proj", "experts.#.w3"),
        Rule("experts.#.down_proj", "experts.#.w2"),
    ]

    /// Every family; a model type may be in several.
    static let families = usual + decoders + towers

    /// Those that other models are built after.
    private static let usual: [NamingFamily] = [
        NamingFamily(
            ["vit", "deit", "beit", "vit_mae", "vit_msn", "ijepa", "vivit", "audio-spectrogram-transformer", "pixio"],
            nestedAttention + denseFeedForward + [Rule("layers.#", "encoder.layer.#")]),
        NamingFamily(
            ["dinov2", "dinov2_with_registers", "lw_detr", "rf_detr"],
            nestedAttention + [Rule("mlp.down_proj", "mlp.weights_out")],
            fusions: [Fusion("mlp.weights_in", of: "mlp.gate_proj", "mlp.up_proj")]),
        NamingFamily(["swin"], selfAttention + denseFeedForward),
        NamingFamily(
            ["segformer"],
            selfAttention + [
                Rule("mlp.fc1", "mlp.dense1"), Rule("mlp.fc2", "mlp.dense2"),
                Rule("stages.#.blocks.#", "encoder.block.#.#"),
                Rule("stages.#.patch_embeddings", "encoder.patch_embeddings.#"),
                Rule("attention.sequence_reduction.sequence_reduction", "attention.self.sr"),
                Rule("decode_head.linear_projections", "decode_head.linear_c"),
            ]),
        NamingFamily(
            ["mixtral", "minimax", "minimax_m2", "minimax_m3_vl"], experts + [Rule("mlp", "block_sparse_moe")]),
        NamingFamily(
            ["phimoe"], experts + [Rule("mlp.router", "block_sparse_moe.gate"), Rule("mlp", "block_sparse_moe")]),
        NamingFamily(["lfm2_moe"], experts),
        NamingFamily(
            ["granitemoe", "granitemoeshared", "granitemoehybrid"],
            [Rule("block_sparse_moe.router", "block_sparse_moe.router.layer")]),
        NamingFamily(["gpt_neox"], [Rule("^lm_head", "^embed_out")]),
        NamingFamily(
            ["step3p5", "step3p7"],
            [
                Rule("mlp.experts", "moe"), Rule("mlp.gate", "moe.gate"), Rule("mlp.shared_experts", "share_expert"),
            ]),
        NamingFamily(
            ["hy_v3"], [Rule("mlp.gate", "mlp.router.gate"), Rule("mlp.shared_experts", "mlp.shared_mlp")]),
        NamingFamily(["laguna"], [Rule("mlp.shared_experts", "mlp.shared_expert")]),
        NamingFamily(["nemotron_h"], [Rule("^model", "^backbone")]),
        NamingFamily(
            ["exaone", "exaone4"],
            [
                Rule("^model.embed_tokens", "^transformer.wte"), Rule("^model.layers", "^transformer.h"),
                Rule("self_attn.o_proj", "attn.attention.out_proj"), Rule("self_attn", "attn.attention"),
                Rule("mlp.gate_proj", "mlp.c_fc_0"), Rule("mlp.up_proj", "mlp.c_fc_1"),
                Rule("mlp.down_proj", "mlp.c_proj"),
            ]),
        NamingFamily(
            [
                "detr", "table-transformer", "maskformer", "conditional_detr", "deformable_detr",
            ],
            [
                Rule("self_attn.o_proj", "self_attn.out_proj"), Rule("encoder_attn.o_proj", "encoder_attn.out_proj"),
                Rule("layers.#.mlp.fc1", "layers.#.fc1"), Rule("layers.#.mlp.fc2", "layers.#.fc2"),
            ]),
        NamingFamily(["altclip"], [Rule("layers.#", "layer.#")]),
        NamingFamily(
            ["nomic_bert"],
            [
                Rule("layers.#", "encoder.layers.#"), Rule("self_attn.o_proj", "attn.out_proj"),
                Rule("mlp.up_proj", "mlp.fc11"), Rule("mlp.gate_proj", "mlp.fc12"), Rule("mlp.down_proj", "mlp.fc2"),
            ],
            fusions: [Fusion("attn.Wqkv", of: "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")]),
        NamingFamily(
            ["gte", "new"],
            [Rule("layers.#", "encoder.layer.#"), Rule("self_attn.o_proj", "attention.o_proj")],
            fusions: [
                Fusion("attention.qkv_proj", of: "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
                Fusion("mlp.up_gate_proj", of: "mlp.up_proj", "mlp.gate_proj"),
            ]),
        NamingFamily(
            ["hunyuan_vl", "hy_v4_vl"],
            [
                Rule("mlp.fc1", "mlp.dense_h_to_4h"), Rule("mlp.fc2", "mlp.dense_4h_to_h"),
                Rule("^model.vision_tower", "^vit"), Rule("^model.language_model", "^model"),
            ]),
        NamingFamily(["paddleocr_vl"], [Rule("^model.projector", "^mlp_AR")]),
        NamingFamily(
            ["molmo2"],
            [
                Rule("self_attn.o_proj", "self_attn.attn_out"), Rule("mlp.down_proj", "mlp.ff_out"),
                Rule("layers.#", "blocks.#"),
            ],
            fusions: [
                Fusion("self_attn.att_proj", of: "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
                Fusion("mlp.ff_proj", of: "mlp.up_proj", "mlp.gate_proj"),
            ]),
        NamingFamily(
            ["hrm_text"], [Rule("self_attn.o_proj", "attn.o_proj")],
            fusions: [
                Fusion("mlp.gate_up_proj", of: "mlp.gate_proj", "mlp.up_proj"),
                Fusion(
                    "attn.gqkv_proj", of: "self_attn.gate_proj", "self_attn.q_proj", "self_attn.k_proj",
                    "self_attn.v_proj"),
            ]),
        NamingFamily(
            ["phi3", "phi3small", "phi4_multimodal"], [],
            fusions: [
                Fusion("mlp.gate_up_proj", of: "mlp.gate_proj", "mlp.up_proj"),
                Fusion("self_attn.qkv_proj", of: "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
            ]),
    ]

    /// Components of which a name has one at least that any family changes.
    static let words: Set<Substring> = families.reduce(into: []) { $0.formUnion($1.firstWords) }

    /// Whether anything here is said of a model type, or it is one with a graph.
    static func knows(_ modelType: String) -> Bool {
        plainExperts.contains(modelType) || transposedExperts.contains(modelType) || ownForms.contains(modelType)
            || families.contains { $0.modelTypes.contains(modelType) }
            || ArchitectureTable.all.contains { $0.names.modelType == modelType }
    }

    /// Model types whose files hold something in an order or number of their own, so that nothing is looked for by another
    /// family's names: rows that turn in pairs, experts of two kinds in one list, two blocks to a layer.
    static let ownForms: NameSet = [
        "mistral_large4", "mistral_large4_text", "gradium_phonon_tts", "step3p5_vision", "ernie4_5_vl_moe",
        "nemo_speechlm", "lara_mini", "dory",
    ]

    /// Model types whose packed experts are stored [experts, in, out].
    static let transposedExperts: NameSet = [
        "gpt_oss", "qwen3_vl_moe", "qwen3_vl_moe_text", "llama4", "llama4_text", "aria", "aria_text",
    ]
    /// Those of them whose modules do not say so, for which peft takes them for [experts, out, in].
    static let unmarkedExperts: NameSet = ["llama4", "llama4_text"]
    /// Those of them that transformers 5 holds in memory as [experts, out, in], and 4 did not.
    static let turnedExperts: NameSet = ["qwen3_vl_moe", "qwen3_vl_moe_text"]
    /// Model types whose packed experts are stored [experts, out, in].
    static let plainExperts: NameSet = [
        "mixtral", "minimax", "minimax_m2", "qwen2_moe", "qwen3_moe", "qwen3_next", "qwen3_5_moe", "qwen3_5_moe_text",
        "deepseek_v2", "deepseek_v3", "deepseek_v32", "dots1", "ernie4_5_moe", "glm4_moe", "glm4_moe_lite", "glm4v_moe",
        "olmoe", "flex_olmo", "hunyuan_v1_moe", "jamba", "lfm2_moe", "phimoe", "granitemoe", "granitemoeshared",
        "granitemoehybrid", "longcat_flash", "exaone_moe", "cohere2_moe", "nemotron_h", "solar_open", "afmoe",
        "inkling_mm_model", "inkling_text", "inkling2", "inkling2_text", "inkling2_loop", "inkling2_loop_text",
    ]
    /// Model types whose packed gate and up projections lie in turn, one row of each, in memory as in the files.
    static let interleavedExperts: NameSet = ["gpt_oss"]
    /// The packed tensor of gates and ups that lie in turn in Inkling's files, and one behind the other in memory.
    static let interleavedFile = "w13_weight"
}
