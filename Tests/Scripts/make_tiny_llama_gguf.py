"""Converts Fixtures/tiny-llama to GGUF with the gguf package, the way llama.cpp's converter does: rows of the query and key
projections permuted, vectors in F32, the byte-level BPE tokenizer in the metadata.

Writes Fixtures/tiny-llama-gguf/tiny-llama-bf16.gguf (matrices as they are) and tiny-llama-q8_0.gguf (matrices in Q8_0, those
of the MLP's up and down projections in Q4_1, as mixed files are).

Needs: gguf, numpy, safetensors, torch. Run from the package's root: python Tests/Scripts/make_tiny_llama_gguf.py
"""

import json
import pathlib

import gguf
import torch
from safetensors import safe_open

SOURCE = pathlib.Path("Fixtures/tiny-llama")
TARGET = pathlib.Path("Fixtures/tiny-llama-gguf")

PARTS = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def gguf_name(name):
    top = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}
    if name in top:
        return top[name]
    _, _, layer, rest = name.split(".", 3)
    part, kind = rest.rsplit(".", 1)
    return f"blk.{layer}.{PARTS[part]}.{kind}"


def permute(weights, heads):
    """As in llama.cpp's convert_hf_to_gguf.py."""
    shape = weights.shape
    return weights.reshape(heads, 2, shape[0] // heads // 2, *shape[1:]).swapaxes(1, 2).reshape(shape)


def add_tokenizer(writer, config):
    tokenizer = json.loads((SOURCE / "tokenizer.json").read_text())
    special = {token["id"] for token in tokenizer["added_tokens"] if token["special"]}
    tokens = [None] * config["vocab_size"]
    for text, number in tokenizer["model"]["vocab"].items():
        tokens[number] = text
    for token in tokenizer["added_tokens"]:
        tokens[token["id"]] = token["content"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(
        [gguf.TokenType.CONTROL if number in special else gguf.TokenType.NORMAL for number in range(len(tokens))]
    )
    writer.add_token_merges([" ".join(pair) for pair in tokenizer["model"]["merges"]])
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_pad_token_id(config["pad_token_id"])
    writer.add_add_bos_token(False)


def convert(path, file_type, encoding):
    config = json.loads((SOURCE / "config.json").read_text())
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny-llama")
    writer.add_file_type(file_type)
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    add_tokenizer(writer, config)
    with safe_open(SOURCE / "model.safetensors", "pt") as file:
        for name in file.keys():
            values = file.get_tensor(name).to(torch.float32).numpy()
            if ".q_proj." in name:
                values = permute(values, config["num_attention_heads"])
            if ".k_proj." in name:
                values = permute(values, config["num_key_value_heads"])
            kind = encoding(name) if values.ndim > 1 else gguf.GGMLQuantizationType.F32
            writer.add_tensor(gguf_name(name), gguf.quants.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def mixed(name):
    is_mlp = ".up_proj." in name or ".down_proj." in name
    return gguf.GGMLQuantizationType.Q4_1 if is_mlp else gguf.GGMLQuantizationType.Q8_0


if __name__ == "__main__":
    TARGET.mkdir(exist_ok=True)
    convert(
        TARGET / "tiny-llama-bf16.gguf", gguf.LlamaFileType.MOSTLY_BF16, lambda _: gguf.GGMLQuantizationType.BF16
    )
    convert(TARGET / "tiny-llama-q8_0.gguf", gguf.LlamaFileType.MOSTLY_Q8_0, mixed)
