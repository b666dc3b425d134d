#!/usr/bin/env python3
"""Makes the golden cases of adapters on packed experts, in float64, by PyTorch, transformers and peft.

    make_expert_cases.py ORACLE OUTPUT_FOLDER      (torch 2.15, transformers 5.24, peft 0.21.2, safetensors)

ORACLE is the script of the other golden cases (oracle.py), whose models, optimizer and gates are taken. The adapters are peft's
own (`target_parameters`), and so are the names and shapes of their tensors; peft adds what they hold to the weights, so that
M(x) of an expert is written out here: each expert computes on its own tokens,

    h_i = W0 x_i + S_i scaling B_e A_e x_i

with a gate of its own for gate and up together and one for down. With every gate open the model must come to what peft's does.
A token that an expert does not see is counted nowhere. Beside the files of the other cases step0.safetensors has NAME.seen
[batch, tokens], 1 where an expert NAME (model.layers.0.mlp.experts.3.gate_up_proj) sees a token.
"""
import argparse
import copy
import importlib.util
import json
import math
import pathlib

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file

STEPS = 5
PARAMETERS = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]
LEAST_MARGIN = 2e-5


class ExpertGate:
    """The gate of one expert's part of a packed parameter."""

    def __init__(self, name, tau):
        self.name, self.tau, self.m, self.v, self.k = name, tau, 0.0, 0.0, 0

    def __call__(self, base, update, tokens, mask):
        with torch.no_grad():
            size, of = update.norm(dim=-1), base.norm(dim=-1)
            r = torch.where(size == 0, torch.zeros_like(size), size / of)
            gate = r >= self.tau
        h = base + update * gate.unsqueeze(-1)
        self.r, self.gate, self.update, self.tokens = r, gate, update.detach(), tokens
        self.real = mask.flatten()[tokens].bool()
        if h.requires_grad:
            h.register_hook(self.keep_mu)
        return h

    def keep_mu(self, grad):
        self.mu = (grad * self.update).sum(-1)

    def step(self, s, lam, beta1, beta2, eps):
        agree = (self.mu >= 0) == self.gate
        g = ((agree * self.mu + self.gate * lam) * self.real).sum().item()
        self.margin = (self.r - self.tau).abs()[self.real].min().item()
        self.sparsity = 1 - (self.gate & self.real).sum().item() / self.real.sum().item()
        self.k += 1
        self.m = beta1 * self.m + (1 - beta1) * g
        self.v = beta2 * self.v + (1 - beta2) * g * g
        m, v = self.m / (1 - beta1 ** self.k), self.v / (1 - beta2 ** self.k)
        self.tau += s * m / (math.sqrt(v) + eps)
        return g

    def spread(self, values, shape):
        whole = torch.zeros(shape[0] * shape[1], dtype=values.dtype)
        whole[self.tokens] = values
        return whole.reshape(shape)


