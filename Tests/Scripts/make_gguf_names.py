"""Makes Fixtures/gguf-names: a small GGUF file of each architecture in tspeft's table of GGUF names, and names.json, which
tells what each tensor in it is called in the Hugging Face checkpoint.

Names and shapes are those of the files that transformers saves of a small model; gguf_conversion.py makes the GGUF file.
Element e of the tensor at place t of a file's list in names.json has the value ((7919 t + 104729 e) mod 4096 - 2048) /
1024 in the checkpoint. `name` is null for tensors that have no one
counterpart there; `transposed` is what tspeft calls those whose transposes, or a half of them, a checkpoint has.

Versions used: transformers 5.24.0, gguf 0.19.0. Run from the package's root: python Tests/Scripts/make_gguf_names.py
"""

import json
import pathlib
import re
import shutil
import tempfile

import gguf
import numpy as np
import transformers
from safetensors.numpy import load_file

from gguf_conversion import ARCHITECTURES, convert, write_metadata

SIZES = dict(
    vocab_size=14, hidden_size=12, intermediate_size=10, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, head_dim=4, max_position_embeddings=16, pad_token_id=0, bos_token_id=1, eos_token_id=2,
)
WIDE = {key: value for key, value in SIZES.items() if key not in ("head_dim", "num_key_value_heads")}
LABELS = dict(id2label={0: "no", 1: "yes", 2: "maybe"}, label2id={"no": 0, "yes": 1, "maybe": 2})
YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 2.0, "original_max_position_embeddings": 8,
        "mscale": 1.0, "mscale_all_dim": 1.0, "beta_fast": 32.0, "beta_slow": 1.0, "llama_4_scaling_beta": 0.1}
CASES = {
    "mixtral": dict(num_local_experts=3, num_experts_per_tok=2),
    "ministral3": dict(rope_parameters=YARN),
    "granite": dict(attention_bias=True, mlp_bias=True, hidden_size=16),
    "smollm3": dict(tie_word_embeddings=True),
    "qwen2": dict(hidden_size=16),
    "qwen3_moe": dict(num_experts=3, num_experts_per_tok=2, moe_intermediate_size=6),
    "qwen3_5_text": dict(
        layer_types=["linear_attention", "full_attention"], linear_num_key_heads=2, linear_num_value_heads=6,
        linear_key_head_dim=4, linear_value_head_dim=3, linear_conv_kernel_dim=4),
    "gemma2": dict(),
    "gemma3_text": dict(),
    "phi3": dict(hidden_size=16),
    "olmo2": dict(hidden_size=16),
    "olmo3": dict(hidden_size=16),
    "glm4": dict(attention_bias=True),
    "gpt_oss": dict(num_local_experts=3, num_experts_per_tok=2),
    "bert": LABELS,
    "roberta": LABELS | dict(pad_token_id=1),
    "modernbert": LABELS | dict(global_attn_every_n_layers=2),
}
ENCODERS = {"bert", "roberta", "modernbert"}
TRANSPOSED = {"ffn_gate_exps": "w1", "ffn_up_exps": "w3", "ffn_down_exps": "w2"}
EXPERT_PARTS = {"w1": "gate_proj", "w3": "up_proj", "w2": "down_proj"}
FOLDER = pathlib.Path("Fixtures/gguf-names")


def checkpoint(model_type, settings):
    """The shapes of a checkpoint's tensors, in the order of its file, and its configuration."""
    sizes = WIDE if model_type in ENCODERS else SIZES
    config = transformers.AutoConfig.for_model(model_type, **sizes | settings)
    kind = transformers.AutoModelForSequenceClassification if model_type in ENCODERS else transformers.AutoModelForCausalLM
    with tempfile.TemporaryDirectory() as folder:
        kind.from_config(config).save_pretrained(folder)
        return {name: data.shape for name, data in load_file(folder + "/model.safetensors").items()}, config.to_dict()


def plain_name(model_type, parts):
    """The name that stands for the tensors of the checkpoint that a GGUF tensor is made of."""
    name = parts[0]
    if model_type == "gpt_oss" and ".experts." in name:
        return None
    if model_type == "roberta" and "position_embeddings" in name:
        return None
    if found := re.fullmatch(r"(.*)\.experts\.0\.(\w+)\.weight", name):
        module, part = found.groups()
        return module.replace("block_sparse_moe", "mlp") + ".experts." + EXPERT_PARTS.get(part, part)
    name = name.replace("block_sparse_moe", "mlp")
    return re.sub(r"^(bert|roberta)\.", "", name)


def value(place, shape):
    elements = np.arange(np.prod(shape, dtype=np.int64), dtype=np.int64)
    return (((7919 * place + 104729 * elements) % 4096 - 2048) / 1024).astype(np.float32).reshape(shape)


def main():
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    listing = {}
    for model_type, settings in CASES.items():
        shapes, config = checkpoint(model_type, settings)
        # Once to learn which tensors go together, and once more with the values.
        entries = []
        tensors = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
        for place, (name, data, parts) in enumerate(convert(model_type, config, tensors)):
            plain = plain_name(model_type, parts)
            shape = ([len(parts)] if len(parts) > 1 else []) + list(shapes[parts[0]])
            entries.append({"gguf": name, "name": plain, "shape": shape})
            kind = re.fullmatch(r"blk\.(\d+)\.(\w+)\.weight", name)
            if model_type == "gpt_oss" and kind and kind[2] in TRANSPOSED:
                entries[-1]["transposed"] = f"model.layers.{kind[1]}.mlp.experts.{TRANSPOSED[kind[2]]}"
            values = value(place, shape)
            for number, part in enumerate(parts):
                tensors[part] = values[number] if len(parts) > 1 else values
        path = FOLDER / f"{model_type}.gguf"
        arch = gguf.MODEL_ARCH_NAMES[getattr(gguf.MODEL_ARCH, ARCHITECTURES[model_type])]
        writer = gguf.GGUFWriter(path, arch)
        write_metadata(writer, model_type, config)
        for name, data, _ in convert(model_type, config, tensors):
            matrix = data.ndim > 1 and "conv1d" not in name
            writer.add_tensor(name, np.ascontiguousarray(data, dtype=np.float16 if matrix else np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        listing[model_type] = entries
    text = ",\n".join(
        f'"{case}": [\n' + ",\n".join("  " + json.dumps(entry) for entry in entries) + "\n]"
        for case, entries in listing.items())
    (FOLDER / "names.json").write_text("{\n" + text + "\n}\n")


if __name__ == "__main__":
    main()
