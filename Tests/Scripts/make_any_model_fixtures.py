"""Makes Fixtures/any-model: one small model each of seven families whose graphs tspeft does not have, as transformers
saves them.

Weights are random but seeded. Each directory holds config.json, model.safetensors and modules.json: the paths and shapes
[out, in] of the model's linear layers (torch's Linear and transformers' Conv1D) whose weights are in the file under the
same path, in the order of the modules, and the output head's path. Configurations are cut down to what tells the model.

gpt2 stores its layers transposed, and ties its head. bert ties its head and adds a bias to it. t5 has encoder and decoder.
mixtral has experts, each in tensors of its own. phi3 has q, k and v in one matrix. whisper has convolutions. clip has two
towers and no head; its tensors are BF16.

Versions used: torch 2.15.0, transformers 5.24.0. Run from the package's root:
python Tests/Scripts/make_any_model_fixtures.py
"""

import json
import pathlib

import torch
from transformers import (
    BertConfig, BertForMaskedLM, CLIPConfig, CLIPModel, GPT2Config, GPT2LMHeadModel, MixtralConfig, MixtralForCausalLM,
    Phi3Config, Phi3ForCausalLM, T5Config, T5ForConditionalGeneration, WhisperConfig, WhisperForConditionalGeneration)
from safetensors import safe_open
from transformers.pytorch_utils import Conv1D

FOLDER = pathlib.Path("Fixtures/any-model")
DECODER = dict(hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, vocab_size=40,
               max_position_embeddings=16, pad_token_id=0, bos_token_id=1, eos_token_id=2)


def models():
    yield "gpt2", GPT2LMHeadModel(GPT2Config(
        vocab_size=40, n_positions=16, n_embd=16, n_layer=2, n_head=2, bos_token_id=1, eos_token_id=2))
    yield "bert", BertForMaskedLM(BertConfig(
        vocab_size=40, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
        max_position_embeddings=16))
    yield "t5", T5ForConditionalGeneration(T5Config(
        vocab_size=40, d_model=16, d_kv=8, d_ff=24, num_layers=1, num_decoder_layers=1, num_heads=2,
        relative_attention_num_buckets=4))
    yield "mixtral", MixtralForCausalLM(MixtralConfig(
        num_key_value_heads=1, num_local_experts=3, num_experts_per_tok=2, **DECODER))
    yield "phi3", Phi3ForCausalLM(Phi3Config(num_key_value_heads=1, **DECODER))
    yield "whisper", WhisperForConditionalGeneration(WhisperConfig(
        vocab_size=40, num_mel_bins=4, d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=24, decoder_ffn_dim=24, max_source_positions=8,
        max_target_positions=8, pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=3))
    text = dict(vocab_size=40, hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2,
                max_position_embeddings=16)
    vision = dict(hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2, image_size=8,
                  patch_size=4)
    yield "clip", CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)).bfloat16()


def make(name, model):
    generator = torch.Generator().manual_seed(len(name))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    model.tie_weights()
    folder = FOLDER / name
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    with safe_open(folder / "model.safetensors", "pt") as file:
        stored = set(file.keys())
    head = model.get_output_embeddings()
    modules, head_path = [], None
    for path, module in model.named_modules():
        if module is head:
            head_path = path
        if isinstance(module, (torch.nn.Linear, Conv1D)) and path + ".weight" in stored:
            rows, columns = module.weight.shape
            modules.append([path, columns, rows] if isinstance(module, Conv1D) else [path, rows, columns])
    lines = ",\n  ".join(json.dumps(module) for module in modules)
    (folder / "modules.json").write_text(f'{{"head": {json.dumps(head_path)}, "linear": [\n  {lines}\n]}}\n')
    (folder / "model.safetensors").chmod(0o644)


for name, model in models():
    make(name, model.eval())
