"""Trains and runs adapters of tspeft on a model of transformers: the same gates, the same numbers.

    import tspeft_torch

    model = tspeft_torch.attach(model, "adapter")               # what `tspeft inject` or `tspeft train` wrote
    trainer = Trainer(model=model, callbacks=[tspeft_torch.Thresholds(model, s=4e-5, lam=4.5e-5)], ...)
    trainer.train()
    tspeft_torch.save(model, "run", calibration=batches)        # a directory that tspeft takes as its own

To run an adapter alone: `tspeft_torch.put_adapter(model)`, or from a shell
`python tspeft_torch.py BASE "A prompt"`, for the adapter in this file's folder.

Each adapted projection computes, for every token i (TS-PEFT, arXiv 2511.16147; the numbers are its equations),

    r_i  = |M(x_i)| / |W0 x_i|,  0/0 = 0,  the layer's bias included in W0 x_i              (section 3.1)
    h_i  = W0 x_i + S_i M(x_i),  S_i = 1 if r_i >= tau else 0, a constant in backward       (2, 3)
    mu_i = sum_j dl/dh_ij [M(x_i)]_j, for skipped tokens too                                (9)
    g    = sum_i { [(mu_i >= 0) == (r_i >= tau)] mu_i + (r_i >= tau) lambda }               (15)

and after each optimizer step tau follows g by equations 16 to 20. Sums are made in backward alone, so that a forward
pass which gradient checkpointing repeats counts nothing twice. Padding, by the 2D attention mask, is counted nowhere.

Needs torch, transformers and safetensors. Whatever cannot be computed as tspeft computes it is refused with an
AdapterError that names it.
"""

import contextlib
import inspect
import json
import math
import os
import re
import shutil
import sys
import tempfile
import warnings
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.functional import dropout, gelu, linear, relu, silu
from transformers import TrainerCallback

__all__ = ["AdapterError", "Thresholds", "attach", "load_state", "put_adapter", "save"]

VERSION = "@VERSION@"
FORMAT = 1
PREFIX = "base_model.model."
NON_LINEARITIES = {"tanh": torch.tanh, "relu": relu, "gelu": gelu, "silu": silu, "swish": silu}
# The share of a module's tokens that the last step skipped from which rows of active tokens are gathered, multiplied
# and scattered; below it a masked product is faster.
GATHER_SHARE = 0.5


class AdapterError(ValueError):
    """An adapter, model or call that cannot be what is asked for; the message says why, and what to do."""


# MARK: Updates M(x)


class Update(nn.Module):
    """M(x) of one projection: its trained tensors, by the names that they have in the file."""

    # What a tensor's key ends in -> the attribute that holds it.
    names = {}
    # Whether M(x) is linear in z = A x, of which statistics keep sums of z z'.
    has_inner = True

    def __init__(self, tensors, settings, base):
        super().__init__()
        self.scaling = settings["scaling"]
        self.rate = settings.get("dropout", 0.0)
        for suffix, name in self.names.items():
            value = tensors.get(suffix)
            self.register_parameter(name, None if value is None else nn.Parameter(value.clone()))

    def drop(self, x):
        return dropout(x, self.rate, self.training) if self.rate else x

    def inner(self, x):
        """z = A dropout(x), in the type of the adapter, or autocast's."""
        return linear(self.drop(x).to(self.a.dtype), self.a)

    def factors(self, z):
        """u [tokens, k], O [outputs, k] and c [outputs] or None of M(x) = u O' + c."""
        raise NotImplementedError

    def tensors(self):
        """The tensors as the file has them, by what their keys end in."""
        return {suffix: getattr(self, name) for suffix, name in self.names.items() if getattr(self, name) is not None}


class LoRA(Update):
    """M(x) = scaling (B A x + b); b is there for lora_bias alone."""

    names = {"lora_A.weight": "a", "lora_B.weight": "b", "lora_B.bias": "bias"}

    def __init__(self, tensors, settings, base):
        super().__init__(tensors, settings, base)
        self.has_inner = self.bias is None

    def factors(self, z):
        return self.scaling * z, self.b, None if self.bias is None else self.scaling * self.bias


class DoRA(LoRA):
    """M(x) = (m/n - 1) W0 x + (m/n) scaling B A x, n the row norms of W0 + scaling B A, a constant in backward; no bias
    in W0 x, and with dropout both products see the dropped x."""

    names = {"lora_A.weight": "a", "lora_B.weight": "b", "lora_magnitude_vector": "magnitude"}

    def __init__(self, tensors, settings, base):
        Update.__init__(self, tensors, settings, base)
        self.has_inner = False
        self.norms = None

    def row_norms(self, base):
        """n [outputs], made anew where A or B changed."""
        version = (self.a._version, self.b._version, self.a.data_ptr(), torch.is_grad_enabled())
        if self.norms is None or self.training or self.norms[0] != version:
            with torch.no_grad(), torch.autocast(self.a.device.type, enabled=False):
                weight = base.weight.detach().to(self.a.dtype)
                norm = torch.linalg.vector_norm(weight + self.scaling * (self.b @ self.a), dim=1)
            self.norms = (version, norm)
        return self.norms[1]

    def whole(self, x, out, base):
        dropped = self.drop(x)
        if dropped is not x:
            out = base(dropped)
        wide = out.to(torch.promote_types(out.dtype, self.a.dtype))
        if base.bias is not None:
            wide = wide - base.bias
        low = linear(linear(dropped.to(self.a.dtype), self.a), self.b)
        norms = self.row_norms(base)
        # A row of zeros keeps its length, as in tspeft.
        ratio = torch.where(norms == 0, 1, self.magnitude / torch.where(norms == 0, 1, norms))
        return (ratio - 1) * wide + ratio * self.scaling * low


class AdaLoRA(Update):
    """M(x) = scaling B (E * (A x)), with scaling = alpha / (init_r + 1e-5)."""

    names = {"lora_A": "a", "lora_B": "b", "lora_E": "e"}

    def __init__(self, tensors, settings, base):
        super().__init__(tensors, settings, base)
        self.has_inner = self.a.shape[0] > 0

    def factors(self, z):
        return self.scaling * self.e.flatten() * z, self.b, None


class ParallelAdapter(Update):
    """M(x) = scaling up(act(down(x)))."""

    names = {
        "adapter_down.weight": "a", "adapter_down.bias": "down_bias", "adapter_up.weight": "b",
        "adapter_up.bias": "up_bias",
    }  # fmt: skip
    has_inner = False

    def __init__(self, tensors, settings, base):
        super().__init__(tensors, settings, base)
        self.act = NON_LINEARITIES[settings["non_linearity"]]

    def factors(self, z):
        hidden = self.act(z if self.down_bias is None else z + self.down_bias)
        return self.scaling * hidden, self.b, None if self.up_bias is None else self.scaling * self.up_bias


class VeRA(Update):
    """M(x) = b * (B' (d * (A' x))); A' and B' are shared and frozen, of which a module takes what fits it."""

    names = {"vera_lambda_d": "lambda_d", "vera_lambda_b": "lambda_b"}

    def __init__(self, tensors, settings, base):
        super().__init__(tensors, settings, base)
        self.inputs, self.outputs = sizes(base)
        self.shared = settings["shared"]

    def inner(self, x):
        shared = self.shared.on(self.lambda_b, "vera_A")[:, : self.inputs]
        return linear(self.drop(x).to(shared.dtype), shared)

    def factors(self, z):
        shared = self.shared.on(self.lambda_b, "vera_B")[: self.outputs]
        return self.scaling * self.lambda_d * z, self.lambda_b[:, None] * shared, None


class Shared:
    """Frozen tensors that all modules share, once on each device and in each type that asks; no part of any module, so
    that they are neither trained nor stored with one."""

    def __init__(self, tensors):
        self.tensors, self.placed = tensors, {}

    def on(self, other, name):
        key = name, other.device, other.dtype
        if key not in self.placed:
            self.placed[key] = self.tensors[name].to(other.device, other.dtype)
        return self.placed[key]


class IA3(Update):
    """M(x) = (l - 1) W0 x, or W0 ((l - 1) x) where the input is scaled; no bias in W0 x."""

    names = {"ia3_l": "l"}
    has_inner = False

    def __init__(self, tensors, settings, base):
        super().__init__(tensors, settings, base)
        self.scales_input = settings["scales_input"]

    def whole(self, x, out, base):
        excess = self.l.flatten() - 1
        if self.scales_input:
            out, excess = base((excess * x).to(x.dtype)), 1
        wide = out.to(torch.promote_types(out.dtype, self.l.dtype))
        return excess * (wide if base.bias is None else wide - base.bias)


UPDATES = {"lora": LoRA, "dora": DoRA, "adalora": AdaLoRA, "vera": VeRA, "ia3": IA3, "adapter": ParallelAdapter}