class Experts:
    """A mixture whose packed parameters peft has wrapped, computed expert by expert."""

    def __init__(self, name, outer, mask_of):
        self.outer, self.mask_of = outer, mask_of
        inner = outer.base_layer
        self.base = inner.base_layer
        by_name = {outer.parameter_name: outer, inner.parameter_name: inner}
        self.up, self.down = by_name["gate_up_proj"], by_name["down_proj"]
        self.count = self.base.num_experts
        self.gates = [(ExpertGate(f"{name}.{e}.gate_up_proj", 0.0), ExpertGate(f"{name}.{e}.down_proj", 0.0))
                      for e in range(self.count)]
        self.dense, outer.forward = outer.forward, self.forward

    def factors(self, wrapper, expert):
        a, b = wrapper.lora_A["default"].weight, wrapper.lora_B["default"].weight
        r = a.shape[0] // self.count
        return a[expert * r:(expert + 1) * r], b.reshape(b.shape[0], r, self.count)[:, :, expert], wrapper.scaling["default"]

    def parameter(self, name, expert):
        """[out, in] and the bias of one expert."""
        weight = getattr(self.base, name)[expert]
        bias = getattr(self.base, name + "_bias", None)
        return (weight if bias is None else weight.T), (None if bias is None else bias[expert])

    def part(self, wrapper, gate, name, x, expert, tokens):
        weight, bias = self.parameter(name, expert)
        a, b, scaling = self.factors(wrapper, expert)
        base = torch.nn.functional.linear(x, weight, bias)
        return gate(base, scaling * (x @ a.T @ b.T), tokens, self.mask_of())

    def between(self, both):
        if hasattr(self.base, "alpha"):
            gate, up = both[..., ::2], both[..., 1::2]
            gate, up = gate.clamp(max=self.base.limit), up.clamp(-self.base.limit, self.base.limit)
            return (up + 1) * gate * torch.sigmoid(gate * self.base.alpha)
        gate, up = both.chunk(2, dim=-1)
        return self.base.act_fn(gate) * up

    def forward(self, hidden_states, indices, weights, *args, **kwargs):
        x = hidden_states.reshape(-1, hidden_states.shape[-1])
        out = torch.zeros_like(x)
        for expert in range(self.count):
            tokens, place = torch.where(indices.reshape(x.shape[0], -1) == expert)
            real = self.mask_of().flatten()[tokens].bool()
            if not real.any():
                raise LookupError("an expert sees no token")
            first, second = self.gates[expert]
            both = self.part(self.up, first, "gate_up_proj", x[tokens], expert, tokens)
            y = self.part(self.down, second, "down_proj", self.between(both), expert, tokens)
            share = weights if weights.shape[-1] == indices.shape[-1] else weights.gather(-1, indices)
            out = out.index_add(0, tokens, y * share.reshape(x.shape[0], -1)[tokens, place, None])
        return out.reshape(hidden_states.shape)


