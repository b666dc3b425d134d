"""Times training steps on a GPU: LoRA of peft at its fastest against gated LoRA of tspeft_torch.py.

    python gpu_rates.py [--module tspeft_torch.py] [--layers 4] [--batch 4] [--tokens 2048] [--rounds 20] [--rank 32]

A slice of Llama-3.1-8B in its true width (hidden size 4,096, 14,336 within, 32 and 8 heads, random weights in bf16),
targets q k v up down. In one run, in turns, each a forward and backward pass and an AdamW step:

peft, bf16         LoRA of peft, adapters in bf16
peft, autocast     LoRA of peft, adapters in float32 under bf16 autocast
masked P %         tspeft_torch under bf16 autocast, masked products, tau set so that P % of the tokens are skipped
gathered P %       the same with rows gathered, multiplied and scattered

Prints tokens/s (median, and the range over rounds) and the peak of memory, relative to the faster of peft's. Needs a
CUDA device, torch, transformers, peft and safetensors; says so and ends with 2 where there is none. Not yet run on a
GPU: none was at hand when it was written; `--device cpu --layers 1 --tokens 64 --width 256` tries the script itself.
"""

import argparse
import contextlib
import gc
import importlib.util
import json
import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

MODULE = Path(__file__).resolve().parents[2] / "Sources/Transforms/Conversion/PyTorch/tspeft_torch.py"
TARGETS = ["q_proj", "k_proj", "v_proj", "up_proj", "down_proj"]
SKIPPED = [0.0, 0.6, 0.9]


def load_module(path):
    spec = importlib.util.spec_from_file_location("tspeft_torch", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["tspeft_torch"] = module
    spec.loader.exec_module(module)
    return module


def make_model(options):
    width = options.width
    config = LlamaConfig(
        vocab_size=32000, hidden_size=width, intermediate_size=width * 7 // 2, num_hidden_layers=options.layers,
        num_attention_heads=width // 128, num_key_value_heads=max(1, width // 512), head_dim=128,
        max_position_embeddings=8192, use_cache=False)  # fmt: skip
    torch.manual_seed(1)
    with torch.device(options.device):
        return LlamaForCausalLM(config).to(torch.bfloat16)


def with_peft(options, kind):
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=options.rank, lora_alpha=options.rank // 2, target_modules=TARGETS)
    model = get_peft_model(make_model(options), config, autocast_adapter_dtype=kind != "bf16")
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    return model, contextlib.nullcontext() if kind == "bf16" else autocast(options), None


def autocast(options):
    return torch.autocast(options.device, dtype=torch.bfloat16)


def with_gates(options, module, share, skipped):
    """A gated LoRA whose every tau skips a share of the tokens, as one pass at tau = 0 finds it."""
    model = make_model(options)
    tensors = {}
    for name, layer in model.named_modules():
        if name.split(".")[-1] in TARGETS:
            inputs, outputs = layer.in_features, layer.out_features
            prefix = f"base_model.model.{name}."
            tensors[prefix + "lora_A.weight"] = torch.randn(options.rank, inputs) / inputs**0.5
            tensors[prefix + "lora_B.weight"] = torch.randn(outputs, options.rank) * 0.02
            tensors[prefix + "tau"] = torch.zeros(1)
    config = {"peft_type": "TS_LORA", "r": options.rank, "lora_alpha": options.rank // 2, "target_modules": TARGETS}
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "adapter_config.json").write_text(json.dumps(config))
        save_file(tensors, Path(folder) / "adapter_model.safetensors")
        model = module.attach(model, folder, gather_share=share)
    set_taus(options, model, module, skipped)
    # So small a step that tau stays where it was set.
    return model, autocast(options), module.Thresholds(model, s=1e-12, lam=0.0)


def set_taus(options, model, module, skipped):
    ratios = {}

    class Watch:
        def see(self, adapted, z, sizes, out):
            ratios[adapted.path] = adapted.gate.decide(sizes, out)[0]

    model.tspeft.collector = Watch()
    with torch.no_grad(), autocast(options):
        model(**batch_of(options))
    model.tspeft.collector = None
    for gate in model.tspeft.gates:
        gate.tau = torch.quantile(ratios[gate.path].float()[:100_000], skipped).item() if skipped else 0.0
        gate.skipped = skipped


def batch_of(options):
    generator = torch.Generator().manual_seed(2)
    ids = torch.randint(0, 32000, (options.batch, options.tokens), generator=generator).to(options.device)
    return {"input_ids": ids, "labels": ids}


def wait(options):
    if options.device == "cuda":
        torch.cuda.synchronize()


def rate(options, model, cast, thresholds, batch):
    """Tokens a second of each round, behind three that warm up, and the peak of memory."""
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-5,
                                  fused=options.device == "cuda")  # fmt: skip
    model.train()
    seconds = []
    if options.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    for _ in range(options.rounds + 3):
        wait(options)
        start = time.perf_counter()
        with cast:
            loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        if thresholds is not None:
            thresholds.step()
        optimizer.zero_grad()
        wait(options)
        seconds.append(time.perf_counter() - start)
    peak = torch.cuda.max_memory_allocated() if options.device == "cuda" else 0
    return [batch["input_ids"].numel() / one for one in seconds[3:]], peak


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--module", type=Path, default=MODULE)
    parser.add_argument("--device", default="cuda")
    for name, value in (("layers", 4), ("batch", 4), ("tokens", 2048), ("rounds", 20), ("rank", 32), ("width", 4096)):
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        print("no CUDA device here; nothing was measured")
        sys.exit(2)
    module = load_module(options.module)
    cases = {"peft, bf16": lambda: with_peft(options, "bf16"), "peft, autocast": lambda: with_peft(options, "autocast")}
    for skipped in SKIPPED:
        for what, share in (("masked", 2.0), ("gathered", 0.0)):
            cases[f"{what} {skipped:.0%}"] = partial(with_gates, options, module, share, skipped)
    name = torch.cuda.get_device_name() if options.device == "cuda" else "the processor"
    print(f"{name}, torch {torch.__version__}: {options.layers} layers, {options.batch} x {options.tokens} tokens")
    best = 0.0
    for label, make in cases.items():
        model, cast, thresholds = make()
        rates, peak = rate(options, model, cast, thresholds, batch_of(options))
        middle = statistics.median(rates)
        best = max(best, middle) if label.startswith("peft") else best
        skipped = "" if thresholds is None else f"  {thresholds.sparsity:.1%} skipped"
        figures = f"{middle:10.0f} tokens/s ({min(rates):.0f} to {max(rates):.0f})  {middle / best:5.2f} of peft"
        print(f"{label:16} {figures}  {peak / 2**30:6.2f} GiB{skipped}", flush=True)
        del model, thresholds
        gc.collect()
        if options.device == "cuda":
            torch.cuda.empty_cache()


main()