def sizes(base):
    """Inputs and outputs of a linear layer, whatever way its weight is stored."""
    if hasattr(base, "in_features") and hasattr(base, "out_features"):
        return base.in_features, base.out_features
    outputs, inputs = base.weight.shape
    return inputs, outputs


# MARK: The gate


class Gate:
    """tau of one module, its optimizer's state, and what the current optimizer step has seen.

    No buffers: DDP would overwrite them with those of rank 0, and a cast of the model would round them.
    """

    def __init__(self, path, run, tau=0.0):
        self.path, self.run = path, run
        self.tau, self.mean, self.mean_square, self.steps = tau, 0.0, 0.0, 0
        # The share of tokens that the last step skipped, by which the way to multiply is chosen.
        self.skipped = 0.0
        # sum of agreeing mu, tokens, active tokens, sum of finite r: float64, where the module's output is.
        self.sums = None
        # Requires a gradient, so that backward comes by whatever is frozen.
        self.anchor = None
        self.placed_tau = None

    def place(self, device):
        """tau as a tensor where the module's output is; the sums and the anchor are put there too."""
        with torch.inference_mode(False):
            if self.sums is None or self.sums.device != device:
                old = self.sums
                self.sums = torch.zeros(4, dtype=torch.float64, device=device)
                if old is not None:
                    self.sums += old.to(device)
                self.anchor = torch.zeros((), device=device, requires_grad=True)
                self.placed_tau = None
            if self.placed_tau is None or self.placed_tau[0] != self.tau:
                self.placed_tau = (self.tau, torch.tensor(self.tau, dtype=torch.float64, device=device))
        return self.placed_tau[1]

    def decide(self, sizes, out):
        """r [rows] and S [rows] by equation 3. A token whose r is NaN passes, so that it reaches the loss."""
        tau = self.place(out.device)
        wide = torch.promote_types(out.dtype, torch.float32)
        ratio = torch.where(sizes == 0, 0, sizes / torch.linalg.vector_norm(out, dim=-1, dtype=wide))
        return ratio, ~(ratio < tau)

    def add(self, mu, ratio, active, counted):
        """Adds rows to the step's sums, of which `counted` [rows] (None for all) tells the tokens."""
        agree = (mu >= 0) == active
        if counted is not None:
            agree, active = agree & counted, active & counted
        finite = torch.isfinite(ratio) if counted is None else torch.isfinite(ratio) & counted
        tokens = torch.tensor(ratio.numel(), device=mu.device) if counted is None else counted.sum()
        self.sums += torch.stack([
            torch.where(agree, mu.double(), 0).sum(), tokens.double(), active.sum().double(),
            torch.where(finite, ratio.double(), 0).sum(),
        ])  # fmt: skip

    def take(self, g, settings, rate):
        """Moves tau by equations 16 to 20."""
        self.steps += 1
        self.mean = settings.beta1 * self.mean + (1 - settings.beta1) * g
        self.mean_square = settings.beta2 * self.mean_square + (1 - settings.beta2) * g * g
        if settings.update == "plain":
            move = g
        else:
            mean = self.mean / (1 - settings.beta1**self.steps)
            mean_square = self.mean_square / (1 - settings.beta2**self.steps)
            move = mean / (math.sqrt(mean_square) + settings.eps)
        self.tau = self.run.rounded(self.tau + rate * settings.s * move)

    @property
    def state(self):
        return torch.tensor([self.tau, self.mean, self.mean_square, float(self.steps)], dtype=torch.float64)

    @state.setter
    def state(self, values):
        self.tau, self.mean, self.mean_square, steps = (float(value) for value in values)
        self.steps = int(steps)


def narrow_sizes(u, outer, bias):
    """|u_i O' + c| of each row, from the Gram matrix of O in float64: u G u' + 2 u O'c + c'c."""
    wide, columns = u.double(), outer.double()
    squares = ((wide @ (columns.T @ columns)) * wide).sum(-1)
    if bias is not None:
        c = bias.double()
        squares = squares + 2 * (wide @ (columns.T @ c)) + c @ c
    return squares.clamp(min=0).sqrt()


class NarrowGate(torch.autograd.Function):
    """h = out + S (u O' + c) for updates that are narrow: nothing as wide as the layer is formed for skipped tokens."""

    @staticmethod
    def forward(ctx, out, u, outer, bias, anchor, gate, counted, narrow):
        # The layer keeps nothing of its output, so that the update is added to it in place.
        h = out.detach() if out.is_contiguous() else out.contiguous()
        rows = h.view(-1, h.shape[-1])
        ratio, active = gate.decide(narrow_sizes(u, outer, bias), rows)
        ctx.gate, ctx.counted, ctx.narrow = gate, counted, narrow
        ctx.gathers = gate.skipped >= gate.run.gather_share
        ctx.save_for_backward(u, outer, bias, ratio, active)
        add_update(rows, *(None if part is None else part.to(narrow) for part in (u, outer, bias)), active, ctx.gathers)
        return h

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        u, outer, bias, ratio, active = ctx.saved_tensors
        narrow = ctx.narrow
        rows = grad.reshape(-1, grad.shape[-1]).to(narrow)
        v = rows @ outer.to(narrow)
        wide = torch.promote_types(narrow, torch.float32)
        mu = (u.to(wide) * v.to(wide)).sum(-1)
        if bias is not None:
            mu = mu + (rows @ bias.to(narrow)).to(wide)
        ctx.gate.add(mu, ratio, active, ctx.counted)
        du = douter = dbias = None
        if ctx.needs_input_grad[1]:
            du = torch.where(active[:, None], v, 0).to(u.dtype)
        if ctx.needs_input_grad[2] or ctx.needs_input_grad[3]:
            if ctx.gathers:
                some = active.nonzero().squeeze(1)
                rows, kept = rows.index_select(0, some), u.to(narrow).index_select(0, some)
                weights = rows.new_ones(len(some))
            else:
                kept, weights = torch.where(active[:, None], u.to(narrow), 0), active.to(narrow)
            douter = (rows.T @ kept).to(outer.dtype)
            if bias is not None:
                dbias = (weights @ rows).to(bias.dtype)
        return grad, du, douter, dbias, None, None, None, None


def add_update(out, u, outer, bias, active, gathers):
    """out += S (u O' + c)."""
    if gathers:
        some = active.nonzero().squeeze(1)
        update = u.index_select(0, some) @ outer.T
        out.index_add_(0, some, (update if bias is None else update + bias).to(out.dtype))
        return
    kept = torch.where(active[:, None], u, 0)
    if u.dtype == out.dtype:
        out.addmm_(kept, outer.T)
    else:
        out.add_(kept @ outer.T)
    if bias is not None:
        out.add_(active[:, None] * bias)


