/// Towers of pictures and sound, and models around them, that publish their files by other names than those in memory.
extension NamingTable {
    static let towers: [NamingFamily] = [
        NamingFamily(
            ["kimi_k25"],
            [
                Rule("mlp.fc1", "mlp.fc0"), Rule("mlp.fc2", "mlp.fc1"), Rule("attn.proj", "wo"),
                Rule("vision_tower.layers.#", "vision_tower.encoder.blocks.#"), Rule("layers.#", "blocks.#"),
                Rule("vision_tower.patch_embed", "vision_tower.encoder.patch_embed"),
                Rule("mm_projector.in_proj", "mm_projector.proj.0"),
                Rule("mm_projector.out_proj", "mm_projector.proj.2"),
            ]),
        NamingFamily(
            ["radio"],
            [
                Rule("encoder.layer.#", "radio_model.model.blocks.#"), Rule("attention.o_proj", "attn.proj"),
                Rule("embeddings.patch_projection", "radio_model.model.patch_generator.embedder"),
                Rule("embeddings.video_patch_projection", "radio_model.model.patch_generator.video_embedder"),
            ],
            fusions: [Fusion("attn.qkv", of: "attention.q_proj", "attention.k_proj", "attention.v_proj")]),
        NamingFamily(
            ["gemma4_unified"],
            [
                Rule("embed_vision.patch_dense", "vision_embedder.patch_dense"),
                Rule("embed_vision.multimodal_embedder.embedding_projection", "embed_vision.embedding_projection"),
            ]),
        NamingFamily(
            ["hunyuan_vl", "hy_v4_vl"],
            [
                Rule("patch_merger.proj_conv", "perceive.proj.0"), Rule("patch_merger.proj_out", "perceive.proj.2"),
                Rule("patch_merger", "perceive"), Rule("^model.vision_tower.patch_merger", "^vit.perceive"),
                Rule("^model.vision_tower.patch_merger.proj_conv", "^vit.perceive.proj.0"),
                Rule("^model.vision_tower.patch_merger.proj_out", "^vit.perceive.proj.2"),
            ]),
        NamingFamily(
            ["minimax_m3_vl", "minimax_m3_vl_text"],
            [
                Rule("vision_tower.layers.#", "vision_tower.vision_model.encoder.layers.#"),
                Rule("vision_tower.embeddings.proj", "vision_tower.vision_model.embeddings.patch_embedding"),
                Rule("multi_modal_projector.merge_linear_1", "patch_merge_mlp.linear_1"),
                Rule("multi_modal_projector.merge_linear_2", "patch_merge_mlp.linear_2"),
                Rule("self_attn.indexer.q_proj", "self_attn.index_q_proj"),
                Rule("self_attn.indexer.k_proj", "self_attn.index_k_proj"),
            ], fusions: [Fusion("gate_up_proj", of: "gate_proj", "up_proj")]),
        NamingFamily(
            ["mimi", "mimi_encoder", "mimi_decoder"],
            [
                Rule("encoder.encoder_transformer", "encoder_transformer"),
                Rule("decoder.decoder_transformer", "decoder_transformer"),
                Rule("encoder.encoder.layers.#", "encoder.layers.#"),
                Rule("decoder.decoder.layers.#", "decoder.layers.#"), Rule("encoder.downsample", "downsample"),
                Rule("decoder.upsample", "upsample"),
            ]),
        NamingFamily(
            ["molmo2"],
            [
                Rule("self_attn.q_proj", "attention.wq"), Rule("self_attn.k_proj", "attention.wk"),
                Rule("self_attn.v_proj", "attention.wv"), Rule("self_attn.o_proj", "attention.wo"),
                Rule("mlp.fc1", "feed_forward.w1"), Rule("mlp.fc2", "feed_forward.w2"),
                Rule("vision_tower.layers.#", "vision_backbone.image_vit.transformer.resblocks.#"),
                Rule("image_pooling_2d.q_proj", "image_pooling_2d.wq"),
                Rule("image_pooling_2d.k_proj", "image_pooling_2d.wk"),
                Rule("image_pooling_2d.v_proj", "image_pooling_2d.wv"),
                Rule("image_pooling_2d.o_proj", "image_pooling_2d.wo"),
                Rule("image_projector.gate_proj", "image_projector.w1"),
                Rule("image_projector.down_proj", "image_projector.w2"),
                Rule("image_projector.up_proj", "image_projector.w3"),
                Rule("multi_modal_projector", "vision_backbone"),
            ]),
        NamingFamily(
            ["hyperclovax_vision_v2"], [Rule("projector", "vision_projector")]),
        NamingFamily(
            ["pi0"],
            [
                Rule("vlm", "paligemma_with_expert.paligemma"),
                Rule("dit", "paligemma_with_expert.gemma_expert"),
                Rule("embed_action_time.state_proj", "state_proj"),
                Rule("embed_action_time.action_in_proj", "action_in_proj"),
                Rule("embed_action_time.action_time_mlp_in", "action_time_mlp_in"),
                Rule("embed_action_time.action_time_mlp_out", "action_time_mlp_out"),
            ]),
        NamingFamily(
            ["qianfan_ocr", "qianfan_ocr_vision"],
            [
                Rule("attention.projection_layer", "attn.proj"), Rule("layers.#", "encoder.layers.#"),
                Rule("multi_modal_projector.linear_1", "mlp1.1"),
                Rule("multi_modal_projector.linear_2", "mlp1.3"),
            ], fusions: [Fusion("attn.qkv", of: "attention.q_proj", "attention.k_proj", "attention.v_proj")]),
        NamingFamily(
            ["sapiens2"],
            [
                Rule("model.layer.#", "blocks.#"), Rule("attention.o_proj", "attn.proj"),
                Rule("attention.q_proj", "attn.wq"), Rule("attention.k_proj", "attn.wk"),
                Rule("attention.v_proj", "attn.wv"), Rule("mlp.down_proj", "ffn.w3"),
                Rule("embeddings.patch_embeddings", "patch_embed.projection"),
            ], fusions: [Fusion("ffn.w12", of: "mlp.gate_proj", "mlp.up_proj")]),
        NamingFamily(
            ["videomae"],
            [
                Rule("attention.query.bias", "attention.q_bias"), Rule("attention.value.bias", "attention.v_bias"),
            ]),
        NamingFamily(["lfm3_vl_vision"], [Rule("patch_embed", "patchifier")]),
        NamingFamily(
            ["deepseek_ocr2", "unlimited_ocr"],
            [
                Rule("vision_tower.sam_encoder.layers.#", "sam_model.blocks.#"),
                Rule("vision_tower.sam_encoder.patch_embed.projection", "sam_model.patch_embed.proj"),
                Rule(
                    "vision_tower.vision_encoder.layers.#", "qwen2_model.model.model.layers.#"),
                Rule("multi_modal_projector", "projector.layers"),
            ]),
        NamingFamily(["cohere_asr"], cohereASR),
        NamingFamily(
            ["lw_detr"], [Rule("attention.o_proj", "attention.output")]),
        NamingFamily(["conditional_detr"], conditionalDETR),
        NamingFamily(
            ["rt_detr", "rt_detr_v2", "pp_doclayout_v2", "pp_doclayout_v3", "pp_doclayout_v4", "d_fine"],
            [
                Rule("encoder.aifi.#", "encoder.encoder.#"), Rule("self_attn.o_proj", "self_attn.out_proj"),
                Rule("encoder_attn.o_proj", "encoder_attn.out_proj"), Rule("layers.#.mlp.fc1", "layers.#.fc1"),
                Rule("layers.#.mlp.fc2", "layers.#.fc2"),
            ]),
        NamingFamily(
            ["detr", "conditional_detr", "deformable_detr"], [Rule("backbone.model", "backbone.conv_encoder.model")]),
        NamingFamily(
            ["tipsv2", "tipsv2_vision", "tipsv2_text"],
            [
                Rule("encoder.layer.#", "blocks.#"), Rule("attention.o_proj", "attn.proj"),
                Rule("mlp.fc1", "mlp.c_fc"), Rule("mlp.fc2", "mlp.c_proj"), Rule("mlp.down_proj", "mlp.w3"),
                Rule("encoder.layers.#", "transformer.resblocks.#"), Rule("self_attn.out_proj", "attn.out_proj"),
                Rule("embeddings.patch_embeddings.projection", "patch_embed.proj"),
            ],
            fusions: [
                Fusion("attn.qkv", of: "attention.q_proj", "attention.k_proj", "attention.v_proj"),
                Fusion("mlp.w12", of: "mlp.gate_proj", "mlp.up_proj"),
            ]),
    ]

