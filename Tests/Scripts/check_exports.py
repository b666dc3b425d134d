"""Loads what `tspeft export` writes into the programs that it is for, and compares logits and tensors.

    python check_exports.py TSPEFT FOLDER

TSPEFT is the program. FOLDER is what `TSPEFT_PYTHON=python swift test --filter ExportAgreementTests` makes before it
runs this script: in each folder of it `adapter`, and `logits.safetensors` with `ids` [tokens], our own float32
`logits` [tokens, vocabulary] of the adapter as it is and `dense_logits` with all its gates open; `base` names the base.

Written for torch 2.15, transformers 5.23, peft 0.21, gguf 0.19, safetensors 0.8, mlx-lm 0.32. What is absent is skipped
by name. The rules of mlx-lm and llama.cpp are written out here; mlx-lm itself is run where it is there (mlx[cpu] will
do), llama.cpp is not.
"""

import importlib
import importlib.util
import json
import subprocess
import sys
import tempfile
from pathlib import Path


def is_there(module):
    if importlib.util.find_spec(module) is None:
        print(f"skipped: {module} is absent")
        return False
    return True


if not all([is_there(name) for name in ("torch", "transformers", "safetensors")]):
    sys.exit(0)
HAS_PEFT, HAS_GGUF, HAS_MLX = is_there("peft"), is_there("gguf"), is_there("mlx_lm")

import torch  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from transformers import AutoModelForCausalLM  # noqa: E402
from transformers.utils import logging  # noqa: E402

logging.disable_progress_bar()

TOLERANCE = 1e-4
failures = []


def report(case, what, difference, bound=TOLERANCE):
    verdict = "" if difference <= bound else f"  MORE THAN {bound:g}"
    print(f"{case:24} {what:44} {difference:.2e}{verdict}")
    if verdict:
        failures.append(f"{case}: {what}")


def export(tspeft, adapter, to, out, *options):
    command = [tspeft, "export", str(adapter), "--to", to, "-o", str(out), *options]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}\nended with {done.returncode}: {done.stderr}")


def load_base(path):
    return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, attn_implementation="eager").eval()


@torch.no_grad()
def logits(model, ids):
    return model(ids[None]).logits[0].float()


def difference(model, ids, expected):
    return (logits(model, ids) - expected).abs().max().item()


