/// The architectures whose GGUF files can be merged into though they have no graph here.
///
/// A name is `general.architecture`. What stands here is what llama.cpp's conversion makes of the checkpoints, as
/// Tests/Scripts/make_gguf_names.py does apart from this table; anything that the table does not name keeps its GGUF name
/// and is not merged into. An architecture that gets a graph (`ArchitectureTable`) says the same by its modules, with
/// `ModuleTemplate.ggufRows` for the order of rows: its line here goes then, unless its GGUF name stands for models that
/// the graph refuses, as `llama` does for Mixtral and `qwen2` for windows.
enum GGUFNamings {
    /// Every name that `naming` knows.
    static let names = [
        "llama", "mistral3", "granite", "smollm3", "qwen2", "qwen3", "qwen3moe", "qwen35", "gemma2", "gemma3", "phi3",
        "olmo2", "glm4", "gpt-oss", "bert", "modern-bert",
    ]

    /// The naming of an architecture; `has` tells which tensors the file has. Nil for an architecture that is not known.
    static func naming(_ architecture: String, has: (String) -> Bool) -> GGUFNaming? {
        switch architecture {
        case "llama", "mistral3", "granite", "smollm3": llamaFamily
        case "qwen2", "qwen3", "qwen3moe": qwen
        case "qwen35": qwen35
        case "gemma2": gemma(hasHead: false)
        case "gemma3": gemma(hasHead: true)
        case "phi3": phi3
        case "olmo2": olmo2
        case "glm4": glm4
        case "gpt-oss": gptOSS
        case "bert": bert(has)
        case "modern-bert": modernBERT
        default: nil
        }
    }
}

// MARK: Parts that several share

extension GGUFNamings {
    private static let outer: [GGUFNameRow] = [.module(.embedding), .module(.finalNorm), .module(.outputHead)]
    private static let plainAttention: [GGUFNameRow] = attention(.same, .same)
    private static let feedForward: [GGUFNameRow] = [.module(.gate), .module(.up), .module(.down)]
    private static let norms: [GGUFNameRow] = [.module(.inputNorm), .module(.postAttentionNorm)]
    private static let headNorms: [GGUFNameRow] = [.module(.queryNorm), .module(.keyNorm)]

    /// Experts in one tensor each of [experts, outputSize, inputSize], and the router before them.
    private static let experts: [GGUFNameRow] = [
        .module("mlp.gate", "ffn_gate_inp"),
        .tensor("mlp.experts.gate_proj", "ffn_gate_exps.weight"),
        .tensor("mlp.experts.up_proj", "ffn_up_exps.weight"),
        .tensor("mlp.experts.down_proj", "ffn_down_exps.weight"),
    ]

    private static func attention(_ queries: GGUFRowRule, _ keys: GGUFRowRule) -> [GGUFNameRow] {
        [.module(.query, rows: queries), .module(.key, rows: keys), .module(.value), .module(.output)]
    }
}

// MARK: Decoders

extension GGUFNamings {
    /// Llama and what llama.cpp converts as it does Llama: pairs of q and k side by side, in layers without rotary
    /// embedding too. With experts it is Mixtral.
    private static let llamaFamily = GGUFNaming(
        outer: outer, layers: norms + attention(.rotaryQueries, .rotaryKeys) + feedForward + experts,
        expertsModelType: "mixtral")

    /// Qwen2 and Qwen3, dense and with experts.
    private static let qwen = GGUFNaming(
        outer: outer, layers: norms + headNorms + plainAttention + feedForward + experts,
        expertsModelType: "qwen3_moe")

    /// Qwen3.5: full attention in some layers, a delta rule in the others, whose value heads lie transposed. Its norms
    /// multiply by 1 + w, but for the delta rule's own.
    private static let qwen35 = GGUFNaming(
        outer: [.module(.embedding), .module(.finalNorm, values: .plusOne), .module(.outputHead)],
        layers: [
            .module(.inputNorm, values: .plusOne),
            .module("post_attention_layernorm", "post_attention_norm", values: .plusOne),
            .module(.queryNorm, values: .plusOne), .module(.keyNorm, values: .plusOne),
            .module("linear_attn.in_proj_qkv", "attn_qkv", rows: .deltaChannels),
            .module("linear_attn.in_proj_z", "attn_gate", rows: .deltaValues),
            .module("linear_attn.in_proj_a", "ssm_alpha", rows: .deltaHeads),
            .module("linear_attn.in_proj_b", "ssm_beta", rows: .deltaHeads),
            .module("linear_attn.conv1d", "ssm_conv1d", rows: .deltaChannels),
            .tensor("linear_attn.A_log", "ssm_a", rows: .deltaHeads, values: .negatedExponential),
            .tensor("linear_attn.dt_bias", "ssm_dt.bias", rows: .deltaHeads),
            .module("linear_attn.norm", "ssm_norm"),
            .module("linear_attn.out_proj", "ssm_out", columns: .deltaValues),
        ] + plainAttention + feedForward)

