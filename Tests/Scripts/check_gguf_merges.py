"""Merges adapters of peft's into GGUF files of every architecture in tspeft's table and holds the outputs against the
conversion of what peft merges: python Tests/Scripts/check_gguf_merges.py PROGRAM [MODEL_TYPE ...]

For each model type a small random model and adapters of four kinds: LoRA on all linear layers, DoRA on those of attention, LoRA on
experts' parameters (where there are any), and norms and heads saved whole. `PROGRAM merge base.gguf --adapter DIR -o
OUT.gguf` must write what gguf_conversion.py makes of peft's merged checkpoint: tensors without an update bit for bit, the
others within one unit in the last place of max(|W|, |dW|, |W + dW|) and a little for the order of sums. Where REFUSED
names a case, the program must refuse it, naming one of the words.

Versions used: torch 2.15.0, transformers 5.24.0, peft 0.21.2, gguf 0.19.0.
"""

import pathlib
import subprocess
import sys
import tempfile

import gguf
import numpy as np
import peft
import torch
import transformers
from safetensors.numpy import load_file

from gguf_conversion import ARCHITECTURES, convert, write_metadata
from make_gguf_names import CASES, ENCODERS, SIZES, WIDE

REFUSED = {}
DORA_TARGETS = r".*\.(q_proj|k_proj|query|Wqkv|qkv_proj|o_proj|dense|Wo|in_proj_\w+|out_proj)"
WHOLE = {
    "qwen3_5_text": ["input_layernorm", "linear_attn.norm", "lm_head"], "glm4": ["post_mlp_layernorm"],
    "bert": ["classifier", "attention.output.LayerNorm"], "roberta": ["classifier"],
    "modernbert": ["classifier", "head"], "olmo2": ["q_norm"], "olmo3": ["q_norm"],
}


def model(model_type, seed=0):
    torch.manual_seed(seed)
    sizes = WIDE if model_type in ENCODERS else SIZES
    config = transformers.AutoConfig.for_model(model_type, **sizes | CASES[model_type], initializer_range=0.5)
    kind = transformers.AutoModelForSequenceClassification if model_type in ENCODERS else transformers.AutoModelForCausalLM
    made = kind.from_config(config).eval()
    with torch.no_grad():
        for tensor in made.parameters():
            tensor += 0.1 * torch.randn_like(tensor)
    return made


def adapter_config(model_type, kind, base):
    settings = dict(r=2, lora_alpha=3, target_modules="all-linear")
    if model_type == "bert":
        # A GGUF file has no pooler, so an update of it would have no place there.
        settings |= dict(exclude_modules=["pooler.dense"])
    if kind == "dora":
        settings |= dict(use_dora=True, target_modules=DORA_TARGETS)
    if kind == "experts":
        names = {name.split("layers.0.")[1] for name, _ in base.named_parameters() if "layers.0.mlp.experts" in name}
        names = sorted(name for name in names if not name.endswith("_bias"))
        if not names:
            return None
        settings = dict(r=2, lora_alpha=3, target_modules=[], target_parameters=names)
    if kind == "whole":
        settings |= dict(target_modules=r".*\.0\..*(v_proj|down_proj|value|Wo|out_proj|qkv_proj)",
                         modules_to_save=WHOLE.get(model_type, ["input_layernorm"]))
    return peft.LoraConfig(task_type="SEQ_CLS" if model_type in ENCODERS else None, **settings)


def write_gguf(path, model_type, folder):
    tensors = load_file(f"{folder}/model.safetensors")
    config = transformers.AutoConfig.from_pretrained(folder).to_dict()
    arch = gguf.MODEL_ARCH_NAMES[getattr(gguf.MODEL_ARCH, ARCHITECTURES[model_type])]
    writer = gguf.GGUFWriter(path, arch)
    write_metadata(writer, model_type, config)
    for name, data, _ in convert(model_type, config, tensors):
        writer.add_tensor(name, np.ascontiguousarray(data, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def read_gguf(path):
    return {tensor.name: np.array(tensor.data) for tensor in gguf.GGUFReader(path).tensors}


def differences(base, expected, found):
    """What is wrong with the output, in sentences."""
    if found.keys() != expected.keys():
        yield f"has {sorted(found.keys() ^ expected.keys())} too much or too little"
        return
    for name, want in expected.items():
        old, got = base.get(name), found[name]
        if got.shape != want.shape:
            yield f"{name} has the shape {got.shape} for {want.shape}"
        elif old is not None and np.array_equal(old, want):
            if not np.array_equal(old, got):
                yield f"{name} has changed"
        else:
            size = np.maximum(np.abs(want), np.abs(old) if old is not None else 0)
            size = np.maximum(size, np.abs(want - old) if old is not None else 0)
            error = np.abs(got - want) - 8 * 2.0**-24 * size.max()
            if not (error <= np.spacing(size.astype(np.float32))).all():
                yield f"{name} is off by {np.abs(got - want).max():.3g}, of {np.abs(want).max():.3g}"


def check(program, model_type, kind, folder):
    base = model(model_type)
    base.save_pretrained(folder / "base")
    config = adapter_config(model_type, kind, base)
    if config is None:
        return None
    adapted = peft.get_peft_model(base, config)
    torch.manual_seed(1)
    with torch.no_grad():
        for name, tensor in adapted.named_parameters():
            if "lora_" in name and "magnitude" not in name or "modules_to_save" in name:
                tensor += 0.3 * torch.randn_like(tensor)
    adapted.save_pretrained(folder / "adapter")
    adapted.merge_and_unload().save_pretrained(folder / "merged")
    for part in ("base", "merged"):
        write_gguf(folder / f"{part}.gguf", model_type, folder / part)
    out = folder / "out.gguf"
    run = subprocess.run(
        [program, "merge", folder / "base.gguf", "--adapter", folder / "adapter", "-o", out], capture_output=True, text=True)
    words = REFUSED.get((model_type, kind))
    if words:
        refused = run.returncode in (65, 69) and not out.exists() and any(word in run.stderr for word in words)
        return "refused" if refused else f"not refused: {run.returncode} {run.stderr.strip()}"
    if run.returncode != 0:
        return f"failed with {run.returncode}: {run.stderr.strip()}"
    found = [read_gguf(folder / name) for name in ("base.gguf", "merged.gguf", "out.gguf")]
    return "; ".join(differences(*found)) or "ok"


def main():
    program, *asked = sys.argv[1:]
    wrong = 0
    for model_type in asked or CASES:
        for kind in ("lora", "dora", "experts", "whole"):
            with tempfile.TemporaryDirectory() as folder:
                result = check(program, model_type, kind, pathlib.Path(folder))
            if result is None:
                continue
            wrong += result not in ("ok", "refused")
            print(f"{model_type} {kind}: {result}", flush=True)
    print(f"{wrong} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
