#!/usr/bin/env python3
"""Makes Fixtures/peft: adapters that peft wrote, and the logits that PyTorch and peft compute with them.

    make_peft_fixtures.py OUTPUT_FOLDER      (torch 2.15, transformers 5.23, peft 0.21.2, safetensors 0.8)

    model/                  a tiny Llama, the base of all
    <name>/                 one adapter directory a feature, as save_pretrained writes it (README.md left out)
    expected.safetensors    tokens [12], and for each adapter its logits [12, vocabulary], F32, in evaluation mode

The logits are those of a model that peft loaded from the directory, so they rest on what peft makes of the files. The
parallel adapter is not in peft: its directory has LLM-Adapters' names, its logits come from a plain forward hook.
"""
import json
import pathlib
import re
import sys

import torch
from peft import AdaLoraConfig, LoraConfig, PeftModel, VeraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

SEED = 29
BASE = "tiny-llama-for-peft"
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
TOKENS = torch.randint(3, 60, (1, 12), generator=torch.Generator().manual_seed(SEED))


def llama():
    torch.manual_seed(SEED)
    return LlamaForCausalLM(LlamaConfig(
        vocab_size=61, hidden_size=24, intermediate_size=40, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, rms_norm_eps=1e-5, tie_word_embeddings=False,
        attention_bias=True, initializer_range=0.2, attn_implementation="eager", bos_token_id=1, eos_token_id=2))


CONFIGURATIONS = {
    "lora": LoraConfig(r=3, lora_alpha=6, lora_dropout=0.1, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"),
    "rslora": LoraConfig(r=4, lora_alpha=6, use_rslora=True, target_modules=["k_proj", "down_proj"]),
    "dora": LoraConfig(r=2, lora_alpha=6, use_dora=True, target_modules=["q_proj", "up_proj", "down_proj"]),
    # The first pattern that matches counts, in peft by the order of the file.
    "patterns": LoraConfig(
        r=2, lora_alpha=3, target_modules=["q_proj", "k_proj", "up_proj"],
        rank_pattern={r"layers\.1\.self_attn\.q_proj": 5, "q_proj": 3, r"layers.[02].mlp.up_proj": 1},
        alpha_pattern={"model.layers.0.self_attn.q_proj": 9, r".*\.self_attn\.[qk]_proj": 4, "up_proj": 0.5}),
    "rslora-patterns": LoraConfig(
        r=2, lora_alpha=3, use_rslora=True, target_modules=["v_proj", "o_proj"], rank_pattern={"o_proj": 5},
        alpha_pattern={"v_proj": 7}),
    # peft warns and treats linear layers as they are.
    "fan-in-fan-out": LoraConfig(r=2, lora_alpha=4, fan_in_fan_out=True, target_modules=["q_proj", "gate_proj"]),
    "lora-bias": LoraConfig(r=2, lora_alpha=4, lora_bias=True, target_modules=["v_proj", "down_proj"]),
    "layers": LoraConfig(
        r=2, lora_alpha=4, target_modules=["q_proj", "up_proj"], layers_to_transform=[0, 2], layers_pattern="layers"),
    "one-layer": LoraConfig(r=2, lora_alpha=4, target_modules=["v_proj"], layers_to_transform=1),
    "excluded": LoraConfig(
        r=2, lora_alpha=4, target_modules=["q_proj", "down_proj"],
        exclude_modules=r".*\.layers\.1\..*|model\.layers\.0\.mlp\.down_proj"),
    "excluded-names": LoraConfig(
        r=2, lora_alpha=4, target_modules=["q_proj", "down_proj"], exclude_modules=["layers.2.self_attn.q_proj"]),
    "expression": LoraConfig(
        r=2, lora_alpha=4, target_modules=r"model\.layers\.(0|2)\.(self_attn\.(k|v)_proj|mlp\.gate_proj)"),
    "all-linear": LoraConfig(r=1, lora_alpha=2, target_modules="all-linear"),
    "saved-modules": LoraConfig(r=2, lora_alpha=4, target_modules=["q_proj"], modules_to_save=["lm_head"]),
    "adalora-new": AdaLoraConfig(
        init_r=4, target_r=2, lora_alpha=6, target_modules=["q_proj", "v_proj"], total_step=20),
    "vera": VeraConfig(r=5, target_modules=["q_proj", "v_proj", "up_proj", "down_proj"], projection_prng_key=7),
    "vera-unsaved": VeraConfig(r=2, target_modules=["q_proj"], save_projection=False),
}


def fill(model, size=0.3):
    """Numbers in every tensor of the adapter, so that none can be left out unseen."""
    generator = torch.Generator().manual_seed(SEED + 1)
    for name, value in model.named_parameters():
        if not value.requires_grad:
            continue
        noise = size * torch.randn(value.shape, generator=generator)
        with torch.no_grad():
            if "magnitude" in name:
                value.mul_(1 + noise)
            elif "modules_to_save" in name:
                value.add_(0.3 * noise)
            else:
                value.copy_(noise)


def save(model, folder):
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text())
    config["base_model_name_or_path"] = BASE
    path.write_text(json.dumps(config, indent=2, sort_keys=True))


def loaded_logits(folder):
    model = PeftModel.from_pretrained(llama(), folder).eval()
    with torch.no_grad():
        return model(input_ids=TOKENS).logits[0].float().contiguous()


