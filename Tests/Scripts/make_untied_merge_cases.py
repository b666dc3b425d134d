#!/usr/bin/env python3
"""Makes merge cases of models that tie more than an `lm_head`, and of other kinds that make_merge_cases.py's corpus lacks.

    python Tests/Scripts/make_untied_merge_cases.py [Fixtures/any-merge [NAME ...]]

Small models with random weights, made by transformers 5.24, and adapters by peft 0.21. Of a tied model what peft merges
depends on what shares memory; expected is therefore what it merges of the same model with nothing tied, whose logits are
those of the tied model with the adapter. Needs torch, transformers and peft; the project never runs it.
"""
import json, os, shutil, sys, tempfile
import torch
import transformers as t
from peft import IA3Config, LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file

WIDTH = 16
BERT = dict(vocab_size=40, hidden_size=WIDTH, num_hidden_layers=1, num_attention_heads=2, intermediate_size=20,
            max_position_embeddings=24, type_vocab_size=1)
BART = dict(vocab_size=40, d_model=WIDTH, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
            decoder_attention_heads=2, encoder_ffn_dim=20, decoder_ffn_dim=20, max_position_embeddings=24, pad_token_id=1)
LLAMA4 = dict(hidden_size=WIDTH, intermediate_size=WIDTH, intermediate_size_mlp=20, num_hidden_layers=1, vocab_size=40,
              num_attention_heads=2, num_key_value_heads=2, head_dim=8, num_local_experts=2, interleave_moe_layer_step=1,
              tie_word_embeddings=False, pad_token_id=0)

TEXT = dict(vocab_size=40, hidden_size=WIDTH, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=2, head_dim=8,
            max_position_embeddings=24)
INKLING = t.InklingConfig(
    text_config=dict(**TEXT, intermediate_size=20, moe_intermediate_size=12, n_routed_experts=2, num_experts_per_tok=1,
                     n_shared_experts=1, swa_num_attention_heads=2, swa_num_key_value_heads=2, swa_head_dim=8,
                     sliding_window_size=8, d_rel=4, rel_extent=8, layer_types=["hybrid"] * 2, bos_token_id=1, eos_token_id=2,
                     mlp_layer_types=["dense", "sparse"]) | dict(num_hidden_layers=2),
    vision_config=dict(text_hidden_size=WIDTH, hidden_size=WIDTH, n_layers=2, num_attention_heads=2, patch_size=4),
    audio_config=dict(text_hidden_size=WIDTH, n_mel_bins=4, mel_vocab_size=8), tie_word_embeddings=False)
KIMI = t.Kimi_K25Config(
    text_config=dict(vocab_size=40, hidden_size=WIDTH, intermediate_size=20, moe_intermediate_size=12, num_hidden_layers=1,
                     num_attention_heads=2, num_key_value_heads=2, n_routed_experts=2, kv_lora_rank=4, q_lora_rank=4,
                     qk_rope_head_dim=4, v_head_dim=8, qk_nope_head_dim=4, n_group=1, topk_group=1, num_experts_per_tok=1,
                     first_k_dense_replace=1, max_position_embeddings=24),
    vision_config=dict(hidden_size=WIDTH, intermediate_size=WIDTH, num_hidden_layers=1, num_attention_heads=2, patch_size=4,
                       pos_emb_height=4, pos_emb_width=4, pos_emb_time=2), tie_word_embeddings=False)
COSMOS = t.Cosmos3OmniConfig(
    text_config=dict(**TEXT, intermediate_size=20),
    vision_config=dict(depth=1, hidden_size=WIDTH, intermediate_size=20, num_heads=2, patch_size=4, spatial_merge_size=2,
                       temporal_patch_size=2, out_hidden_size=WIDTH, num_position_embeddings=4, deepstack_visual_indexes=[0]),
    tie_word_embeddings=False)


# More batches than a float32 can count one by one.
COUNTED = 2**33 + 1


def lora(*targets, **more):
    return LoraConfig(r=2, lora_alpha=4, target_modules=list(targets), **more)