def run(oracle, name, build, root, seed):
    folder = root / f"{name}-experts-lora"
    with oracle.float64_throughout():
        model = build(seed).double()
    batch = oracle.batches(model, STEPS, seed)
    model.eval()
    copy.deepcopy(model).float().save_pretrained(folder / "model")
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(p.float().double())
    torch.manual_seed(seed + 1)
    config = LoraConfig(r=2, lora_alpha=4, lora_dropout=0.0, target_modules=["q_proj"], target_parameters=PARAMETERS)
    model = get_peft_model(model, config)
    config = json.loads(json.dumps(config.to_dict(), default=lambda v: sorted(v) if isinstance(v, set) else str(v)))
    gen = torch.Generator().manual_seed(seed + 3)
    with torch.no_grad():
        for n, p in model.named_parameters():
            if p.requires_grad and "lora_B" in n:
                p.copy_(torch.randn(p.shape, generator=gen) * 0.08)
            if p.requires_grad:
                p.copy_(p.float().double())
    current = {k: v[0] for k, v in batch.items()}
    mask_of = lambda: current["attention_mask"]
    with torch.no_grad(), oracle.float64_throughout():
        merged = model(**current).logits
    strip = lambda n: n.removeprefix("base_model.model.")
    choices = [oracle.Choice(m, mask_of) for m in model.modules() if type(m).__name__.endswith("TopKRouter")]
    gates, mixtures = [], []
    for n, m in model.named_modules():
        if type(m).__name__ == "ParamWrapper" and type(m.base_layer).__name__ == "ParamWrapper":
            mixtures.append(Experts(strip(n), m, mask_of))
            gates += [gate for pair in mixtures[-1].gates for gate in pair]
        elif hasattr(m, "lora_A") and n.endswith("q_proj"):
            gates.append(oracle.Gate(strip(n), m, mask_of, 0.0))
    for gate in gates:
        gate.tau = -1.0
    with torch.no_grad(), oracle.float64_throughout():
        apart = model(**current).logits
    error = (apart - merged).abs().max() / merged.abs().max()
    assert error < 1e-12, f"{name}: expert by expert is not what peft's sum is: {error}"
    for gate in gates:
        gate.tau = 0.0
    with torch.no_grad(), oracle.float64_throughout():
        model(**current)
    for i, gate in enumerate(gates):
        real = gate.real if hasattr(gate, "real") else mask_of().reshape(gate.r.shape).bool()
        gate.tau = float(torch.tensor(float(torch.quantile(gate.r[real], 0.15 + 0.1 * (i % 6)))).float())
    initial_tau = {gate.name: gate.tau for gate in gates}
    hyper = {"s": 0.01, "lambda": 1e-3, "beta1": 0.9, "beta2": 0.98, "eps": 1e-8, "lr": 2e-3, "schedule": "linear",
             "warmup": 0, "weight_decay": 0.01, "adam_beta1": 0.9, "adam_beta2": 0.999, "adam_eps": 1e-8,
             "max_grad_norm": 1.0, "steps": STEPS, "tau_update": "adam"}
    (folder / "adapter").mkdir(parents=True, exist_ok=True)
    (folder / "adapter_final").mkdir(parents=True, exist_ok=True)
    save_file(oracle.adapter_tensors(model, "lora"), folder / "adapter" / "adapter_model.safetensors")
    (folder / "adapter" / "adapter_config.json").write_text(
        json.dumps(config | {"base_model_name_or_path": None}, indent=1, sort_keys=True, default=str))
    save_file({k: v.to(torch.int32).contiguous() for k, v in batch.items()}, folder / "batch.safetensors")
    params = [p for p in model.parameters() if p.requires_grad]
    opt = torch.optim.AdamW(params, lr=hyper["lr"], weight_decay=hyper["weight_decay"])
    sched = torch.optim.lr_scheduler.LambdaLR(opt, lambda k: 1 - k / STEPS)
    trajectory, margin = [], float("inf")
    for k in range(STEPS):
        current.clear(), current.update({n: v[k] for n, v in batch.items()})
        with oracle.float64_throughout():
            out = model(**current)
        out.loss.backward()
        if k == 0:
            keep = {"logits": out.logits.detach().float()}
            shape = tuple(mask_of().shape)
            for gate in gates:
                if isinstance(gate, ExpertGate):
                    seen = torch.ones(len(gate.tokens), dtype=torch.uint8)
                    parts = {"r": gate.r.float(), "mu": gate.mu.float(), "gate": gate.gate.to(torch.uint8), "seen": seen}
                    keep |= {f"{gate.name}.{part}": gate.spread(values, shape) for part, values in parts.items()}
                else:
                    keep |= {f"{gate.name}.r": gate.r.float(), f"{gate.name}.mu": gate.mu.float(),
                             f"{gate.name}.gate": gate.gate.to(torch.uint8)}
            names = {id(p): n for n, p in model.named_parameters()}
            keep |= {"grad." + oracle.file_name(names[id(p)]): p.grad.float().clone() for p in params}
            save_file({n: t.contiguous() for n, t in keep.items()}, folder / "step0.safetensors")
        norm = torch.nn.utils.clip_grad_norm_(params, hyper["max_grad_norm"])
        row = {"loss": out.loss.item(), "lr": sched.get_last_lr()[0], "grad_norm": float(norm), "modules": {}}
        opt.step(), sched.step()
        for gate in gates:
            value = gate.step(hyper["s"], hyper["lambda"], hyper["beta1"], hyper["beta2"], hyper["eps"])
            margin = min(margin, gate.margin)
            row["modules"][gate.name] = {"tau": gate.tau, "g": value, "sparsity": gate.sparsity}
        opt.zero_grad()
        trajectory.append(row)
    save_file(oracle.adapter_tensors(model, "lora"), folder / "adapter_final" / "adapter_model.safetensors")
    margins = {"margin": margin, "router_margin": min(choice.margin for choice in choices)}
    if min(margins.values()) < LEAST_MARGIN:
        raise LookupError(f"the margin {min(margins.values()):.1e} is a coin toss in float32")
    (folder / "trajectory.json").write_text(json.dumps(
        {"case": folder.name, "hyper": hyper, "initial_tau": initial_tau, **margins, "steps": trajectory}, indent=1))
    print(f"{folder.name}: seed {seed}, loss {trajectory[0]['loss']:.4f} -> {trajectory[-1]['loss']:.4f}, "
          f"margin {margin:.2e}, {len(gates)} gates, expert by expert off by {error:.1e}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("oracle", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    options = parser.parse_args()
    spec = importlib.util.spec_from_file_location("oracle", options.oracle)
    oracle = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(oracle)
    for name, build in {"mixtral": oracle.mixtral, "qwen3_moe": oracle.qwen3_moe, "gpt_oss": oracle.gpt_oss}.items():
        for seed in range(7, 3000, 100):
            try:
                run(oracle, name, build, options.out, seed)
                break
            except LookupError as problem:
                print(f"{name}: seed {seed}: {problem}")


if __name__ == "__main__":
    main()