    private static let projections = ["q_proj", "k_proj", "v_proj", "o_proj"]

    private static var cohereASR: [Rule] {
        var rules = [
            Rule("encoder.subsampling.linear", "encoder.pre_encode.out"),
            Rule("decoder.embed_tokens", "transf_decoder._embedding.token_embedding"),
            Rule("decoder.layers.#", "transf_decoder._decoder.layers.#"),
            Rule("self_attn.relative_k_proj", "self_attn.linear_pos"),
            Rule("^proj_out", "^log_softmax.mlp.layer0"),
            Rule("decoder.proj", "encoder_decoder_proj"),
        ]
        func add(_ own: String, _ files: String) {
            rules.append(Rule("decoder.layers.#.\(own)", "transf_decoder._decoder.layers.#.\(files)"))
        }
        for (own, files) in zip(projections, ["q", "k", "v", "out"]) {
            rules.append(Rule("self_attn.\(own)", "self_attn.linear_\(files)"))
        }
        for (own, files) in zip(projections, ["query_net", "key_net", "value_net", "out_projection"]) {
            add("self_attn.\(own)", "first_sub_layer.\(files)")
            add("encoder_attn.\(own)", "second_sub_layer.\(files)")
        }
        for (own, files) in [("fc1", "dense_in"), ("fc2", "dense_out")] {
            add("mlp.\(own)", "third_sub_layer.\(files)")
        }
        return rules
    }

    private static var conditionalDETR: [Rule] {
        var rules = [
            Rule("self_attn.v_proj", "sa_v_proj"), Rule("encoder_attn.v_proj", "ca_v_proj"),
            Rule("encoder_attn.q_pos_sine_proj", "ca_qpos_sine_proj"),
        ]
        for (own, files) in [
            ("q_content", "qcontent"), ("q_pos", "qpos"), ("k_content", "kcontent"), ("k_pos", "kpos"),
        ] {
            rules.append(Rule("self_attn.\(own)_proj", "sa_\(files)_proj"))
            rules.append(Rule("encoder_attn.\(own)_proj", "ca_\(files)_proj"))
        }
        return rules
    }
}