CASES = {
    "untied-bert-embedding": (t.BertForMaskedLM, t.BertConfig(**BERT), lora("word_embeddings", "query")),
    "untied-roberta-head": (t.RobertaForMaskedLM, t.RobertaConfig(**BERT), lora("query", "decoder")),
    "untied-distilbert-embedding": (
        t.DistilBertForMaskedLM,
        t.DistilBertConfig(vocab_size=40, dim=WIDTH, n_layers=1, n_heads=2, hidden_dim=20, max_position_embeddings=24),
        lora("word_embeddings")),
    "untied-bart-head": (t.BartForConditionalGeneration, t.BartConfig(**BART), lora("lm_head", "q_proj")),
    "untied-whisper-embedding": (
        t.WhisperForConditionalGeneration,
        t.WhisperConfig(**BART, num_mel_bins=4, max_source_positions=8, max_target_positions=8,
                        decoder_start_token_id=2, bos_token_id=2, eos_token_id=3, suppress_tokens=None,
                        begin_suppress_tokens=None), lora("embed_tokens")),
    "ia3-gpt2": (
        t.GPT2LMHeadModel, t.GPT2Config(vocab_size=40, n_embd=WIDTH, n_layer=1, n_head=2, n_positions=24),
        IA3Config(target_modules=["c_attn", "mlp.c_proj"], feedforward_modules=["mlp.c_proj"])),
    "moe-llama4-square": (
        t.Llama4ForCausalLM, t.Llama4TextConfig(**LLAMA4),
        lora("q_proj", target_parameters=["feed_forward.experts.gate_up_proj", "feed_forward.experts.down_proj"])),
    "whole-resnet-counters": (
        t.ResNetForImageClassification,
        t.ResNetConfig(embedding_size=4, hidden_sizes=[8, 8], depths=[1, 1], layer_type="basic", num_labels=3),
        lora("convolution", modules_to_save=["normalization", "classifier"])),
    # Gates and ups lie in turn in the files, of experts and of the dense layer.
    "moe-inkling-in-turn": (
        t.InklingForConditionalGeneration, INKLING,
        lora("mlp.gate_proj", "mlp.up_proj", "q_proj", "r_proj",
             target_parameters=["mlp.experts.gate_up_proj", "mlp.experts.down_proj"])),
    # The first of two layers has the second's name in the files, and they are square.
    "names-kimi-square": (
        t.Kimi_K25ForConditionalGeneration, KIMI, lora("fc1", "fc2", "attn.proj", "in_proj", "out_proj", "kv_b_proj")),
    "names-cosmos3": (
        t.Cosmos3OmniForConditionalGeneration, COSMOS, lora("q_proj", "o_proj", "qkv", "linear_fc1", "patch_embed.proj")),
    # Queries, keys and values lie in one tensor.
    "ia3-nomic_bert": (
        t.NomicBertModel,
        t.NomicBertConfig(vocab_size=40, hidden_size=WIDTH, num_hidden_layers=1, num_attention_heads=2, intermediate_size=20,
                          max_position_embeddings=24, type_vocab_size=1),
        IA3Config(target_modules=["q_proj", "v_proj", "up_proj", "down_proj"], feedforward_modules=["up_proj"])),
    "untied-mpnet-whole-head": (
        t.MPNetForMaskedLM, t.MPNetConfig(**{k: v for k, v in BERT.items() if k != "type_vocab_size"}),
        lora("attn.q", modules_to_save=["decoder"])),
    "untied-bart-halves": (
        t.BartForConditionalGeneration, t.BartConfig(**BART), lora("embed_tokens", "q_proj", use_dora=True)),
}


def randomize(model, adapter_only):
    for name, value in model.named_parameters():
        own = "lora_" in name or "ia3_" in name or "modules_to_save" in name
        if own if adapter_only else True:
            with torch.no_grad():
                value.add_(torch.randn_like(value) * (0.2 if adapter_only else 0.1))
    # What a module trained whole has counted and averaged, beside its weights.
    for name, value in model.named_buffers():
        if adapter_only and "modules_to_save" in name:
            value.copy_(value + torch.rand_like(value) if value.is_floating_point() else torch.tensor(COUNTED))


def untie(model):
    """Gives each place of a shared parameter a copy of its own."""
    seen = set()
    for module in model.modules():
        for name, value in list(module.named_parameters(recurse=False)):
            if id(value) in seen:
                setattr(module, name, torch.nn.Parameter(value.detach().clone()))
            else:
                seen.add(id(value))
    model.config.tie_word_embeddings = False
    return model


def main():
    output = sys.argv[1] if len(sys.argv) > 1 else "Fixtures/any-merge"
    for number, (name, (kind, config, adapter)) in enumerate(CASES.items()):
        if sys.argv[2:] and name not in sys.argv[2:]:
            continue
        torch.manual_seed(number)
        target = os.path.join(output, name)
        shutil.rmtree(target, ignore_errors=True)
        model = kind(config)
        randomize(model, adapter_only=False)
        with tempfile.TemporaryDirectory() as folder:
            model.save_pretrained(folder + "/base")
            peft = get_peft_model(model, adapter)
            randomize(peft, adapter_only=True)
            peft.save_pretrained(folder + "/adapter")
            plain = kind.from_pretrained(folder + "/base")
            plain = untie(plain) if name.startswith("untied") else plain
            merged = PeftModel.from_pretrained(plain, folder + "/adapter").merge_and_unload()
            merged.save_pretrained(folder + "/expected")
            for part, files in (("base", ("config.json", "model.safetensors")),
                                ("adapter", ("adapter_config.json", "adapter_model.safetensors"))):
                os.makedirs(os.path.join(target, part))
                for file in files:
                    shutil.copyfile(os.path.join(folder, part, file), os.path.join(target, part, file))
            base, want = load_file(folder + "/base/model.safetensors"), load_file(folder + "/expected/model.safetensors")
            save_file({k: v for k, v in want.items() if k not in base or not torch.equal(v, base[k])},
                      os.path.join(target, "expected.safetensors"))
            with open(folder + "/expected/config.json") as f:
                said = json.load(f)
            with open(os.path.join(target, "adapter", "adapter_config.json")) as f:
                fields = json.load(f)
            fields["base_model_name_or_path"] = "base"
            with open(os.path.join(target, "adapter", "adapter_config.json"), "w") as f:
                json.dump(fields, f, indent=2, sort_keys=True)
            with open(os.path.join(target, "case.json"), "w") as f:
                json.dump({"about": name, "outcome": "merge", "mentions": [], "tensors": len(want),
                           "config": {k: said[k] for k in ("vocab_size", "tie_word_embeddings") if k in said}}, f, indent=1)
                f.write("\n")


main()
