"""What llama.cpp's conversion to GGUF makes of the checkpoints of the architectures that tspeft's table of GGUF names has,
written down a second time: loops over rows in numpy, and gguf's own map for the names.

`convert(model_type, config, tensors)` takes the tensors of a Hugging Face checkpoint by the names in its files and yields
(GGUF name, array, names), where `names` lists the checkpoint's tensors that the array is made of.
"""

import re

import gguf
import numpy as np

ARCHITECTURES = {
    "mixtral": "LLAMA", "ministral3": "MISTRAL3", "granite": "GRANITE", "smollm3": "SMOLLM3", "qwen2": "QWEN2",
    "qwen3": "QWEN3", "qwen3_moe": "QWEN3MOE", "qwen3_5_text": "QWEN35", "gemma2": "GEMMA2", "gemma3_text": "GEMMA3",
    "phi3": "PHI3", "olmo2": "OLMO2", "olmo3": "OLMO2", "glm4": "GLM4", "gpt_oss": "GPT_OSS", "bert": "BERT",
    "roberta": "BERT", "modernbert": "MODERN_BERT",
}
PERMUTED = {"mixtral", "ministral3", "granite", "smollm3"}
ONE_PLUS = {"gemma2", "gemma3_text", "qwen3_5_text"}


def pairs_together(rows, heads):
    """Row 2 j + s of each head is row j + s D / 2 of the checkpoint's."""
    size = len(rows) // heads
    order = [h * size + j + s * (size // 2) for h in range(heads) for j in range(size // 2) for s in (0, 1)]
    return rows[order]


def value_heads(rows, key_heads, per_key, size):
    """Heads from [key head][j] to [j][key head]."""
    order = [(k * per_key + j) * size + i for j in range(per_key) for k in range(key_heads) for i in range(size)]
    return rows[order]


def delta_rule(name, data, config):
    """The value heads of a tensor of the delta rule."""
    keys, values = config["linear_num_key_heads"], config["linear_num_value_heads"]
    size, per_key = config["linear_value_head_dim"], values // keys
    before = 2 * keys * config["linear_key_head_dim"]
    part = name.split("linear_attn.")[1]
    if part.startswith("conv1d"):
        data = data[:, 0, :]
    if keys == values:
        return data
    if part.startswith(("in_proj_qkv", "conv1d")):
        return np.concatenate([data[:before], value_heads(data[before:], keys, per_key, size)])
    if part.startswith("in_proj_z"):
        return value_heads(data, keys, per_key, size)
    if part.startswith(("in_proj_a", "in_proj_b", "A_log", "dt_bias")):
        return value_heads(data, keys, per_key, 1)
    if part.startswith("out_proj"):
        return value_heads(data.T, keys, per_key, size).T
    return data


def modules(model_type, name):
    """The name by which gguf's map knows a checkpoint's."""
    for prefix in ("bert.", "roberta."):
        name = name.removeprefix(prefix)
    if model_type == "modernbert":
        name = name.removeprefix("model.")
    name = name.replace("dt_bias", "dt_proj.bias").replace("sinks", "sinks.weight")
    if model_type in ("bert", "modernbert") and name.startswith("classifier."):
        name = name.replace("classifier.", "classifier.out_proj.")
    return name


def convert(model_type, config, tensors):
    arch = getattr(gguf.MODEL_ARCH, ARCHITECTURES[model_type])
    names = gguf.get_tensor_name_map(arch, config["num_hidden_layers"])

    def called(name):
        found = names.get_name(name, try_suffixes=(".weight", ".bias"))
        assert found, f"gguf has no name for {name} of {model_type}"
        return found

    experts = {}
    for name, data in tensors.items():
        if re.search(r"bert\.pooler|position_ids|predictions", name):
            continue
        if model_type == "gpt_oss" and ".mlp.experts." in name:
            yield from packed_experts(name, data, called)
            continue
        if found := re.fullmatch(r"(.*\.experts)\.(\d+)\.(\w+)\.weight", name):
            module, number, part = found.groups()
            experts.setdefault((module, part), {})[int(number)] = (name, data)
            continue
        if model_type in PERMUTED and re.search(r"\.[qk]_proj\.", name):
            heads = "num_attention_heads" if ".q_proj." in name else "num_key_value_heads"
            data = pairs_together(data, config[heads])
        if "linear_attn." in name:
            data = delta_rule(name, data, config)
        if name.endswith("A_log"):
            data = -np.exp(data)
        if model_type in ONE_PLUS and name.endswith("norm.weight") and not name.endswith("linear_attn.norm.weight"):
            data = data + np.float32(1)
        if model_type == "roberta" and name.endswith("position_embeddings.weight"):
            data = data[config["pad_token_id"] + 1 :]
        yield called(modules(model_type, name)), data, [name]
    for (module, part), parts in experts.items():
        parts = [parts[number] for number in range(len(parts))]
        layer = re.search(r"layers\.(\d+)", module)[1]
        plain = f"model.layers.{layer}.mlp.experts.{part}.weight"
        if model_type == "mixtral":
            plain = f"layers.{layer}.feed_forward.experts.{part}.weight"
        yield called(plain), np.stack([data for _, data in parts]), [name for name, _ in parts]


def packed_experts(name, data, called):
    """gpt-oss: [in, out] turned round, columns of gate and up taken apart."""
    is_bias = name.endswith("_bias")
    plain = name.removesuffix("_bias")
    suffix = ".bias" if is_bias else ".weight"
    if not is_bias:
        data = data.swapaxes(-1, -2)
    if plain.endswith("down_proj"):
        yield called(plain + suffix), data, [name]
        return
    for first, part in enumerate(("gate_proj", "up_proj")):
        yield called(plain.replace("gate_up_proj", part) + suffix), data[:, first::2], [name]


def write_metadata(writer, model_type, config):
    """The sizes that tell the order of rows, what tells the kind of tokenizer, and what models with a graph need."""
    if config.get("rms_norm_eps"):
        writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config.get("num_key_value_heads") or config["num_attention_heads"])
    if config.get("head_dim") and model_type != "granite":
        writer.add_key_length(config["head_dim"])
        writer.add_value_length(config["head_dim"])
    if model_type in ("mixtral", "qwen3_moe", "gpt_oss"):
        writer.add_expert_count(config.get("num_local_experts") or config["num_experts"])
        writer.add_expert_used_count(config["num_experts_per_tok"])
    if model_type == "qwen3_5_text":
        writer.add_ssm_conv_kernel(config["linear_conv_kernel_dim"])
        writer.add_ssm_state_size(config["linear_key_head_dim"])
        writer.add_ssm_group_count(config["linear_num_key_heads"])
        writer.add_ssm_time_step_rank(config["linear_num_value_heads"])
        writer.add_ssm_inner_size(config["linear_num_value_heads"] * config["linear_value_head_dim"])
    writer.add_tokenizer_model({"bert": "bert"}.get(model_type, "gpt2"))
