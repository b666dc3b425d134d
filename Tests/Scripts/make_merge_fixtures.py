"""Writes what peft's merge_and_unload makes of the golden cases' models and adapters, from bases in F32 and in BF16, and, in
F32, of a sum of two adapters (add_weighted_adapter, "cat"): Fixtures/merged/<case>.safetensors with tensors "<dtype>.<name>".

Only some modules of layer 1 are kept, to stay small. The bases are the cases' own models, converted where BF16 is asked for.

Made with peft 0.21.2, transformers 5.23.0 (llama-ia3 with 5.24.0), torch 2.15.0, safetensors 0.8.0.
Run from the package's root: python Tests/Scripts/make_merge_fixtures.py
"""

import pathlib

import peft
import safetensors
import torch
import transformers
from safetensors.torch import save_file

GOLDEN = pathlib.Path("Fixtures/golden")
TARGET = pathlib.Path("Fixtures/merged")
CASES = ["llama-lora-dense", "llama-rslora", "llama-dora", "llama-adalora", "llama-vera", "llama-ia3"]
# Two adapters of one base, and what each is multiplied by.
SUM = ("lora-sum", {"llama-lora-dense": 1.0, "llama-rslora": 0.3})
MODULES = ["self_attn.q_proj", "self_attn.v_proj", "mlp.down_proj"]
DTYPES = {"F32": torch.float32, "BF16": torch.bfloat16}
VERSIONS = {"peft": "0.21.2", "transformers": "5.23.0", "torch": "2.15.0", "safetensors": "0.8.0"}


def base(case, dtype):
    return transformers.AutoModelForCausalLM.from_pretrained(GOLDEN / case / "model", dtype=dtype)


def kept(model, dtype_name):
    tensors = model.state_dict()
    names = [f"model.layers.1.{module}.weight" for module in MODULES]
    return {f"{dtype_name}.{name}": tensors[name].contiguous() for name in names}


def one(case, dtype):
    return peft.PeftModel.from_pretrained(base(case, dtype), GOLDEN / case / "adapter").merge_and_unload()


def several(weights, dtype):
    first, *others = weights
    model = peft.PeftModel.from_pretrained(base(first, dtype), GOLDEN / first / "adapter", adapter_name=first)
    for other in others:
        model.load_adapter(GOLDEN / other / "adapter", adapter_name=other)
    model.add_weighted_adapter(list(weights), list(weights.values()), "sum", combination_type="cat")
    return model.merge_and_unload(adapter_names=["sum"])


def main():
    for module in (peft, transformers, torch, safetensors):
        found = module.__version__.split("+")[0]
        if found != VERSIONS[module.__name__]:
            raise SystemExit(f"{module.__name__} is {found}, not {VERSIONS[module.__name__]}")
    TARGET.mkdir(exist_ok=True)
    for case in CASES:
        tensors = {}
        for name, dtype in DTYPES.items():
            tensors |= kept(one(case, dtype), name)
        save_file(tensors, TARGET / f"{case}.safetensors")
    name, weights = SUM
    # Only in F32: peft rounds the factors of the sum to the base's type.
    tensors = kept(several(weights, torch.float32), "F32")
    save_file(tensors, TARGET / f"{name}.safetensors")


if __name__ == "__main__":
    main()