def trained_adalora():
    """Trained until ranks are gone, from one module all of them."""
    steps = 24
    configuration = AdaLoraConfig(
        init_r=4, target_r=1, lora_alpha=6, target_modules=ALL, tinit=2, tfinal=4, deltaT=2, total_step=steps,
        orth_reg_weight=0.1, beta1=0.8, beta2=0.9, task_type="CAUSAL_LM")
    model = get_peft_model(llama(), configuration)
    fill(model, 0.1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-2)
    for step in range(steps):
        optimizer.zero_grad()
        model(input_ids=TOKENS, labels=TOKENS).loss.backward()
        optimizer.step()
        model.base_model.update_and_allocate(step)
    ranks = [sum(kept) for kept in configuration.rank_pattern.values()]
    assert 0 in ranks and max(ranks) > 1, ranks
    return model


class Parallel(torch.nn.Module):
    """LLM-Adapters' parallel adapter: up(f(down(x))) scaling."""

    def __init__(self, layer, size, function, scaling, has_bias):
        super().__init__()
        self.down = torch.nn.Linear(layer.in_features, size, bias=has_bias)
        self.up = torch.nn.Linear(size, layer.out_features, bias=has_bias)
        self.function, self.scaling = function, scaling
        layer.register_forward_hook(lambda _, inputs, output: output + self(inputs[0]))

    def forward(self, x):
        return self.up(self.function(self.down(x))) * self.scaling


def bottleneck(folder, name, function, scaling, has_bias, targets):
    torch.manual_seed(SEED + 2)
    model, tensors = llama().eval(), {}
    for path, layer in list(model.named_modules()):
        if isinstance(layer, torch.nn.Linear) and path.split(".")[-1] in targets:
            adapter = Parallel(layer, 4, function, scaling, has_bias)
            for key, value in adapter.state_dict().items():
                tensors[f"base_model.model.{path}.adapter_{key}"] = value.clone()
    with torch.no_grad():
        logits = model(input_ids=TOKENS).logits[0].contiguous()
    folder.mkdir(parents=True)
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    config = {
        "adapter_dropout": 0.1, "base_model_name_or_path": BASE, "bias": "none", "bottleneck_size": 4,
        "inference_mode": True, "init_weights": "bert", "modules_to_save": None, "non_linearity": name,
        "peft_type": "BOTTLENECK", "scaling": scaling, "target_modules": targets, "task_type": "CAUSAL_LM",
        "use_adapterp": False, "use_parallel_adapter": True,
    }
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2, sort_keys=True))
    return logits


def check_renames(folder, expected):
    """Names that peft takes for the same tensors, as older releases and raw state dicts have them."""
    tensors = load_file(folder / "adapter_model.safetensors")
    for pattern, replacement in [
        (r"(lora_[AB])\.weight$", r"\1.default.weight"),
        (r"lora_magnitude_vector$", "lora_magnitude_vector.weight"),
        (r"lora_magnitude_vector$", "lora_magnitude_vector.default.weight"),
    ]:
        renamed = {re.sub(pattern, replacement, key): value for key, value in tensors.items()}
        if renamed.keys() == tensors.keys():
            continue
        save_file(renamed, folder / "adapter_model.safetensors")
        assert torch.equal(loaded_logits(folder), expected), pattern
        print(f"{folder.name}: peft takes {replacement} too")
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})


def main():
    output = pathlib.Path(sys.argv[1])
    model = llama()
    model.save_pretrained(output / "model")
    (output / "model" / "generation_config.json").unlink(missing_ok=True)
    with torch.no_grad():
        expected = {"tokens": TOKENS[0], "base": model.eval()(input_ids=TOKENS).logits[0].contiguous()}
    for name, configuration in CONFIGURATIONS.items():
        model = get_peft_model(llama(), configuration)
        fill(model)
        save(model, output / name)
        expected[name] = loaded_logits(output / name)
    for name in ["lora", "dora"]:
        check_renames(output / name, expected[name])
    save(trained_adalora(), output / "adalora")
    expected["adalora"] = loaded_logits(output / "adalora")
    # The same adapter in half precision, as peft keeps it on request.
    model = PeftModel.from_pretrained(llama(), output / "lora").to(torch.bfloat16)
    save(model, output / "lora-bf16")
    expected["lora-bf16"] = loaded_logits(output / "lora-bf16")
    for name, arguments in {
        "bottleneck": ("tanh", torch.tanh, 0.75, False, ["q_proj", "up_proj"]),
        "bottleneck-biases": ("relu", torch.relu, 1.0, True, ["down_proj", "v_proj"]),
        "bottleneck-gelu": ("gelu", torch.nn.functional.gelu, 2.0, True, ["gate_proj"]),
        "bottleneck-silu": ("silu", torch.nn.functional.silu, 0.5, False, ["o_proj"]),
    }.items():
        function, call, scaling, has_bias, targets = arguments
        expected[name] = bottleneck(output / name, function, call, scaling, has_bias, targets)
    for name, logits in expected.items():
        if name not in ("tokens", "base"):
            assert (logits - expected["base"]).abs().max() > 0.05, name
    save_file(expected, output / "expected.safetensors")


if __name__ == "__main__":
    main()