    /// Gemma 2 and 3: norms before and behind each sublayer, which multiply by 1 + w. Gemma 2's files have no head.
    private static func gemma(hasHead: Bool) -> GGUFNaming {
        GGUFNaming(
            outer: [.module(.embedding), .module(.finalNorm, values: .plusOne)]
                + (hasHead ? [.module(.outputHead)] : []),
            layers: [
                .module(.inputNorm, values: .plusOne),
                .module("post_attention_layernorm", "post_attention_norm", values: .plusOne),
                .module("pre_feedforward_layernorm", "ffn_norm", values: .plusOne),
                .module("post_feedforward_layernorm", "post_ffw_norm", values: .plusOne),
                .module(.queryNorm, values: .plusOne), .module(.keyNorm, values: .plusOne),
            ] + plainAttention + feedForward)
    }

    /// Phi-3 and Phi-4, fused as in their checkpoints.
    private static let phi3 = GGUFNaming(
        outer: outer,
        layers: norms + [
            .module("self_attn.qkv_proj", "attn_qkv"), .module(.output), .module("mlp.gate_up_proj", "ffn_up"),
            .module(.down),
        ])

    /// OLMo 2 and 3: norms behind the sublayers alone.
    private static let olmo2 = GGUFNaming(
        outer: outer,
        layers: [
            .module("post_attention_layernorm", "post_attention_norm"),
            .module("post_feedforward_layernorm", "post_ffw_norm"),
        ] + headNorms + plainAttention + feedForward)

    /// GLM-4-0414: `post_attention_layernorm` is the norm before the feed-forward network.
    private static let glm4 = GGUFNaming(
        outer: outer,
        layers: norms + [
            .module("post_self_attn_layernorm", "post_attention_norm"), .module("post_mlp_layernorm", "post_ffw_norm"),
            .module("mlp.gate_up_proj", "ffn_up"), .module(.down),
        ] + attention(.sectionedQueries, .sectionedKeys))

    /// gpt-oss. Of its experts the file holds the transposes, gate and up apart, which alternate in the checkpoint's matrix.
    /// They have names that no checkpoint of this model has: by these an update finds its rows
    /// (`NamingTable.interleavedExperts`), and nothing else is taken for their counterpart.
    private static let gptOSS = GGUFNaming(
        outer: outer,
        layers: [
            .module(.inputNorm), .module("post_attention_layernorm", "post_attention_norm"),
            .tensor("self_attn.sinks", "attn_sinks.weight"), .module("mlp.router", "ffn_gate_inp"),
            .tensor("mlp.experts.w1", "ffn_gate_exps.weight"), .tensor("mlp.experts.w3", "ffn_up_exps.weight"),
            .tensor("mlp.experts.w2", "ffn_down_exps.weight"),
        ] + plainAttention, expertsModelType: "gpt_oss")
}

// MARK: Encoders

extension GGUFNamings {
    /// BERT and RoBERTa, by the names that they have behind `bert.` and `roberta.`, which a GGUF file does not tell.
    ///
    /// RoBERTa's table of positions lacks its first rows there, up to that of the padding token (`GGUFNames.droppedRows`).
    private static func bert(_ has: (String) -> Bool) -> GGUFNaming {
        // RoBERTa's head is two layers. BERT's one layer is called `cls` where its labels are the ones without names.
        let head: [GGUFNameRow] =
            switch (has("cls.weight"), has("cls.output.weight")) {
            case (true, true): [.module("classifier.dense", "cls"), .module("classifier.out_proj", "cls.output")]
            case (true, false): [.module("classifier", "cls")]
            default: [.module("classifier", "cls.output")]
            }
        return GGUFNaming(
            outer: [
                .module("embeddings.word_embeddings", "token_embd"),
                .module("embeddings.token_type_embeddings", "token_types"),
                .module(positions, "position_embd"), .module("embeddings.LayerNorm", "token_embd_norm"),
            ] + head,
            layers: [
                .module("attention.self.query", "attn_q"), .module("attention.self.key", "attn_k"),
                .module("attention.self.value", "attn_v"), .module("attention.output.dense", "attn_output"),
                .module("attention.output.LayerNorm", "attn_output_norm"), .module("intermediate.dense", "ffn_up"),
                .module("output.dense", "ffn_down"), .module("output.LayerNorm", "layer_output_norm"),
            ], layerPrefix: "encoder.layer.", hasLanguageHead: false)
    }

    /// The table of positions of an encoder that learns them.
    static let positions = "embeddings.position_embeddings"

    /// ModernBERT, fused as in its checkpoints.
    private static let modernBERT = GGUFNaming(
        outer: [
            .module("model.embeddings.tok_embeddings", "token_embd"),
            .module("model.embeddings.norm", "token_embd_norm"), .module("model.final_norm", "output_norm"),
            .module("head.dense", "cls"), .module("head.norm", "cls.norm"), .module("classifier", "cls.output"),
        ],
        layers: [
            .module("attn_norm", "attn_norm"), .module("attn.Wqkv", "attn_qkv"), .module("attn.Wo", "attn_output"),
            .module("mlp_norm", "ffn_norm"), .module("mlp.Wi", "ffn_up"), .module("mlp.Wo", "ffn_down"),
        ], hasLanguageHead: false)
}