class WholeGate(torch.autograd.Function):
    """h = out + S M for updates as wide as the layer (DoRA, IA3)."""

    @staticmethod
    def forward(ctx, out, update, anchor, gate, counted):
        wide = torch.promote_types(update.dtype, torch.float32)
        ratio, active = gate.decide(torch.linalg.vector_norm(update, dim=-1, dtype=wide), out)
        ctx.gate, ctx.counted = gate, counted
        ctx.save_for_backward(update, ratio, active)
        return (out + torch.where(active[:, None], update, 0)).to(out.dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        update, ratio, active = ctx.saved_tensors
        wide = torch.promote_types(update.dtype, torch.float32)
        mu = (grad.to(wide) * update.to(wide)).sum(-1)
        ctx.gate.add(mu, ratio, active, ctx.counted)
        passed = torch.where(active[:, None], grad, 0).to(update.dtype) if ctx.needs_input_grad[1] else None
        return grad, passed, None, None, None


class AdaptedLinear(nn.Module):
    """A frozen linear layer with an update and, unless the adapter is dense, a gate before the update."""

    def __init__(self, path, base, update, run, tau=None):
        super().__init__()
        self.path, self.run = path, run
        self.base, self.update = base, update
        self.gate = None if tau is None else Gate(path, run, tau)
        self.is_expert = "experts" in path.split(".")

    @property
    def weight(self):
        return self.base.weight

    @property
    def bias(self):
        return self.base.bias

    def forward(self, x):
        out = self.base(x)
        rows, flat = x.reshape(-1, x.shape[-1]), out.reshape(-1, out.shape[-1])
        if hasattr(self.update, "whole"):
            return self.add_whole(self.update.whole(rows, flat, self.base), flat).view(out.shape)
        z = self.update.inner(rows)
        u, outer, bias = self.update.factors(z)
        if self.run.collector is not None:
            self.run.collector.see(self, z, narrow_sizes(u, outer, bias), flat)
        kind = x.device.type
        is_cast = torch.is_autocast_enabled(kind)
        narrow = torch.get_autocast_dtype(kind) if is_cast else torch.promote_types(u.dtype, outer.dtype)
        if self.gate is None:
            parts = (None if part is None else part.to(narrow) for part in (u, outer, bias))
            return (flat + linear(*parts)).to(out.dtype).view(out.shape)
        self.gate.place(flat.device)
        return NarrowGate.apply(out, u, outer, bias, self.gate.anchor, self.gate, self.counted(flat), narrow)

    def add_whole(self, update, flat):
        if self.run.collector is not None:
            self.run.collector.see(self, None, torch.linalg.vector_norm(update.double(), dim=-1), flat)
        if self.gate is None:
            return (flat + update).to(flat.dtype)
        self.gate.place(flat.device)
        return WholeGate.apply(flat, update, self.gate.anchor, self.gate, self.counted(flat))

    def counted(self, rows):
        """Which rows are tokens that sums count, [rows]; None for all. Rows that are no tokens of the batch, such as
        DeBERTa's relative positions, count nowhere."""
        run, count = self.run, rows.shape[0]
        if run.tokens is None or count == run.tokens:
            return None if run.tokens is None or run.mask is None else run.mask.to(rows.device)
        if self.is_expert:
            if run.counts and run.mask is not None and not bool(run.mask.all()):
                raise AdapterError(
                    f"{self.path}: which of an expert's tokens are padding cannot be told; give batches without "
                    "padding, or train with tspeft")
            return None
        return torch.zeros(count, dtype=torch.bool, device=rows.device)

    def _save_to_state_dict(self, destination, prefix, keep_vars):
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if self.gate is not None:
            destination[prefix + "threshold"] = self.gate.state

    def _load_from_state_dict(self, state_dict, prefix, metadata, strict, missing, unexpected, errors):
        if self.gate is not None:
            value = state_dict.get(prefix + "threshold")
            if value is None:
                missing.append(prefix + "threshold")
            else:
                self.gate.state = value
        super()._load_from_state_dict(state_dict, prefix, metadata, strict, missing, unexpected, errors)
        if self.gate is not None and prefix + "threshold" in unexpected:
            unexpected.remove(prefix + "threshold")


class Run:
    """What the adapted projections of a model share: the batch's tokens, the adapter's facts, and who is watching."""

    def __init__(self, adapter, gather_share):
        self.adapter, self.gather_share = adapter, gather_share
        # Tokens of the batch and which of them are real (None for all); None before the first forward pass.
        self.tokens, self.mask = None, None
        self.collector = None
        self.modules = []
        # Trained tensors of whole layers by the names of their tensors.
        self.saved = {}
        self.is_double = False
        self.steps = 0
        self.ranks = None
        self.penalty_due = True
        self.gradient_scale = 1.0
        # Where training stands in its data: passes done, and examples of the current one.
        self.position = (0, 0)
        # What is told of the training beside the adapter.
        self.training = {"program": "PyTorch " + torch.__version__}

    @property
    def counts(self):
        """Whether a pass's tokens are counted: those of training and of statistics."""
        return torch.is_grad_enabled() or self.collector is not None

    @property
    def gates(self):
        return [module.gate for module in self.modules if module.gate is not None]

    def rounded(self, tau):
        """tau as it is stored, float32, unless the adapter is float64."""
        return tau if self.is_double else float(torch.tensor(tau, dtype=torch.float32))

    def parameters(self):
        """Trained tensors by their names in the file, in its order."""
        found = {}
        for module in self.modules:
            for suffix, tensor in module.update.tensors().items():
                found[f"{PREFIX}{module.path}.{suffix}"] = tensor
        for name, (owner, leaf) in self.saved.items():
            found[PREFIX + name] = getattr(owner, leaf)
        return found


def note_batch(run, names):
    """A hook that notes which rows of a batch are tokens, before the model's forward pass; `names` are those of its
    parameters in order."""

    def hook(model, args, kwargs):
        given = dict(zip(names, args)) | kwargs
        ids = next((given[name] for name in ("input_ids", "inputs_embeds") if given.get(name) is not None), None)
        mask = given.get("attention_mask")
        run.tokens, run.mask = (None if ids is None else ids.shape[0] * ids.shape[1]), None
        if mask is None or run.tokens is None:
            return
        if torch.is_tensor(mask) and mask.dim() == 2 and mask.numel() == run.tokens:
            run.mask = mask.reshape(-1).bool()
        elif run.counts:
            shape = list(mask.shape) if torch.is_tensor(mask) else type(mask).__name__
            raise AdapterError(
                f"gates tell padding by an attention mask of [batch, tokens], {run.tokens} places here, not {shape}")

    return hook


# MARK: Reading an adapter


GATED = {
    "TS_LORA": "lora", "TS_DORA": "dora", "TS_ADALORA": "adalora", "TS_VERA": "vera", "TS_IA3": "ia3",
    "TS_BOTTLENECK": "adapter",
}  # fmt: skip
DENSE = {"LORA": "lora", "ADALORA": "adalora", "VERA": "vera", "IA3": "ia3", "BOTTLENECK": "adapter"}
# Fields of a configuration that change what an adapter computes and that nothing here computes, unless they are empty
# or hold the given value.
REFUSED = {
    "alora_invocation_tokens": None, "arrow_config": None, "kasa_config": None, "layer_replication": None,
    "megatron_config": None, "monteclora_config": None, "trainable_token_indices": None, "use_bdlora": None,
    "use_qalora": None, "velora_config": None, "use_adapterp": None, "bias": "none",
}  # fmt: skip


class Adapter:
    """An adapter directory: its configuration, its tensors, and what tspeft.json says of it."""

    def __init__(self, folder, config, tensors, record=None, stated=None):
        self.folder, self.config, self.record = folder, dict(config), record or {}
        kind = self.config.get("peft_type")
        self.is_gated = kind in GATED
        self.method = GATED.get(kind) or DENSE.get(kind)
        if self.method is None:
            known = ", ".join([*DENSE, *GATED])
            raise AdapterError(f"{folder}: peft_type {kind} is not one of {known}")
        if self.method == "lora" and self.config.get("use_dora"):
            self.method = "dora"
        self.refuse_fields()
        self.tensors = {PREFIX + name.removeprefix("base_model.").removeprefix("model."): value
                        for name, value in tensors.items()}  # fmt: skip
        self.shared = {name: self.tensors.pop(PREFIX + name) for name in ("vera_A", "vera_B")
                       if PREFIX + name in self.tensors}  # fmt: skip
        self.modules = self.find_modules()
        self.saved = self.find_saved()
        holder = Shared(self.shared)
        self.settings = {module: self.settings_of(module) | {"shared": holder} for module in self.modules}
        self.check_stated(stated)

    @classmethod
    def read(cls, folder):
        folder = Path(folder)

        def content(name):
            path = folder / name
            if not path.is_file():
                return None
            try:
                return json.loads(path.read_text())
            except ValueError as error:
                raise AdapterError(f"{path}: no JSON: {error}") from None

        config = content("adapter_config.json")
        if not isinstance(config, dict):
            raise AdapterError(f"{folder}: no adapter_config.json, so it is no adapter's directory")
        path = folder / "adapter_model.safetensors"
        if not path.is_file():
            raise AdapterError(f"{path}: there is no such file")
        try:
            tensors = load_file(path)
        except Exception as error:
            raise AdapterError(f"{path}: {error}") from None
        return cls(str(folder), config, tensors, content("tspeft.json"), content("tspeft_torch.json"))

    def refuse_fields(self):
        if self.config.get("target_parameters"):
            raise AdapterError(
                f"{self.folder}: target_parameters {self.config['target_parameters']} adapts packed weights and forms "
                "no M(x) of a token there; train it with tspeft, or merge it")
        for name, allowed in REFUSED.items():
            value = self.config.get(name)
            if value and value != allowed:
                raise AdapterError(
                    f"{self.folder}: {name} = {value} is not computed here; train it with tspeft, or merge it")

    def find_modules(self):
        """The adapted modules: in the order of tspeft.json, else in that of the file."""
        suffixes = tuple("." + suffix for suffix in UPDATES[self.method].names) + (".tau",)
        found = {}
        for name in self.tensors:
            for suffix in suffixes:
                if name.endswith(suffix):
                    found.setdefault(name[len(PREFIX) : -len(suffix)], None)
        stated = self.record.get("modules")
        if stated is None:
            return list(found)
        if set(stated) != set(found):
            odd = sorted(set(stated) ^ set(found))[0]
            raise AdapterError(f"{self.folder}: tspeft.json and adapter_model.safetensors differ in module {odd}")
        return list(stated)

    def find_saved(self):
        """Names of the tensors of layers that were trained whole."""
        names = self.config.get("modules_to_save") or []
        own = {f"{PREFIX}{module}.{suffix}" for module in self.modules
               for suffix in (*UPDATES[self.method].names, "tau")}  # fmt: skip
        saved = []
        for key in self.tensors:
            if key in own:
                continue
            name = key.removeprefix(PREFIX)
            if not any(f".{part}." in f".{name}" for part in names):
                raise AdapterError(f"{self.folder}: nothing uses the tensor {key}")
            saved.append(name)
        return saved

    def settings_of(self, module):
        """What M(x) of a module needs beside its tensors."""
        config = self.config
        rate = {"vera": "vera_dropout", "adapter": "adapter_dropout"}.get(self.method, "lora_dropout")
        settings = {"scaling": 1.0, "dropout": float(config.get(rate) or 0)}
        if self.method in ("lora", "dora"):
            rank = by_pattern(config.get("rank_pattern"), module, config.get("r", 8))
            alpha = by_pattern(config.get("alpha_pattern"), module, config.get("lora_alpha", 8))
            settings["rank"] = rank
            settings["scaling"] = alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
        elif self.method == "adalora":
            first = config.get("init_r", 12)
            alpha = config.get("lora_alpha", 8)
            kept = (config.get("rank_pattern") or {}).get(module + ".lora_E")
            settings["rank"] = first if kept is None else sum(map(bool, kept))
            settings["scaling"] = (alpha if alpha > 0 else first) / (first + 1e-5)
        elif self.method == "vera":
            settings["rank"] = config.get("r", 256)
        elif self.method == "adapter":
            settings["rank"] = config.get("bottleneck_size", 256)
            settings["scaling"] = float(config.get("scaling", 1.0))
            settings["non_linearity"] = config.get("non_linearity", "tanh")
            if settings["non_linearity"] not in NON_LINEARITIES:
                raise AdapterError(f"{self.folder}: non_linearity {settings['non_linearity']} is not known")
        elif self.method == "ia3":
            feedforward = config.get("feedforward_modules") or []
            settings["scales_input"] = (
                re.fullmatch(feedforward, module) is not None if isinstance(feedforward, str)
                else any(module.endswith(name) for name in feedforward))  # fmt: skip
        return settings

    def check_stated(self, stated):
        """Holds what was found here against what an export says for each module."""
        if stated is None:
            return
        if stated.get("format") != FORMAT:
            raise AdapterError(f"{self.folder}: format {stated.get('format')} needs the tspeft_torch.py of that export")
        for entry in stated["modules"]:
            own = self.settings.get(entry["module"])
            for name in ("scaling", "non_linearity", "scales_input"):
                if own is None or name not in entry or entry[name] == own.get(name, entry[name]):
                    continue
                if name != "scaling" or not math.isclose(entry[name], own[name], rel_tol=1e-6):
                    raise AdapterError(
                        f"{self.folder}: {name} of {entry['module']} is {entry[name]} in tspeft_torch.json and "
                        f"{own[name]} in adapter_config.json; export the adapter anew")

    def tensors_of(self, module):
        found = {suffix: self.tensors[f"{PREFIX}{module}.{suffix}"] for suffix in UPDATES[self.method].names
                 if f"{PREFIX}{module}.{suffix}" in self.tensors}  # fmt: skip
        needed = [suffix for suffix in UPDATES[self.method].names if not suffix.endswith("bias")]
        for suffix in needed:
            if suffix not in found:
                raise AdapterError(f"{self.folder}: the tensor {PREFIX}{module}.{suffix} is missing")
        for suffix, tensor in found.items():
            if not torch.isfinite(tensor).all():
                raise AdapterError(f"{self.folder}: {PREFIX}{module}.{suffix} holds NaN or an infinity")
        if self.method == "vera" and len(self.shared) != 2:
            raise AdapterError(f"{self.folder}: VeRA's shared projections are not in the file (save_projection)")
        return found

    def tau_of(self, module):
        value = self.tensors.get(f"{PREFIX}{module}.tau")
        if value is None and self.is_gated:
            raise AdapterError(f"{self.folder}: {module} has no tau")
        return None if value is None else float(value)

    def gated(self):
        """The same adapter with a gate of tau = 0 at each module."""
        if self.is_gated:
            raise AdapterError(f"{self.folder}: it has gates already; attach it without from_peft")
        if self.method == "ia3":
            raise AdapterError(f"{self.folder}: a dense IA3 is gated by `tspeft inject --from-peft`")
        kind = next(kind for kind, method in GATED.items() if method == self.method)
        tensors = dict(self.tensors) | {PREFIX + name: value for name, value in self.shared.items()}
        for module in self.modules:
            tensors[f"{PREFIX}{module}.tau"] = torch.zeros(1)
        record = {"modules": self.modules} | {key: self.record[key] for key in ("base",) if key in self.record}
        return Adapter(self.folder, self.config | {"peft_type": kind}, tensors, record)


def by_pattern(patterns, module, value):
    """The value of the first pattern that matches a module, as peft takes them."""
    for key, own in (patterns or {}).items():
        if re.match(rf"(.*\.)?({key})$", module):
            return own
    return value


# MARK: Attaching


def attach(model, adapter=None, from_peft=None, gather_share=GATHER_SHARE):
    """Puts an adapter into a transformers model, which it changes, ready to train, and gives the model back.

    - adapter: a directory of tspeft's or peft's; its training state, if it holds one, is for `load_state`.
    - from_peft: in its place, a directory of a dense adapter of peft's, or True (or an adapter's name) for the one in
      `model`, a PeftModel: each module gets a gate with tau = 0.
    - gather_share: the share of skipped tokens from which rows are gathered.

    Everything but the adapter is frozen. Raises AdapterError.
    """
    if (adapter is None) == (from_peft is None):
        raise AdapterError("give either an adapter's directory or from_peft")
    if from_peft is None:
        parts = Adapter.read(adapter)
    elif isinstance(from_peft, (str, os.PathLike)) and Path(from_peft).is_dir():
        parts = Adapter.read(from_peft).gated()
    else:
        model, parts = taken_from_peft(model, from_peft)
        parts = parts.gated()
    if getattr(model, "tspeft", None) is not None:
        raise AdapterError("the model has an adapter already; load it anew")
    if getattr(getattr(model, "config", None), "is_encoder_decoder", False):
        raise AdapterError("models with an encoder and a decoder are not supported: two masks would tell padding")
    run = Run(parts, gather_share)
    run.base = base_record(model, parts)
    run.modules = [adapted(model, path, parts, run) for path in parts.modules]
    model.requires_grad_(False)
    for module in run.modules:
        parent, _, leaf = module.path.rpartition(".")
        setattr(model.get_submodule(parent), leaf, module)
        module.requires_grad_(True).base.requires_grad_(False)
    for name in parts.saved:
        put_whole(model, name, parts, run)
    names = list(inspect.signature(model.forward).parameters)
    model.register_forward_pre_hook(note_batch(run, names), with_kwargs=True)
    if parts.method == "adalora" and (parts.config.get("orth_reg_weight") or 0) > 0:
        model.register_forward_hook(add_penalty(run))
    model.tspeft = run
    if hasattr(model, "save_pretrained"):
        model.save_pretrained = saver(model)
    return model


def adapted(model, path, parts, run):
    """The module that takes the place of the linear layer at a path."""
    base = place(model, path, parts)
    if parts.method in ("dora", "ia3") and not base.weight.dtype.is_floating_point:
        raise AdapterError(f"{path}: {parts.method} needs the weight's numbers; load the model unquantized")
    wide = torch.promote_types(torch.float32, float_type(base))
    run.is_double = wide == torch.float64
    tensors = {name: value.to(base.weight.device, wide) for name, value in parts.tensors_of(path).items()}
    check_shapes(parts, path, tensors, base, parts.settings[path].get("rank"))
    update = UPDATES[parts.method](tensors, parts.settings[path], base)
    return AdaptedLinear(path, base, update, run, parts.tau_of(path)).train(model.training)


def put_adapter(model, folder=Path(__file__).parent):
    """Puts the adapter in `folder` into `model`, which it changes and switches to eval mode, for inference."""
    attach(model, folder)
    return model.requires_grad_(False).eval()


def float_type(base):
    kind = base.weight.dtype
    return kind if kind.is_floating_point and kind.itemsize > 1 else torch.float32


def place(model, path, parts):
    """The linear layer at a path; raises for what is none, packed experts by name."""
    node = model
    for part in path.split("."):
        child = getattr(node, part, None)
        if isinstance(child, nn.Module):
            node = child
            continue
        packed = [name for name, value in node.named_parameters(recurse=False) if value.dim() == 3]
        if packed:
            raise AdapterError(
                f"{path}: transformers packs these experts into {', '.join(packed)} and computes no M(x) of a token "
                "there; train them with tspeft, or leave them out of the targets")
        raise AdapterError(f"{parts.folder}: the model has no module {path}; was the adapter made for another base?")
    weight = getattr(node, "weight", None)
    is_other = type(node).__name__ == "Conv1D" or isinstance(node, nn.Embedding)
    if weight is None or is_other or not (hasattr(node, "in_features") or weight.dim() == 2):
        raise AdapterError(f"{path} is a {type(node).__name__}, not a linear layer of [outputs, inputs]")
    return node


def check_shapes(parts, path, tensors, base, rank):
    inputs, outputs = sizes(base)
    factors = {"lora_A.weight": (rank, inputs), "lora_B.weight": (outputs, rank), "lora_B.bias": (outputs,),
               "lora_A": (rank, inputs), "lora_B": (outputs, rank), "lora_E": (rank, 1),
               "lora_magnitude_vector": (outputs,), "vera_lambda_b": (outputs,), "vera_lambda_d": (rank,),
               "adapter_down.weight": (rank, inputs), "adapter_down.bias": (rank,),
               "adapter_up.weight": (outputs, rank), "adapter_up.bias": (outputs,)}  # fmt: skip
    for suffix, tensor in tensors.items():
        if suffix == "ia3_l":
            expected = (1, inputs) if parts.settings[path]["scales_input"] else (outputs, 1)
        else:
            expected = factors[suffix]
        if tuple(tensor.shape) != expected:
            raise AdapterError(
                f"{parts.folder}: {path}.{suffix} has the shape {list(tensor.shape)} and not {list(expected)}, by the "
                f"adapter's rank and a layer of {outputs} outputs and {inputs} inputs; was it made for another base?")


def put_whole(model, name, parts, run):
    """Takes the tensor of a layer that is trained whole; one that was tied to it stays as it is."""
    path, _, leaf = name.rpartition(".")
    try:
        owner = model.get_submodule(path)
        old = getattr(owner, leaf)
    except AttributeError:
        raise AdapterError(f"{parts.folder}: the model has no {name}") from None
    new = parts.tensors[PREFIX + name]
    if old.shape != new.shape:
        raise AdapterError(f"{parts.folder}: {name} has the shape {list(new.shape)}; the model has {list(old.shape)}")
    setattr(owner, leaf, nn.Parameter(new.to(old.device, old.dtype)))
    run.saved[name] = (owner, leaf)


def taken_from_peft(model, name):
    """A PeftModel's base, without the adapter, and the adapter."""
    peft = sys.modules.get("peft")
    if peft is None or not isinstance(model, peft.PeftModel):
        raise AdapterError(f"from_peft={name!r}: no such directory, and the model is no PeftModel")
    name = "default" if name is True else name
    if name not in model.peft_config:
        raise AdapterError(f"the model has no adapter {name!r}, but {', '.join(model.peft_config)}")
    if len(model.peft_config) > 1:
        raise AdapterError("the model has several adapters; load it with the one that is to be gated")
    plain = lambda value: sorted(value) if isinstance(value, set) else getattr(value, "value", str(value))  # noqa: E731
    config = json.loads(json.dumps(model.peft_config[name].to_dict(), default=plain))
    tensors = {key: value.detach().clone()
               for key, value in peft.get_peft_model_state_dict(model, adapter_name=name).items()}  # fmt: skip
    return model.unload(), Adapter(f"adapter {name!r} of the model", config, tensors)


# MARK: AdaLoRA


def penalty_terms(run):
    """A and B' of each module that has a rank, whole on every rank."""
    updates = [module.update for module in run.modules if module.update.a.shape[0] > 0]
    return [term for update in updates for term in (whole(update.a), whole(update.b).T)]


class Penalty(torch.autograd.Function):
    """The loss with AdaLoRA's orthogonality penalty (arXiv 2303.10512, equation 4), whose gradient comes once a step
    and as it is, whatever the loss is multiplied by: weight / terms (|A A' - 1| + |B' B - 1|)."""

    @staticmethod
    def forward(ctx, loss, run, weight, *terms):
        ctx.scale, total, ctx.gradients = run.gradient_scale, 0.0, []
        for term in terms:
            wide = term.to(torch.promote_types(term.dtype, torch.float32))
            deviation = wide @ wide.T - torch.eye(len(wide), dtype=wide.dtype, device=wide.device)
            norm = torch.linalg.vector_norm(deviation)
            total = total + weight / len(terms) * norm.to(loss.device)
            gradient = 2 * weight / len(terms) / norm * (deviation @ wide) if norm > 0 else torch.zeros_like(wide)
            ctx.gradients.append(gradient.to(term.dtype))
        return (loss + total).to(loss.dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        return grad, None, None, *(gradient * ctx.scale for gradient in ctx.gradients)


def add_penalty(run):
    """A hook that adds the penalty to the loss of a step's first batch."""

    def hook(model, args, output):
        loss = getattr(output, "loss", None)
        if run.penalty_due and loss is not None and loss.requires_grad:
            run.penalty_due = False
            terms = penalty_terms(run)
            if terms:
                output["loss"] = Penalty.apply(loss, run, run.adapter.config["orth_reg_weight"], *terms)
        return output

    return hook


class RankAllocator:
    """Moves AdaLoRA's ranks between modules after each optimizer step (arXiv 2303.10512, equations 7 to 12, as peft has
    them): smooths each value's sensitivity |w dl/dw| and its uncertainty, and every deltaT steps masks the E of the
    triplets with the smallest products, beyond a budget that falls with a cubic to target_r a module."""

    def __init__(self, run, total):
        config = run.adapter.config
        self.first, self.last = config.get("tinit", 0), config.get("tfinal", 0)
        self.interval, self.target = config.get("deltaT", 1), config.get("target_r", 8)
        self.decay = config.get("beta1", 0.85), config.get("beta2", 0.85)
        if self.first >= total - self.last:
            raise AdapterError(f"tinit + tfinal must be below the run's {total} steps, not {self.first} + {self.last}")
        self.run, self.total = run, total
        self.updates = [module.update for module in run.modules]
        self.budget = sum(update.e.shape[0] for update in self.updates)
        self.averages = [[(torch.zeros_like(whole(t)), torch.zeros_like(whole(t))) for t in self.parts(update)]
                         for update in self.updates]  # fmt: skip
        self.kept = []

    @staticmethod
    def parts(update):
        return update.a, update.b, update.e

    @torch.no_grad()
    def after(self, step):
        last = self.total - self.last
        if step < last:
            self.average()
        if step == last or step < last and step > self.first and step % self.interval == 0:
            self.choose(self.budget_at(step))
        if step > last or step == last or step > self.first and step % self.interval == 0:
            self.mask()

    def budget_at(self, step):
        if step <= self.first:
            return self.budget
        target = self.target * len(self.updates)
        left = 1 - (step - self.first) / (self.total - self.last - self.first)
        return int((self.budget - target) * left**3 + target)

    def average(self):
        beta1, beta2 = self.decay
        for update, averages in zip(self.updates, self.averages):
            for tensor, (sensitivity, uncertainty) in zip(self.parts(update), averages):
                if tensor.grad is None:
                    raise AdapterError("AdaLoRA's ranks need the gradients of a step until its callbacks are done")
                now = (whole(tensor) * whole(tensor.grad)).abs()
                sensitivity.mul_(beta1).add_(now, alpha=1 - beta1)
                uncertainty.mul_(beta2).add_((now - sensitivity).abs(), alpha=1 - beta2)

    def choose(self, budget):
        scores = []
        for averages in self.averages:
            a, b, e = (sensitivity * uncertainty for sensitivity, uncertainty in averages)
            scores.append(e.flatten() + a.mean(dim=1) + b.mean(dim=0))
        excess = self.budget - budget
        flat = torch.cat([score.cpu() for score in scores])
        bound = flat.sort().values[excess - 1] if excess >= 1 else -math.inf
        self.kept = [(score.cpu() > bound) for score in scores]

    def mask(self):
        for update, kept in zip(self.updates, self.kept):
            mask = kept[:, None].to(update.e.device)
            write(update.e, torch.where(mask, whole(update.e.detach()), 0))

    def state(self):
        found = {}
        for module, averages in zip(self.run.modules, self.averages):
            for suffix, pair in zip(("lora_A", "lora_B", "lora_E"), averages):
                for tensor, end in zip(pair, ("sensitivity", "uncertainty")):
                    found[f"{PREFIX}{module.path}.{suffix}.{end}"] = tensor
        for module, kept in zip(self.run.modules, self.kept):
            found[f"{module.path}.kept"] = kept.float()
        return found

    def load(self, tensors):
        for name, tensor in self.state().items():
            if name in tensors:
                tensor.copy_(tensors[name])
        kept = [tensors.get(f"{module.path}.kept") for module in self.run.modules]
        self.kept = [flags != 0 for flags in kept] if all(flags is not None for flags in kept) else []


def whole(tensor):
    """A tensor in one piece on every rank, sharded or not."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


@torch.no_grad()
def write(tensor, value):
    """Gives a parameter, sharded or not, the values of a whole one that is the same on every rank."""
    if hasattr(tensor, "device_mesh"):
        from torch.distributed.tensor import distribute_tensor

        value = distribute_tensor(value.to(tensor.dtype), tensor.device_mesh, tensor.placements)
    tensor.copy_(value)


# MARK: Thresholds


def world_size():
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank():
    return dist.get_rank() if world_size() > 1 else 0


def summed(flat):
    """The sum of a float64 tensor over all ranks, in the order of the ranks, so that each gets the same bits."""
    if world_size() == 1:
        return flat
    device = flat.device
    flat = flat.to("cpu" if dist.get_backend() == "gloo" else torch.device("cuda", torch.cuda.current_device()))
    parts = [torch.empty_like(flat) for _ in range(world_size())]
    dist.all_gather(parts, flat)
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total.to(device)


def loss_scale(optimizer):
    """What accelerate's optimizer multiplies the loss by: above 1 in fp16."""
    scaler = getattr(optimizer, "scaler", None)
    return scaler.get_scale() if scaler is not None and scaler.is_enabled() else 1.0


class Thresholds(TrainerCallback):
    """Moves the thresholds of a model by equations 15 to 20 after each optimizer step, outside the optimizer.

    As a callback of transformers' Trainer it needs nothing else. In a loop of your own call `step()` after
    `optimizer.step()` and before `optimizer.zero_grad()`.

    - s, lam: the step of tau and the price of an active token, as in the paper.
    - beta1, beta2, eps, update: of equations 16 to 20; update "plain" is tau <- tau + s g.
    - follow_schedule: multiplies s by the learning rate's schedule.
    - total_steps: of the run, for AdaLoRA in a loop of your own.
    - continue_from: a directory with a training state (tspeft's checkpoint or `save(..., optimizer=...)`) that a
      Trainer's run takes up when it begins.
    """

    def __init__(self, model, s=4e-5, lam=4.5e-5, beta1=0.9, beta2=0.98, eps=1e-8, update="adam", follow_schedule=False,
                 total_steps=None, continue_from=None):  # fmt: skip
        run = getattr(model, "tspeft", None)
        if run is None:
            raise AdapterError("the model has no adapter; call tspeft_torch.attach first")
        if update not in ("adam", "plain"):
            raise AdapterError(f"update must be adam or plain, not {update}")
        for name, value, fits in (("s", s, s > 0), ("lam", lam, lam >= 0), ("beta1", beta1, 0 <= beta1 < 1),
                                  ("beta2", beta2, 0 <= beta2 < 1)):  # fmt: skip
            if not fits or not math.isfinite(value):
                raise AdapterError(f"{name} = {value} is out of range")
        self.run, self.model = run, model
        self.s, self.lam, self.beta1, self.beta2, self.eps, self.update = s, lam, beta1, beta2, eps, update
        self.follow_schedule, self.continue_from = follow_schedule, continue_from
        # What the last step saw: g, tokens, active tokens and the mean r of each module by its path.
        self.last = {}
        run.training |= {"s": s, "lambda": lam, "tau_beta1": beta1, "tau_beta2": beta2, "tau_epsilon": eps,
                         "tau_update": update, "tau_schedule": "follow" if follow_schedule else "constant"}  # fmt: skip
        if total_steps is not None:
            self.begin(total_steps)

    def begin(self, total_steps):
        """Says how many steps the run has, which AdaLoRA's schedule needs."""
        if self.run.adapter.method == "adalora" and self.run.ranks is None:
            self.run.ranks = RankAllocator(self.run, total_steps)

    def step(self, scale=None, rate=1.0):
        """One step of all thresholds, and of AdaLoRA's ranks before it.

        `scale` is by how much the losses that went backward, summed over all ranks, exceed the step's mean loss: the
        number of ranks where gradients are averaged over them (None, as DDP and FSDP do), times a loss scaler's scale.
        Gives g of each module by its path.
        """
        run = self.run
        if run.adapter.method == "adalora":
            if run.ranks is None:
                raise AdapterError("AdaLoRA needs the length of the run: Thresholds(model, total_steps=...)")
            run.ranks.after(run.steps)
        run.steps += 1
        run.penalty_due = True
        gates = run.gates
        if not gates:
            return {}
        for gate in gates:
            gate.place(gate.sums.device if gate.sums is not None else torch.device("cpu"))
        scale = float(world_size() if scale is None else scale)
        flat = torch.cat([gate.sums.to(gates[0].sums.device) for gate in gates])
        sums = summed(flat).view(len(gates), 4).tolist()
        if not any(row[1] for row in sums):
            raise AdapterError(
                "no backward pass has reached a gate since the last step; call step() once for each optimizer step, "
                "and use gradient checkpointing with use_reentrant=False")
        self.last = {}
        for gate, (mu, tokens, active, ratios) in zip(gates, sums):
            gate.sums.zero_()
            g = mu / scale + self.lam * active
            if not math.isfinite(g):
                raise FloatingPointError(f"step {run.steps}: g of {gate.path} is {g}; try a smaller learning rate")
            gate.take(g, self, rate)
            gate.skipped = 1 - active / tokens if tokens else 0.0
            self.last[gate.path] = {"tau": gate.tau, "g": g, "tokens": int(tokens), "active": int(active),
                                    "sparsity": gate.skipped, "ratio": ratios / tokens if tokens else 0.0}  # fmt: skip
        return {path: seen["g"] for path, seen in self.last.items()}

    def skip_step(self):
        """Forgets a step that the optimizer did not take, as after an overflow of fp16."""
        self.run.penalty_due = True
        for gate in self.run.gates:
            if gate.sums is not None:
                gate.sums.zero_()

    @property
    def sparsity(self):
        """The mean share of tokens that the last step skipped."""
        shares = [seen["sparsity"] for seen in self.last.values()]
        return sum(shares) / len(shares) if shares else 0.0

    # What Trainer calls.

    def on_train_begin(self, args, state, control, **kwargs):
        if getattr(args, "n_gpu", 1) > 1:
            raise AdapterError("several GPUs in one process are not supported; start with torchrun or accelerate")
        for name in ("deepspeed", "fsdp"):
            if getattr(args, name, None):
                raise AdapterError(
                    f"{name} of Trainer is not supported; use DDP, or a loop of your own with fully_shard")
        self.begin(state.max_steps)
        self.run.steps = state.global_step
        self.skip_step()
        self.run.gradient_scale = loss_scale(kwargs.get("optimizer"))
        if state.global_step > 0:
            return self.resume_ranks(args, state)
        if self.continue_from is not None:
            state.global_step = load_state(self.model, kwargs["optimizer"], self.continue_from)["step"]
            with warnings.catch_warnings():
                # That the optimizer has not stepped yet is so.
                warnings.simplefilter("ignore")
                for _ in range(state.global_step):
                    kwargs["lr_scheduler"].step()

    def resume_ranks(self, args, state):
        """Takes up AdaLoRA's scores where Trainer resumes; all else is in its own files."""
        if self.run.ranks is None:
            return
        folder = Path(self.continue_from or Path(args.output_dir) / f"checkpoint-{state.global_step}")
        if not (folder / "training_state.safetensors").is_file():
            raise AdapterError(
                f"{folder}: no training state with AdaLoRA's scores; name the checkpoint that is resumed as "
                "Thresholds(continue_from=...)")
        self.run.ranks.load(load_file(folder / "training_state.safetensors"))

    def on_pre_optimizer_step(self, args, state, control, optimizer=None, **kwargs):
        self.loss_scale = loss_scale(optimizer)

    def on_optimizer_step(self, args, state, control, optimizer=None, lr_scheduler=None, **kwargs):
        if getattr(optimizer, "step_was_skipped", False):
            return self.skip_step()
        rate = 1.0
        if self.follow_schedule:
            group = optimizer.param_groups[0]
            rate = group["lr"] / group["initial_lr"]
        self.step(world_size() * self.loss_scale, rate)
        self.run.gradient_scale = loss_scale(optimizer)

    def on_step_end(self, args, state, control, train_dataloader=None, **kwargs):
        epochs = state.epoch or 0.0
        count = len(train_dataloader.dataset) if hasattr(getattr(train_dataloader, "dataset", None), "__len__") else 0
        self.run.position = (int(epochs), int(round((epochs - int(epochs)) * count)))

    def on_log(self, args, state, control, logs=None, **kwargs):
        if logs is not None and self.last:
            logs["sparsity"] = self.sparsity

    def on_save(self, args, state, control, optimizer=None, **kwargs):
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        if optimizer is not None and folder.is_dir():
            write_state(self.model, optimizer, folder)


# MARK: Statistics


BIN_COUNT = 98
OCTAVE_EDGES = [1.0, 1.1892071, 1.4142135, 1.6817926]


def lower_edge(index):
    return 0.0 if index == 0 else 2.0 ** (-20 + (index - 1) // 4) * OCTAVE_EDGES[(index - 1) % 4]


class Collector:
    """Sums over tokens what the gates of a model do, as tspeft keeps it beside an adapter."""

    def __init__(self, run):
        self.run, self.sums = run, {}
        self.edges = torch.tensor([lower_edge(index) for index in range(1, BIN_COUNT)], dtype=torch.float32)

    @torch.no_grad()
    def see(self, module, z, sizes, out):
        """Takes a module's z, |M| and W0 x of a batch."""
        if module.gate is None:
            return
        ratio, active = module.gate.decide(sizes, out)
        counted = module.counted(out)
        keep = torch.ones_like(active) if counted is None else counted
        size, base = sizes.double()[keep], torch.linalg.vector_norm(out.double(), dim=-1)[keep]
        ratio, active = ratio[keep], active[keep]
        numbers = torch.stack([
            torch.tensor(float(len(ratio)), dtype=torch.float64, device=out.device), active.sum().double(),
            (size**2).sum(), (size**2)[active].sum(), (base**2).sum(), ratio[torch.isfinite(ratio)].double().sum(),
            size.sum(),
        ])  # fmt: skip
        bins = torch.bucketize(ratio.float(), self.edges.to(out.device), right=True)
        parts = [numbers, torch.bincount(bins, minlength=BIN_COUNT).double()]
        if module.update.has_inner:
            inner = z.double()[keep]
            parts += [(inner.T @ inner).flatten(), (inner[active].T @ inner[active]).flatten()]
        seen = torch.cat(parts).cpu()
        old = self.sums.get(module.path)
        self.sums[module.path] = seen if old is None else old + seen

    def total(self):
        """One row of sums for each module, over all ranks."""
        flat = []
        for module in self.run.modules:
            size = 7 + BIN_COUNT + (2 * inner_rank(module) ** 2 if module.update.has_inner else 0)
            flat.append(self.sums.get(module.path, torch.zeros(size, dtype=torch.float64)))
        sums = summed(torch.cat(flat))
        return dict(zip((module.path for module in self.run.modules), sums.split([len(part) for part in flat])))


def inner_rank(module):
    update = module.update
    return update.lambda_d.shape[0] if hasattr(update, "lambda_d") else update.a.shape[0]


@torch.no_grad()
def measure(model, batches):
    """Sums over batches with adapter and tau as they are and dropout off: rows by path, batches and tokens."""
    run, was_training = model.tspeft, model.training
    collector = Collector(run)
    count = 0
    run.collector = collector
    model.eval()
    try:
        device = next(iter(run.parameters().values())).device
        for batch in batches:
            given = {key: value.to(device) if torch.is_tensor(value) else value for key, value in dict(batch).items()}
            given.pop("labels", None)
            model(**given)
            count += 1
    finally:
        run.collector = None
        model.train(was_training)
    rows = collector.total()
    counts = summed(torch.tensor([float(count)], dtype=torch.float64))
    return rows, int(counts[0])


# MARK: The base


def fnv(data, value=0xCBF29CE484222325):
    """FNV-1a, 64 bits."""
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return value


def sample_hash(file, start, size):
    """The hash of 64 pieces of 64 bytes, evenly spread over a tensor's bytes, or of all of a small one."""
    value = fnv(b"")
    if size <= 64 * 64:
        file.seek(start)
        return fnv(file.read(size), value)
    step, rest = divmod(size - 64, 63)
    for piece in range(64):
        file.seek(start + step * piece + rest * piece // 63)
        value = fnv(file.read(64), value)
    return value


def base_folder(model):
    """Where the files of a model's base lie; None where that is not known."""
    name = getattr(getattr(model, "config", None), "_name_or_path", None)
    if not name:
        return None
    if Path(name).is_dir():
        return Path(name)
    with contextlib.suppress(Exception):
        from transformers.utils import cached_file

        return Path(cached_file(name, "config.json", local_files_only=True)).parent
    return None


def stored_tensors(folder):
    """Every tensor of a checkpoint: name -> file, shape, type, offset and size of its bytes."""
    index = folder / "model.safetensors.index.json"
    names = {"model.safetensors"} if (folder / "model.safetensors").is_file() else set()
    if not names and index.is_file():
        names = set(json.loads(index.read_text())["weight_map"].values())
    found = {}
    for name in sorted(names):
        with open(folder / name, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            for key, entry in json.loads(file.read(length)).items():
                if key != "__metadata__":
                    begin, end = entry["data_offsets"]
                    found[key] = (folder / name, entry["shape"], entry["dtype"], 8 + length + begin, end - begin)
    return found


def fingerprint(folder, names=None):
    """What identifies the base on disk, by tspeft's rule: names, shapes, types and a sample of the bytes of the tensors
    `names` (None: of all)."""
    tensors, entries = stored_tensors(folder), []
    for name in sorted(tensors if names is None else names, key=lambda name: name.encode()):
        if name not in tensors:
            return None
        path, shape, kind, start, size = tensors[name]
        with open(path, "rb") as file:
            digest = f"{sample_hash(file, start, size):016x}"
        entries.append({"name": name, "shape": shape, "encoding": kind, "hash": digest})
    value = fnv(b"")
    for entry in entries:
        shape = "[" + ", ".join(str(extent) for extent in entry["shape"]) + "]"
        value = fnv(f"{entry['name']}\0{shape}\0{entry['encoding']}\0{entry['hash']}\0".encode(), value)
    return {"digest": f"{value:016x}", "tensors": entries}


def base_record(model, adapter):
    """tspeft.json's `base`: the recorded fingerprint, checked against the files where they are at hand; for an adapter
    of another program's that of the files, unless tensors in them may be no part of the model."""
    stated = adapter.record.get("base") or {}
    recorded = stated.get("fingerprint")
    path = stated.get("path") or getattr(getattr(model, "config", None), "_name_or_path", None)
    folder = base_folder(model)
    if folder is None or not stored_tensors(folder):
        return {"path": path, "fingerprint": recorded}
    if recorded is None:
        doubtful = [name for name in stored_tensors(folder) if name.endswith((".inv_freq", "lm_head.weight"))]
        is_tied = getattr(model.config, "tie_word_embeddings", False)
        if any(name.endswith(".inv_freq") or is_tied for name in doubtful):
            return {"path": path, "fingerprint": None}
        return {"path": path, "fingerprint": fingerprint(folder)}
    found = fingerprint(folder, [entry["name"] for entry in recorded["tensors"]])
    if found is None or found["digest"] != recorded["digest"]:
        raise AdapterError(f"{folder} is not the base that {adapter.folder} was made for: its tensors differ")
    return {"path": path, "fingerprint": recorded}


# MARK: Saving


def save(model, directory, calibration=None, source=None, optimizer=None, replace=False):
    """Saves the adapter of a model as a directory that tspeft takes as its own. All ranks call it; rank 0 writes.

    - calibration: batches over which the statistics are made that ranking, pruning and merging rest on, as dictionaries
      with input_ids and attention_mask; with several ranks each gives its share. `source` says what they are.
    - optimizer: with it, the state is written too from which `tspeft train --continue`, `load_state` or
      `Thresholds(continue_from=)` go on; AdaLoRA's lost ranks are masked then, and not taken away.
    - replace: whether an adapter that is there is replaced.
    """
    run = model.tspeft
    target = Path(directory)
    if target.exists() and not (replace and (target / "adapter_config.json").is_file()):
        raise AdapterError(f"{target} exists" + ("" if replace else "; give replace=True to replace an adapter"))
    statistics = None
    if calibration is not None and run.gates:
        for gate in run.gates:
            gate.tau = float(torch.tensor(gate.tau, dtype=torch.float32))
        rows, batches = measure(model, calibration)
        tokens = int(max((row[0] for row in rows.values()), default=0))
        statistics = (source or f"{batches} calibration batches ({tokens} tokens)", rows)
    trims = optimizer is None
    tensors, config = adapter_tensors(run, trims)
    state = None if optimizer is None else state_parts(run, optimizer)
    if rank() == 0:
        target.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{target.name}-", suffix=".tmp", dir=target.parent))
        try:
            write_adapter(run, staging, tensors, config, statistics, trims)
            if state is not None:
                write_parts(staging, *state)
            if target.exists():
                shutil.rmtree(target)
            os.chmod(staging, 0o755)
            staging.rename(target)
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise
    if world_size() > 1:
        dist.barrier()


def adapter_tensors(run, trims):
    """The tensors of the file, F32 and whole, and the configuration that goes with them."""
    config = dict(run.adapter.config)
    tensors = {name: whole(tensor.detach()).float().cpu() for name, tensor in run.parameters().items()}
    if run.adapter.method == "adalora" and run.ranks is not None:
        config["total_step"] = run.ranks.total
        if trims and run.ranks.kept:
            trim(run, tensors, config)
    for module in run.modules:
        if module.gate is not None:
            tensors[f"{PREFIX}{module.path}.tau"] = torch.tensor([module.gate.tau], dtype=torch.float32)
    for name, tensor in run.adapter.shared.items():
        # As they came, whatever the model's type.
        tensors["base_model." + name] = tensor.float()
    return {name: tensor.contiguous() for name, tensor in tensors.items()}, config


def trim(run, tensors, config):
    """Takes away the ranks that AdaLoRA's last choice took, and says so in rank_pattern, as peft does."""
    pattern = {key: list(flags) for key, flags in (config.get("rank_pattern") or {}).items()}
    for module, kept in zip(run.modules, run.ranks.kept):
        key = module.path + ".lora_E"
        flags = pattern.get(key) or [True] * config.get("init_r", 12)
        places = [place for place, flag in enumerate(flags) if flag]
        for place_, stays in zip(places, kept.tolist()):
            flags[place_] = flags[place_] and stays
        pattern[key] = flags
        prefix = PREFIX + module.path
        tensors[prefix + ".lora_A"] = tensors[prefix + ".lora_A"][kept]
        tensors[prefix + ".lora_B"] = tensors[prefix + ".lora_B"][:, kept]
        tensors[prefix + ".lora_E"] = tensors[prefix + ".lora_E"][kept]
    config["rank_pattern"] = pattern


def write_adapter(run, folder, tensors, config, statistics=None, trims=False):
    (folder / "adapter_config.json").write_text(json.dumps(dict(sorted(config.items())), indent=2) + "\n")
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    history = list(run.adapter.record.get("history") or [])
    record = {"format": FORMAT, "tspeft": VERSION, "base": run.base, "modules": run.adapter.modules,
              "training": run.training | {"optimizer_steps": run.steps}, "history": history,
              "statistics": None}  # fmt: skip
    if statistics is not None:
        source, rows = statistics
        entries = [module_record(module.path, rows[module.path]) for module in run.modules]
        record["statistics"] = {"source": source, "tokens": max(entry["tokens"] for entry in entries),
                                "modules": entries}  # fmt: skip
        save_file(statistics_tensors(run, rows, trims), folder / "tspeft_statistics.safetensors")
    (folder / "tspeft.json").write_text(json.dumps(record, indent=2) + "\n")


def module_record(path, row):
    tokens, active, update, active_update, base, ratio, norm = row[:7].tolist()
    return {"module": path, "tokens": int(tokens), "active": int(active),
            "sparsity": 1 - active / tokens if tokens else 0.0, "sum_update_squared": update,
            "sum_active_update_squared": active_update, "sum_base_squared": base, "sum_ratio": ratio,
            "sum_update_norm": norm}  # fmt: skip


def statistics_tensors(run, rows, trims):
    """Histograms and sums of z z', of which ranks above 128 are kept in F32."""
    kept = run.ranks.kept if trims and run.ranks is not None else []
    found = {}
    for module in run.modules:
        row = rows[module.path]
        found[module.path + ".ratio_histogram"] = row[7 : 7 + BIN_COUNT].long()
        if not module.update.has_inner:
            continue
        size = inner_rank(module)
        some = kept[run.modules.index(module)] if kept else slice(None)
        for sums, end in zip(row[7 + BIN_COUNT :].view(2, size, size), (".inner_sums", ".active_inner_sums")):
            square = sums[some][:, some]
            if square.numel():
                kind = torch.float64 if len(square) <= 128 else torch.float32
                found[module.path + end] = square.to(kind).contiguous()
    return found


def saver(model):
    """What takes the place of save_pretrained, so that Trainer's checkpoints hold the adapter and not the base:
    tspeft's directory, and `model.safetensors` with the same tensors by their names in the module, by which Trainer
    resumes."""

    def save_pretrained(directory, state_dict=None, is_main_process=True, **kwargs):
        run = model.tspeft
        tensors, config = adapter_tensors(run, trims=False)
        own = {id(tensor) for tensor in run.parameters().values()}
        names = {name: tensor for name, tensor in model.named_parameters() if id(tensor) in own}
        kept = {name: whole(tensor.detach()).cpu().contiguous() for name, tensor in names.items()}
        for name, module in model.named_modules():
            if isinstance(module, AdaptedLinear) and module.gate is not None:
                kept[name + ".threshold"] = module.gate.state
        if is_main_process and rank() == 0:
            folder = Path(directory)
            folder.mkdir(parents=True, exist_ok=True)
            write_adapter(run, folder, tensors, config)
            save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})

    return save_pretrained


# MARK: Going on


def moments(run, optimizer):
    """AdamW's state of each trained tensor, by its name in the file."""
    states = {id(key): value for key, value in getattr(optimizer, "state", {}).items()}
    return {name: states.get(id(tensor)) or {} for name, tensor in run.parameters().items() if tensor.requires_grad}


def state_parts(run, optimizer):
    """The record and the tensors of a training state, as tspeft's checkpoints have them."""
    tensors = {}
    for name, state in moments(run, optimizer).items():
        if "exp_avg" not in state:
            raise AdapterError(f"the optimizer has no moments of {name}: it must be AdamW, after a step")
        for kind in ("exp_avg", "exp_avg_sq"):
            tensors[f"{name}.{kind}"] = whole(state[kind]).float().cpu().contiguous()
    if run.ranks is not None:
        tensors |= {name: value.float().cpu().contiguous() for name, value in run.ranks.state().items()}
    record = {"step": run.steps, "epoch": run.position[0], "next_example": run.position[1],
              "configuration": settings_of(run, optimizer),
              "ratios_compared": True,
              "thresholds": [{"module": gate.path, "tau": float(torch.tensor(gate.tau, dtype=torch.float32)),
                              "mean": gate.mean, "mean_square": gate.mean_square, "steps": gate.steps,
                              "silent_steps": 0, "reported": False} for gate in run.gates],
              "inputs": {}}  # fmt: skip
    return record, tensors


def settings_of(run, optimizer):
    """The settings of the run that are known here, by tspeft's names."""
    group = optimizer.param_groups[0]
    own = {name: value for name, value in run.training.items() if name != "program"}
    if "initial_lr" in group:
        # A schedule's; without one, the rate may have been anything before.
        own["learning_rate"] = group["initial_lr"]
    return own | {"weight_decay": group["weight_decay"], "adam_beta1": group["betas"][0],
                  "adam_beta2": group["betas"][1], "adam_epsilon": group["eps"]}  # fmt: skip


def write_parts(folder, record, tensors):
    save_file(tensors, folder / "training_state.safetensors")
    (folder / "training_state.json").write_text(json.dumps(record, indent=2) + "\n")


def write_state(model, optimizer, folder):
    parts = state_parts(model.tspeft, optimizer)
    if rank() == 0:
        write_parts(folder, *parts)


def load_state(model, optimizer, directory):
    """Takes up a training state that tspeft or `save(..., optimizer=...)` wrote: thresholds and their moments, AdamW's
    moments and step count, AdaLoRA's scores; the adapter's tensors are those that `attach` read from the same
    directory. Gives {"step", "epoch", "next_example"}. The optimizer must be AdamW over the adapter's parameters."""
    run, folder = model.tspeft, Path(directory)
    path = folder / "training_state.json"
    if not path.is_file():
        raise AdapterError(f"{folder}: it holds no training state (training_state.json)")
    record = json.loads(path.read_text())
    tensors = load_file(folder / "training_state.safetensors")
    saved = {entry["module"]: entry for entry in record["thresholds"]}
    if set(saved) != {gate.path for gate in run.gates}:
        raise AdapterError(f"{path}: its thresholds are not those of the adapter")
    for gate in run.gates:
        entry = saved[gate.path]
        gate.state = (entry["tau"], entry["mean"], entry["mean_square"], entry["steps"])
    in_optimizer = {id(tensor) for group in optimizer.param_groups for tensor in group["params"]}
    for name, tensor in run.parameters().items():
        if not tensor.requires_grad or not tensors:
            continue
        found = [tensors.get(f"{name}.{kind}") for kind in ("exp_avg", "exp_avg_sq")]
        if None in [None if value is None else True for value in found]:
            raise AdapterError(f"{folder}: the moments of {name} are missing")
        if id(tensor) not in in_optimizer:
            raise AdapterError(f"the optimizer does not train {name}")
        state = {"step": torch.tensor(float(record["step"]))}
        for kind, value in zip(("exp_avg", "exp_avg_sq"), found):
            state[kind] = torch.zeros_like(tensor)
            write(state[kind], value.to(tensor.device, tensor.dtype))
        unwrapped = getattr(optimizer, "optimizer", optimizer)
        unwrapped.state[tensor] = state
    if run.ranks is not None:
        run.ranks.load(tensors)
    run.steps = record["step"]
    run.position = (record["epoch"], record["next_example"])
    return {"step": record["step"], "epoch": record["epoch"], "next_example": record["next_example"]}


def main():
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if len(sys.argv) != 3:
        sys.exit('usage: python tspeft_torch.py BASE "A prompt"')
    tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
    model = put_adapter(AutoModelForCausalLM.from_pretrained(sys.argv[1]))
    inputs = tokenizer(sys.argv[2], return_tensors="pt")
    tokens = model.generate(**inputs, max_new_tokens=64, do_sample=False)
    print(tokenizer.decode(tokens[0], skip_special_tokens=True))


if __name__ == "__main__":
    main()