def put_torch_adapter(model, folder):
    """Loads the module that the export wrote, not one that is installed."""
    spec = importlib.util.spec_from_file_location("tspeft_torch", folder / "tspeft_torch.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.put_adapter(model)


def put_mlx_adapter(model, folder):
    """mlx-lm's linear_to_lora_layers, load_weights and LoRALinear / DoRALinear, as updates of the weights."""
    config = json.loads((folder / "adapter_config.json").read_text())
    parameters = config["lora_parameters"]
    tensors = load_file(folder / "adapters.safetensors")
    layers = model.model.layers
    wrapped = [
        (f"model.layers.{index}.{name}", module)
        for index in range(len(layers))[-max(config["num_layers"], 0):]
        for name, module in layers[index].named_modules()
        if name in parameters["keys"]
    ] + [(name, module) for name, module in model.named_modules() if name in parameters["keys"]]
    used = set()
    with torch.no_grad():
        for name, module in wrapped:
            own = {key: tensors[f"{name}.{key}"] for key in ("lora_a", "lora_b", "m") if f"{name}.{key}" in tensors}
            used |= {f"{name}.{key}" for key in own}
            if not own:
                continue  # starts with lora_b = 0, and m the norms of the weight's rows
            shape = module.weight.shape
            assert own["lora_a"].shape == (shape[1], parameters["rank"]), name
            assert own["lora_b"].shape == (parameters["rank"], shape[0]), name
            weight = module.weight + (parameters["scale"] * own["lora_b"].T) @ own["lora_a"].T
            if config["fine_tune_type"] == "dora":
                weight = (own["m"] / torch.linalg.norm(weight, dim=1))[:, None] * weight
            module.weight.copy_(weight)
    assert used == set(tensors), f"tensors that mlx-lm would not use: {sorted(set(tensors) - used)}"
    return model


def mlx_logits(base, folder, ids):
    """What mlx-lm itself computes, on the processor, where it multiplies in full float32."""
    import mlx.core as mx
    from mlx_lm.tuner.utils import load_adapters
    from mlx_lm.utils import load_model

    mx.set_default_device(mx.cpu)
    # mlx-lm reads the fields that transformers wrote before its version 5.
    rotary = json.loads((Path(base) / "config.json").read_text())["rope_parameters"]
    model, _ = load_model(Path(base), model_config={"rope_theta": rotary["rope_theta"], "rope_scaling": rotary})
    model = load_adapters(model, str(folder))
    model.eval()
    return torch.tensor(model(mx.array([ids.tolist()]))[0].tolist())


GGUF_MODULES = {
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}  # fmt: skip


def put_gguf_adapter(model, path):
    """llama_adapter_lora_init and build_lora_mm of llama.cpp, on weights whose rows are permuted as its own are."""
    from gguf import GGUFReader

    reader = GGUFReader(path)
    fields = {name: field.contents() for name, field in reader.fields.items()}
    assert fields["general.type"] == "adapter" and fields["adapter.type"] == "lora", fields
    assert fields["general.architecture"] == "llama", fields
    tensors = {tensor.name: torch.from_numpy(tensor.data.copy()) for tensor in reader.tensors}
    heads = {"attn_q": model.config.num_attention_heads, "attn_k": model.config.num_key_value_heads}
    with torch.no_grad():
        for name, a in tensors.items():
            if not name.endswith(".lora_a"):
                assert name.removesuffix(".lora_b") + ".lora_a" in tensors, name
                continue
            b = tensors[name.removesuffix("a") + "b"]
            weight = name.removesuffix(".weight.lora_a")
            _, layer, part = weight.split(".") if weight != "output" else ("", "", "output")
            path = "lm_head" if part == "output" else f"model.layers.{layer}.{GGUF_MODULES[part]}"
            module = model.get_submodule(path)
            assert a.shape[1] == module.weight.shape[1] and b.shape[0] == module.weight.shape[0], name
            alpha, rank = fields["adapter.lora.alpha"], b.shape[1]
            delta = (alpha / rank if alpha else 1) * (b @ a)
            if part in heads:  # the inverse of convert_hf_to_gguf's permute
                out = delta.shape[0]
                delta = delta.reshape(heads[part], out // heads[part] // 2, 2, -1).swapaxes(1, 2).reshape(out, -1)
            module.weight += delta
    return model


def put_peft_adapter(model, folder):
    from peft import PeftModel

    model = PeftModel.from_pretrained(model, folder)
    stored = load_file(folder / "adapter_model.safetensors")
    assert count_of_peft_tensors(model) == len(stored), "peft dropped tensors of the export"
    return model.eval()


def count_of_peft_tensors(model):
    from peft import get_peft_model_state_dict

    return len(get_peft_model_state_dict(model))


def check_case(tspeft, folder, scratch):
    case = json.loads((folder / "case.json").read_text())
    name, base, method = folder.name, folder.parent / "base", case["method"].removeprefix("ts-")
    reference = load_file(folder / "logits.safetensors")
    ids = reference["ids"].long()
    adapter = folder / "adapter"
    bare = logits(load_base(base), ids)
    for what, other in (("adapter changes", bare), ("gates change", reference["logits"])):
        if what[0] == "a" or case["gated"]:
            print(f"{name:24} {f'(the {what} logits by up to':44} {(other - reference['dense_logits']).abs().max():.2e})")

    export(tspeft, adapter, "torch", scratch / "torch")
    report(name, "torch: logits", difference(put_torch_adapter(load_base(base), scratch / "torch"), ids,
                                             reference["logits"]))  # fmt: skip
    if method == "adapter":
        return
    gates = ["--gates", "drop"] if case["gated"] else []
    dense = reference["dense_logits"]
    if HAS_PEFT:
        export(tspeft, adapter, "peft", scratch / "peft", *gates)
        report(name, "peft: logits", difference(put_peft_adapter(load_base(base), scratch / "peft"), ids, dense))
        if method in ("adalora", "vera"):
            export(tspeft, adapter, "peft", scratch / "folded", "--as-lora", "--base", str(base), *gates)
            report(name, "peft, folded into LoRA: logits",
                   difference(put_peft_adapter(load_base(base), scratch / "folded"), ids, dense))  # fmt: skip
    if case["has_bias"] or case["saves_modules"]:
        return
    export(tspeft, adapter, "mlx", scratch / "mlx", "--base", str(base), *gates)
    report(name, "mlx-lm's rule: logits", difference(put_mlx_adapter(load_base(base), scratch / "mlx"), ids, dense))
    if HAS_MLX:
        found = mlx_logits(base, scratch / "mlx", ids)
        report(name, "mlx-lm itself: logits", (found - dense).abs().max().item())
    if HAS_GGUF and method != "dora":
        path = scratch / "lora.gguf"
        export(tspeft, adapter, "gguf-lora", path, "--base", str(base), *gates)
        report(name, "llama.cpp's rule: logits", difference(put_gguf_adapter(load_base(base), path), ids, dense))


def peft_configurations():
    from peft import AdaLoraConfig, LoraConfig, VeraConfig

    targets = ["q_proj", "v_proj", "up_proj", "down_proj"]
    pattern = {"rank_pattern": {"up_proj": 3}, "alpha_pattern": {"layers.1.self_attn.q_proj": 5}}
    return {
        "lora": LoraConfig(r=4, lora_alpha=6, target_modules=targets, task_type="CAUSAL_LM"),
        "lora-regex": LoraConfig(r=4, target_modules=r".*layers\.[01]\.(self_attn\.k_proj|mlp\.gate_proj)"),
        "rslora-patterns": LoraConfig(r=4, lora_alpha=6, use_rslora=True, target_modules=targets, **pattern),
        "lora-bias": LoraConfig(r=4, lora_bias=True, target_modules=targets),
        "lora-layers": LoraConfig(r=2, target_modules=targets, layers_to_transform=[1], layers_pattern="layers"),
        "lora-saved": LoraConfig(r=2, target_modules=targets, modules_to_save=["lm_head"]),
        "dora": LoraConfig(r=4, use_dora=True, target_modules=targets, exclude_modules=["v_proj"]),
        "adalora": AdaLoraConfig(init_r=6, target_r=3, lora_alpha=8, target_modules=targets, total_step=10),
        "vera": VeraConfig(r=5, target_modules=targets, save_projection=True),
    }


# What peft 0.21 writes that says nothing of the adapter: the version, where it was made, how it started.
MEANINGLESS = {"peft_version", "base_model_name_or_path", "inference_mode", "auto_mapping", "revision"}


def same_meaning(left, right):
    """Lists of targets are sets in peft; what is None, False or empty is absent."""
    def cleaned(config):
        items = {key: value for key, value in config.items() if key not in MEANINGLESS and value not in (None, [], {})}
        if isinstance(items.get("layers_pattern"), str):
            items["layers_pattern"] = [items["layers_pattern"]]
        return {key: sorted(value) if isinstance(value, list) else value for key, value in items.items()}

    left, right = cleaned(left), cleaned(right)
    return sorted(key for key in left.keys() | right.keys() if left.get(key, False) != right.get(key, False))


def check_round_trips(tspeft, base, scratch):
    """peft writes, tspeft exports that to peft and to torch, and nothing may differ."""
    from peft import get_peft_model

    torch.manual_seed(7)
    ids = torch.randint(0, load_base(base).config.vocab_size, (23,))
    for name, configuration in peft_configurations().items():
        model = get_peft_model(load_base(base), configuration)
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data += 0.1 * torch.randn_like(parameter)
        expected = logits(model.eval(), ids)
        folder = scratch / name
        model.save_pretrained(folder / "peft")
        export(tspeft, folder / "peft", "peft", folder / "back")
        export(tspeft, folder / "peft", "torch", folder / "torch")
        first, second = (load_file(folder / part / "adapter_model.safetensors") for part in ("peft", "back"))
        wrong = [key for key in first.keys() | second.keys() if key not in first or key not in second
                 or not torch.equal(first[key].float(), second[key])]  # fmt: skip
        report(f"peft {name}", "back to peft: tensors that differ", len(wrong), 0)
        fields = same_meaning(*(json.loads((folder / part / "adapter_config.json").read_text())
                                for part in ("peft", "back")))  # fmt: skip
        report(f"peft {name}", f"back to peft: fields that differ {' '.join(fields)}", len(fields), 0)
        report(f"peft {name}", "back to peft: logits",
               difference(put_peft_adapter(load_base(base), folder / "back"), ids, expected))  # fmt: skip
        report(f"peft {name}", "torch: logits",
               difference(put_torch_adapter(load_base(base), folder / "torch"), ids, expected))  # fmt: skip


def main():
    if len(sys.argv) != 3:
        sys.exit("usage: check_exports.py TSPEFT FOLDER")
    tspeft, folder = sys.argv[1], Path(sys.argv[2])
    for case in sorted(path.parent for path in folder.glob("*/case.json")):
        with tempfile.TemporaryDirectory() as scratch:
            check_case(tspeft, case, Path(scratch))
    if HAS_PEFT:
        with tempfile.TemporaryDirectory() as scratch:
            check_round_trips(tspeft, folder / "base", Path(scratch))
    if failures:
        sys.exit("\n".join(["failed:"] + failures))


main()
