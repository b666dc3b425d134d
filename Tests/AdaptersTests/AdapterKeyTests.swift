import Testing

@testable import Adapters

/// What keys of adapters' files mean.
@Suite struct AdapterKeyTests {
    @Test(arguments: [
        "base_model.model.model.layers.0.q_proj.lora_A.weight", "model.layers.0.q_proj.lora_A.weight",
        "base_model.model.model.layers.0.q_proj.lora_A.default.weight",
        "base_model.model.base_model.model.model.layers.0.q_proj.lora_A.weight",
        "base_model.model._orig_mod.model.layers.0.q_proj.lora_A.weight",
        "module.base_model.model.model.layers.0.q_proj.lora_A.weight",
        "_fsdp_wrapped_module.base_model.model.model.layers.0._fsdp_wrapped_module._checkpoint_wrapped_module.q_proj.lora_A.default.weight",
    ])
    func wrappersLeaveTheModule(_ key: String) {
        let found = AdapterKey(key)
        #expect(found.path == "model.layers.0.q_proj" && found.part == .factor(suffix: ".lora_A.weight"))
        #expect(found.written == "base_model.model.model.layers.0.q_proj.lora_A.weight")
    }

    @Test(arguments: [
        ("x.lora_embedding_A", ".lora_embedding_A"), ("x.lora_embedding_B.default", ".lora_embedding_B"),
        ("x.lora_magnitude_vector.default.weight", ".lora_magnitude_vector"), ("x.lora_E", ".lora_E"),
        ("x.lora_B.bias", ".lora_B.bias"), ("x.ia3_l.default", ".ia3_l"),
        ("x.lora_A.other.weight", ".lora_A.other.weight"),
    ])
    func factorsGoByTheNamesThatPEFTWrites(_ key: String, _ suffix: String) {
        #expect(AdapterKey("base_model.model." + key).part == .factor(suffix: suffix))
    }

    @Test func valuesOfTheModelGoByTheirNamesThere() {
        for key in [
            "embed.base_layer.weight", "embed.modules_to_save.weight", "embed.modules_to_save.default.weight",
            "embed.weight",
        ] {
            let found = AdapterKey("base_model.model.model." + key)
            #expect(found.path == "model.embed" && found.part == .value(name: "weight"), "\(key)")
        }
        #expect(AdapterKey("classifier.modules_to_save.dense.bias").path == "classifier.dense")
        #expect(AdapterKey("head.original_module.weight").part == .original(name: "weight"))
        let rows = AdapterKey("base_model.model.model.embed.token_adapter.trainable_tokens_delta")
        #expect(rows.path == "model.embed" && rows.part == .tokenRows)
    }

    /// peft adds it twice (`AdapterExtras.attentionOutputs`).
    @Test func outputInsideAnAttentionIsToldApart() {
        let inner = AdapterKey("base_model.model.head.attention.base_layer.out_proj.lora_A.weight")
        #expect(inner.path == "head.attention.out_proj" && inner.isAttentionOutput)
        #expect(!AdapterKey("base_model.model.self_attn.out_proj.lora_A.weight").isAttentionOutput)
        let packed = AdapterKey("base_model.model.mlp.experts.base_layer.lora_A.weight")
        #expect(packed.path == "mlp.experts.base_layer" && !packed.isAttentionOutput)
    }
}
