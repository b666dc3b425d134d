#!/usr/bin/env python3
"""Makes Fixtures/golden/llama-lora-dense-saved: dense LoRA with `modules_to_save`, in float64, by PyTorch and peft.

    make_saved_modules_case.py OUTPUT_FOLDER      (torch 2.15, transformers 5.23, peft 0.21.2, safetensors)

A tiny untied Llama whose lm_head and embed_tokens are trained whole beside a LoRA. The folder is laid out as the other
golden cases are (see GoldenTests.swift): model/, adapter/ and adapter_final/ (both as peft's save_pretrained writes
them, README.md left out), batch.safetensors, step0.safetensors, trajectory.json; and final.safetensors, the logits of
the first batch with the final adapter. The case is one that no float32 run can mistake: there are no gates in it.
"""
import json
import pathlib
import sys

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

SEED = 11
STEPS = 8
ROWS = 3
TOKENS = 12
TARGETS = ["q_proj", "v_proj", "up_proj", "down_proj"]
HYPER = {
    "s": 0.01, "lambda": 1e-3, "beta1": 0.9, "beta2": 0.98, "eps": 1e-8, "lr": 5e-3, "schedule": "linear", "warmup": 0,
    "weight_decay": 0.01, "adam_beta1": 0.9, "adam_beta2": 0.999, "adam_eps": 1e-8, "max_grad_norm": 1.0,
    "steps": STEPS, "tau_update": "adam",
}


def llama():
    torch.manual_seed(SEED)
    return LlamaForCausalLM(LlamaConfig(
        vocab_size=91, hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, rms_norm_eps=1e-5, tie_word_embeddings=False,
        initializer_range=0.2, attn_implementation="eager", bos_token_id=1, eos_token_id=2))


def batches():
    generator = torch.Generator().manual_seed(SEED + 1)
    # Few ids, so that tokens occur several times in a batch.
    ids = torch.randint(3, 40, (STEPS, ROWS, TOKENS), generator=generator)
    lengths = torch.randint(7, TOKENS + 1, (STEPS, ROWS), generator=generator)
    mask = (torch.arange(TOKENS) < lengths[..., None]).long()
    labels = torch.where((mask == 1) & (torch.arange(TOKENS) >= 3), ids, -100)
    return {"input_ids": ids * mask, "attention_mask": mask, "labels": labels}


def file_name(name):
    return name.replace("modules_to_save.", "").replace(".default", "")


def save_adapter(model, folder):
    """What peft writes, in float32 and without the path of this machine."""
    tensors = {name: value.float() for name, value in model.state_dict().items()}
    model.save_pretrained(folder, state_dict=tensors)
    (folder / "README.md").unlink()
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text())
    config["base_model_name_or_path"] = None
    path.write_text(json.dumps(config, indent=2, sort_keys=True))


def main(folder):
    torch.set_default_dtype(torch.float64)
    torch.use_deterministic_algorithms(True)
    model = llama()
    model.float().save_pretrained(folder / "model")
    model.double().eval()
    torch.manual_seed(SEED + 2)
    model = get_peft_model(model, LoraConfig(
        r=3, lora_alpha=6, target_modules=TARGETS, modules_to_save=["lm_head", "embed_tokens"]))
    generator = torch.Generator().manual_seed(SEED + 3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.copy_(0.08 * torch.randn(parameter.shape, generator=generator))
            if parameter.requires_grad:
                parameter.copy_(parameter.float().double())
    save_adapter(model, folder / "adapter")
    batch = batches()
    save_file({name: value.to(torch.int32) for name, value in batch.items()}, folder / "batch.safetensors")

    parameters = {name: value for name, value in model.named_parameters() if value.requires_grad}
    optimizer = torch.optim.AdamW(parameters.values(), lr=HYPER["lr"], weight_decay=HYPER["weight_decay"])
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / STEPS)
    steps = []
    for step in range(STEPS):
        output = model(**{name: value[step] for name, value in batch.items()})
        output.loss.backward()
        if step == 0:
            save_file(
                {"logits": output.logits.detach().float().contiguous()}
                | {"grad." + file_name(name): value.grad.float() for name, value in parameters.items()},
                folder / "step0.safetensors")
        norm = torch.nn.utils.clip_grad_norm_(parameters.values(), HYPER["max_grad_norm"])
        steps.append({
            "loss": output.loss.item(), "lr": schedule.get_last_lr()[0], "grad_norm": float(norm), "modules": {}})
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    save_adapter(model, folder / "adapter_final")
    with torch.no_grad():
        logits = model(input_ids=batch["input_ids"][0], attention_mask=batch["attention_mask"][0]).logits
    save_file({"logits": logits.float().contiguous()}, folder / "final.safetensors")
    (folder / "trajectory.json").write_text(json.dumps(
        {"case": folder.name, "hyper": HYPER, "initial_tau": {}, "steps": steps}, indent=1))
    print([round(step["loss"], 4) for step in steps])


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
