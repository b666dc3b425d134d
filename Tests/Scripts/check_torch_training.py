"""Holds tspeft_torch.py, with which PyTorch trains tspeft's adapters, against what other programs computed.

    python check_torch_training.py [--module tspeft_torch.py] golden FOLDER [CASE...]
    python check_torch_training.py [--module tspeft_torch.py] gradients FOLDER
    python check_torch_training.py [--module tspeft_torch.py] precision FOLDER
    python check_torch_training.py [--module tspeft_torch.py] trainer FOLDER
    python check_torch_training.py [--module tspeft_torch.py] ranks FOLDER
    python check_torch_training.py [--module tspeft_torch.py] refusals FOLDER

FOLDER holds golden cases as PyTorch, transformers and peft wrote them in float64 (`Fixtures/golden`).

golden    each case in a loop of its own, in float64: loss, gradient norm, tau, g, sparsity and ranks of every step to
          1e-9; the final adapter, which is stored in float32, to 2e-7 of its largest.
gradients every backward pass by finite differences, with and without biases, masked and gathered; g by its equation.
precision llama-lora in float32 to the bounds of our own float32 runs, and under bf16 autocast, where its losses stay
          within 2 %; gemma2-adalora with a loss that is scaled, as fp16's is.
trainer   qwen3-lora and gemma2-adalora through transformers' Trainer: as one batch, accumulated, checkpointed in both
          ways, gathered, saved and resumed half-way; tau and g of every step as in the case.
ranks     the same through Trainer's DDP on 2 and 4 gloo ranks, and qwen3-lora in a loop with FSDP2 on 2.
refusals  what is refused, each with one AdapterError.

Ends with 1 if something differs. Written for torch 2.9 to 2.15, transformers 5.24, peft 0.21, safetensors 0.8.
"""

import argparse
import contextlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
MODULE = Path(__file__).resolve().parents[2] / "Sources/Transforms/Conversion/PyTorch/tspeft_torch.py"

import torch  # noqa: E402
import transformers  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from transformers import AutoConfig, AutoModelForCausalLM  # noqa: E402
from transformers.utils import logging  # noqa: E402

logging.disable_progress_bar()
logging.set_verbosity_error()
TOLERANCE = 1e-9
failures = []


def load_module(path):
    spec = importlib.util.spec_from_file_location("tspeft_torch", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["tspeft_torch"] = module
    spec.loader.exec_module(module)
    return module


def report(case, what, difference, bound=TOLERANCE):
    verdict = "" if difference <= bound else f"  MORE THAN {bound:g}"
    print(f"{case:28} {what:44} {difference:.2e}{verdict}", flush=True)
    if verdict:
        failures.append(f"{case}: {what}")


def off(found, expected):
    return abs(found - expected) / max(abs(expected), 1e-30)


class Torch64:
    """`torch` as transformers' model files see it inside `wide`: its float32 is float64."""

    float32 = float = torch.float64

    def __getattr__(self, name):
        return getattr(torch, name)


@contextlib.contextmanager
def wide(name):
    """float64 from end to end, as the cases had it; those of llama kept transformers' habit of float32 in places."""
    if name.startswith("llama"):
        yield
        return
    files = [m for n, m in list(sys.modules.items()) if n.startswith("transformers.") and vars(m).get("torch") is torch]
    for file in files:
        file.torch = Torch64()
    torch.Tensor.float = torch.Tensor.double
    try:
        yield
    finally:
        del torch.Tensor.float
        for file in files:
            file.torch = torch


def gated_adapter(case, folder):
    """The case's adapter as tspeft has it: gated, with the case's thresholds."""
    taus = json.loads((case / "trajectory.json").read_text())["initial_tau"]
    config = json.loads((case / "adapter/adapter_config.json").read_text())
    tensors = load_file(case / "adapter/adapter_model.safetensors")
    if taus:
        config["peft_type"] = "TS_" + ("DORA" if config.get("use_dora") else config["peft_type"])
        for module, tau in taus.items():
            tensors[f"base_model.model.{module}.tau"] = torch.tensor([tau])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps(config))
    save_file(tensors, folder / "adapter_model.safetensors")
    return folder


def load_model(case, kind=torch.float64):
    # The model's file must be loaded before it can be made wide.
    AutoModelForCausalLM._model_mapping[AutoConfig.from_pretrained(case / "model").__class__]
    with wide(case.name):
        torch.set_default_dtype(torch.float64)
        model = AutoModelForCausalLM.from_pretrained(
            case / "model", dtype=kind, attn_implementation="eager", experts_implementation="eager")
    return model.train()


def rows_of(case):
    batch = load_file(case / "batch.safetensors")
    return {name: value.long() for name, value in batch.items()}


class Golden:
    """A case, its model with the adapter attached, and AdamW as the case has it."""

    def __init__(self, case, scratch, kind=torch.float64, **options):
        self.case, self.name = case, case.name
        self.trajectory = json.loads((case / "trajectory.json").read_text())
        self.hyper = self.trajectory["hyper"]
        self.model = tspeft_torch.attach(load_model(case, kind), gated_adapter(case, scratch / "adapter"), **options)
        self.rows = rows_of(case)
        if self.model.tspeft.adapter.method == "vera":
            self.widen_projections()

    def widen_projections(self):
        """The case ran with peft's random projections in float64, which its file holds in float32."""
        from peft.tuners.vera.model import _kaiming_init

        shared, config = self.model.tspeft.adapter.shared, self.model.tspeft.adapter.config
        generator = torch.Generator().manual_seed(config["projection_prng_key"])
        for name in ("vera_A", "vera_B"):
            exact = _kaiming_init(tuple(shared[name].shape), generator=generator).double()
            assert torch.equal(exact.float(), shared[name].float()), name
            shared[name] = exact

    @property
    def parameters(self):
        return [p for p in self.model.parameters() if p.requires_grad]

    def thresholds(self, **more):
        h = self.hyper
        return tspeft_torch.Thresholds(self.model, s=h["s"], lam=h["lambda"], beta1=h["beta1"], beta2=h["beta2"],
                                       eps=h["eps"], update=h["tau_update"], **more)  # fmt: skip

    def optimizer(self):
        h = self.hyper
        return torch.optim.AdamW(self.parameters, lr=h["lr"], weight_decay=h["weight_decay"], eps=h["adam_eps"],
                                 betas=(h["adam_beta1"], h["adam_beta2"]))  # fmt: skip

    def run(self, scale=1.0, cast=contextlib.nullcontext):
        """The whole trajectory in a plain loop, the loss times `scale`; what differs most of each kind."""
        steps = self.hyper["steps"]
        optimizer, thresholds = self.optimizer(), self.thresholds(total_steps=steps)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: 1 - k / steps)
        worst = dict.fromkeys(("loss", "grad_norm", "tau", "g", "g of largest", "sparsity", "ranks"), 0.0)
        self.model.tspeft.gradient_scale = scale
        for k, expected in enumerate(self.trajectory["steps"]):
            with wide(self.name), cast():
                loss = self.model(**{name: value[k] for name, value in self.rows.items()}).loss
            (loss * scale).backward()
            for parameter in self.parameters:
                parameter.grad /= scale
            norm = torch.nn.utils.clip_grad_norm_(self.parameters, self.hyper["max_grad_norm"])
            optimizer.step()
            schedule.step()
            thresholds.step(scale)
            optimizer.zero_grad()
            worst["loss"] = max(worst["loss"], off(loss.item(), expected["loss"]))
            worst["grad_norm"] = max(worst["grad_norm"], off(norm.item(), expected["grad_norm"]))
            largest = max([abs(there["g"]) for there in expected["modules"].values()], default=1)
            for path, there in expected["modules"].items():
                seen = thresholds.last[path]
                worst["tau"] = max(worst["tau"], off(seen["tau"], there["tau"]))
                worst["g"] = max(worst["g"], off(seen["g"], there["g"]))
                worst["g of largest"] = max(worst["g of largest"], abs(seen["g"] - there["g"]) / largest)
                worst["sparsity"] = max(worst["sparsity"], abs(seen["sparsity"] - there["sparsity"]))
            for path, kept in expected.get("ranks", {}).items():
                e = self.model.get_submodule(path).update.e
                worst["ranks"] = max(worst["ranks"], abs(int((e.abs() > 0).sum()) - kept))
        return worst

    def final_difference(self):
        expected = load_file(self.case / "adapter_final/adapter_model.safetensors")
        found = {name: value.detach() for name, value in self.model.tspeft.parameters().items()}
        return max(((value - expected[name].double()).abs().max() / expected[name].abs().max()).item()
                   for name, value in found.items())  # fmt: skip


def check_golden(folder, names):
    for case in sorted(path.parent for path in folder.glob("*/trajectory.json")):
        if names and case.name not in names:
            continue
        with tempfile.TemporaryDirectory() as scratch:
            golden = Golden(case, Path(scratch))
            for what, difference in golden.run().items():
                report(case.name, what, difference)
            report(case.name, "final adapter", golden.final_difference(), 2e-7)


class OneRun:
    """What a gate asks of its run."""

    def __init__(self, gather_share):
        self.gather_share = gather_share


def check_gradients(folder):
    torch.manual_seed(5)
    base, u, outer = (torch.randn(shape, dtype=torch.float64) for shape in ((7, 5), (7, 3), (5, 3)))
    bias, counted = torch.randn(5, dtype=torch.float64), torch.tensor([1, 1, 1, 0, 1, 1, 0]).bool()
    for what, c, share in (("masked", None, 2.0), ("gathered", None, 0.0), ("masked, bias", bias, 2.0),
                           ("gathered, bias", bias, 0.0), ("whole", None, 2.0)):  # fmt: skip
        update = u @ outer.T + (0 if c is None else c)
        ratio = update.norm(dim=1) / base.norm(dim=1)
        tau = ratio.median().item() - 1e-3

        def h(base, u, outer, c):
            gate = tspeft_torch.Gate("it", OneRun(share), tau)
            gate.place(base.device)
            h.gate = gate
            if what == "whole":
                return tspeft_torch.WholeGate.apply(base * 1, u @ outer.T, gate.anchor, gate, counted)
            return tspeft_torch.NarrowGate.apply(base * 1, u, outer, c, gate.anchor, gate, counted, torch.float64)

        inputs = [None if part is None else part.clone().requires_grad_() for part in (base, u, outer, c)]
        try:
            torch.autograd.gradcheck(h, inputs, atol=1e-7, rtol=1e-5)
            report(what, "gradients", 0, 0)
        except Exception as error:
            print(error)
            report(what, "gradients", 1, 0)
        active = ratio >= tau
        out = h(*inputs)
        report(what, "h", (out - base - active[:, None] * update).abs().max().item(), 1e-12)
        weights = torch.randn_like(out)
        (out * weights).sum().backward()
        mu = (weights * update).sum(1)
        agreeing = ((mu >= 0) == active) & counted
        expected = torch.stack([mu[agreeing].sum(), counted.sum(), (active & counted).sum(), ratio[counted].sum()])
        report(what, "sums of the step", (h.gate.sums - expected).abs().max().item(), 1e-12)


def check_precision(folder):
    bounds = {"loss": 1e-5, "grad_norm": 1e-4, "tau": 1e-5, "g of largest": 1e-4, "sparsity": 0.0}
    with tempfile.TemporaryDirectory() as scratch:
        worst = Golden(folder / "llama-lora", Path(scratch), torch.float32).run()
        for what, bound in bounds.items():
            report("llama-lora in float32", what, worst[what], bound)
    with tempfile.TemporaryDirectory() as scratch:
        cast = lambda: torch.autocast("cpu", dtype=torch.bfloat16)  # noqa: E731
        worst = Golden(folder / "llama-lora", Path(scratch), torch.float32).run(cast=cast)
        report("llama-lora, bf16 autocast", "loss", worst["loss"], 2e-2)
    with tempfile.TemporaryDirectory() as scratch:
        golden = Golden(folder / "gemma2-adalora", Path(scratch))
        for what, difference in golden.run(scale=1024.0).items():
            report("gemma2-adalora, scaled loss", what, difference)
        report("gemma2-adalora, scaled loss", "final adapter", golden.final_difference(), 2e-7)


# MARK: Trainer


class Rows(torch.utils.data.Dataset):
    def __init__(self, rows):
        self.rows = {name: value.reshape(-1, value.shape[-1]) for name, value in rows.items()}

    def __len__(self):
        return len(self.rows["input_ids"])

    def __getitem__(self, index):
        return {name: value[index] for name, value in self.rows.items()}


class InOrder(transformers.Trainer):
    def _get_train_sampler(self, *args, **kwargs):
        return torch.utils.data.SequentialSampler(self.train_dataset)


def collated(rows):
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


class Trace(transformers.TrainerCallback):
    """Keeps what each step's gates saw; comes behind Thresholds."""

    def __init__(self, thresholds):
        self.thresholds, self.steps = thresholds, []

    def on_optimizer_step(self, args, state, control, **kwargs):
        self.steps.append(dict(self.thresholds.last))


def trainer_of(golden, out, **options):
    h = golden.hyper
    world = int(os.environ.get("WORLD_SIZE", "1"))
    accumulation, skipped = options.pop("accumulation", 1), options.pop("skipped", 0)
    thresholds = golden.thresholds(**options.pop("thresholds", {}))
    trace = Trace(thresholds)
    args = transformers.TrainingArguments(
        output_dir=str(out), per_device_train_batch_size=4 // accumulation // world, max_steps=h["steps"],
        gradient_accumulation_steps=accumulation, learning_rate=h["lr"], weight_decay=h["weight_decay"],
        adam_beta1=h["adam_beta1"], adam_beta2=h["adam_beta2"], adam_epsilon=h["adam_eps"],
        max_grad_norm=h["max_grad_norm"], lr_scheduler_type="linear", report_to=[], save_strategy="no", use_cpu=True,
        optim="adamw_torch", disable_tqdm=True, logging_strategy="no", ddp_find_unused_parameters=False,
        **options)  # fmt: skip
    rows = {name: value[skipped:] for name, value in golden.rows.items()}
    trainer = InOrder(model=golden.model, args=args, train_dataset=Rows(rows), data_collator=collated,
                      callbacks=[thresholds, trace])  # fmt: skip
    return trainer, trace


def compare_trace(name, golden, steps, first=0, bound=TOLERANCE):
    expected = golden.trajectory["steps"][first:]
    report(name, "steps that are missing", abs(len(expected) - len(steps)), 0)
    worst = {"tau": 0.0, "g": 0.0, "sparsity": 0.0}
    for found, there in zip(steps, expected):
        for path, row in there["modules"].items():
            worst["tau"] = max(worst["tau"], off(found[path]["tau"], row["tau"]))
            worst["g"] = max(worst["g"], off(found[path]["g"], row["g"]))
            worst["sparsity"] = max(worst["sparsity"], abs(found[path]["sparsity"] - row["sparsity"]))
    for what, difference in worst.items():
        report(name, what, difference, 0.0 if what == "sparsity" and bound > TOLERANCE else bound)
    report(name, "final adapter", golden.final_difference(), max(bound, 2e-7))


def through_trainer(case, scratch, label, attach=None, **options):
    golden = Golden(case, scratch, **(attach or {}))
    with wide(case.name):
        trainer, trace = trainer_of(golden, scratch / "out", **options)
        trainer.train()
    compare_trace(f"{case.name} {label}", golden, trace.steps)


def check_resume(case, scratch):
    """Half of a run, then another model and Trainer go on: from Trainer's own checkpoint, and from the training state,
    which is float32, in it."""
    golden = Golden(case, scratch / "first")
    half = golden.hyper["steps"] // 2
    with wide(case.name):
        trainer, _ = trainer_of(golden, scratch / "out", save_steps=half)
        trainer.args.save_strategy = transformers.trainer_utils.SaveStrategy.STEPS
        trainer.state.save_steps = half
        trainer.train()
    folder = scratch / "out" / f"checkpoint-{half}"
    stored = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    print(f"{'':28} the checkpoint holds {stored} bytes of tensors: {sorted(p.name for p in folder.iterdir())}")
    golden = Golden(case, scratch / "second")
    with wide(case.name):
        trainer, trace = trainer_of(golden, scratch / "out")
        trainer.train(resume_from_checkpoint=str(folder))
    compare_trace(f"{case.name} resumed", golden, trace.steps, half)
    golden = Golden(case, scratch / "third")
    golden.model = tspeft_torch.attach(load_model(case), folder)
    with wide(case.name):
        trainer, trace = trainer_of(golden, scratch / "out2", thresholds={"continue_from": folder}, skipped=half)
        trainer.train()
    compare_trace(f"{case.name} continued", golden, trace.steps, half, 1e-4)


VARIANTS = {
    "as one batch": {},
    "accumulated": {"accumulation": 2},
    "checkpointed": {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": False}},
    "gathered": {"attach": {"gather_share": 0.0}},
}


def check_trainer(folder):
    for name in ("qwen3-lora", "gemma2-adalora"):
        for label, options in VARIANTS.items():
            with tempfile.TemporaryDirectory() as scratch:
                through_trainer(folder / name, Path(scratch), label, **dict(options))
        with tempfile.TemporaryDirectory() as scratch:
            check_resume(folder / name, Path(scratch))


# MARK: Several processes


def check_ranks(folder):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    for what, count in (("ddp", 2), ("ddp", 4), ("fsdp", 2)):
        done = subprocess.run(
            [*command, f"--nproc-per-node={count}", __file__, "--module", str(options.module), what, str(folder)],
            text=True, capture_output=True)  # fmt: skip
        print(done.stdout, end="")
        if done.returncode:
            print(done.stderr[-3000:])
            failures.append(f"{what} on {count} ranks")


@contextlib.contextmanager
def shared_scratch():
    """A folder that all ranks use."""
    torch.distributed.is_initialized() or torch.distributed.init_process_group("gloo")
    name = [tempfile.mkdtemp() if torch.distributed.get_rank() == 0 else None]
    torch.distributed.broadcast_object_list(name)
    try:
        yield Path(name[0])
    finally:
        torch.distributed.barrier()
        if torch.distributed.get_rank() == 0:
            shutil.rmtree(name[0], ignore_errors=True)


def of_rank_0(check):
    rank = torch.distributed.get_rank()
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(sys.stdout if rank == 0 else nowhere):
        check()


def run_ddp(folder):
    count = int(os.environ["WORLD_SIZE"])
    with shared_scratch() as scratch:
        for name in ("qwen3-lora", "gemma2-adalora"):
            rank = os.environ["RANK"]
            of_rank_0(lambda: through_trainer(folder / name, scratch / name / rank, f"on {count} ranks"))
        if count == 2:
            rank = os.environ["RANK"]
            of_rank_0(lambda: through_trainer(
                folder / "qwen3-lora", scratch / "acc" / rank, "on 2 ranks, accumulated", accumulation=2))  # fmt: skip


def run_fsdp(folder):
    """A bare loop with FSDP2: each decoder layer and the whole sharded over the ranks."""
    from torch.distributed.fsdp import fully_shard

    case = folder / "qwen3-lora"
    with shared_scratch() as scratch:
        rank, count = torch.distributed.get_rank(), torch.distributed.get_world_size()
        golden = Golden(case, scratch / str(rank))
        mesh = torch.distributed.device_mesh.init_device_mesh("cpu", (count,))
        for layer in golden.model.model.layers:
            fully_shard(layer, mesh=mesh)
        fully_shard(golden.model, mesh=mesh)
        steps, rows = golden.hyper["steps"], golden.rows
        optimizer, thresholds = golden.optimizer(), golden.thresholds()
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: 1 - k / steps)
        trace = []
        for k in range(steps):
            own = {name: value[k].chunk(count)[rank] for name, value in rows.items()}
            scored = (rows["labels"][k][:, 1:] >= 0).sum()
            with wide(case.name):
                # FSDP averages gradients over ranks, so each rank's sum counts as often as there are ranks.
                loss = golden.model(**own, num_items_in_batch=scored).loss * count
            loss.backward()
            torch.nn.utils.clip_grad_norm_(golden.parameters, golden.hyper["max_grad_norm"])
            optimizer.step()
            schedule.step()
            thresholds.step()
            optimizer.zero_grad()
            trace.append(dict(thresholds.last))
        for module in golden.model.modules():
            getattr(module, "unshard", lambda: None)()
        of_rank_0(lambda: compare_trace(f"qwen3-lora FSDP2 on {count} ranks", golden, trace))
        for module in golden.model.modules():
            getattr(module, "reshard", lambda: None)()
        tspeft_torch.save(golden.model, scratch / "run", calibration=[own], optimizer=optimizer)
        if rank == 0:
            expected = load_file(case / "adapter_final/adapter_model.safetensors")
            found = load_file(scratch / "run/adapter_model.safetensors")
            worst = max(((found[name] - value).abs().max() / value.abs().max()).item()
                        for name, value in expected.items())  # fmt: skip
            report("qwen3-lora FSDP2", "saved adapter", worst, 2e-7)


# MARK: Refusals


def check_refusals(folder):
    case = folder / "llama-lora"

    def refused(what, words, call):
        try:
            call()
        except tspeft_torch.AdapterError as error:
            is_told = all(word in str(error) for word in words) and "\n" not in str(error)
            print(f"{what:28} {error}")
            report(what, "words that are missing", 0 if is_told else 1, 0)
        else:
            report(what, "was not refused", 1, 0)

    def changed(scratch, config=None, tensors=None):
        adapter = gated_adapter(case, Path(scratch))
        path = adapter / "adapter_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | (config or {})))
        found = load_file(adapter / "adapter_model.safetensors")
        for name, value in (tensors or {}).items():
            found.pop(name, None)
            if value is not None:
                found[name] = value
        save_file(found, adapter / "adapter_model.safetensors")
        return adapter

    model, key = load_model(case), "base_model.model.model.layers.0.self_attn.q_proj"
    with tempfile.TemporaryDirectory() as scratch:
        refused("no directory", ["adapter_config.json"], lambda: tspeft_torch.attach(model, scratch))
        for what, words, config, tensors in (
            ("unknown type", ["peft_type"], {"peft_type": "OFT"}, None),
            ("packed experts", ["target_parameters", "tspeft"], {"target_parameters": ["experts.up"]}, None),
            ("unknown field", ["layer_replication"], {"layer_replication": [[0, 1]]}, None),
            ("missing tensor", ["lora_B.weight", "missing"], None, {key + ".lora_B.weight": None}),
            ("missing tau", ["no tau"], None, {key + ".tau": None}),
            ("not finite", ["NaN"], None, {key + ".lora_B.weight": torch.full((64, 4), torch.nan)}),
            ("wrong shape", ["shape", "another base"], None, {key + ".lora_B.weight": torch.zeros(63, 4)}),
            ("stray tensor", ["nothing uses"], None, {"base_model.model.odd.weight": torch.zeros(1)}),
        ):
            adapter = changed(Path(scratch) / what.replace(" ", "-"), config, tensors)
            refused(what, words, lambda: tspeft_torch.attach(model, adapter))
        refused("both", ["either"], lambda: tspeft_torch.attach(model, adapter, from_peft=adapter))
        refused("no adapter", ["attach"], lambda: tspeft_torch.Thresholds(model))
        good = tspeft_torch.attach(model, changed(Path(scratch) / "good"))
        refused("twice", ["already"], lambda: tspeft_torch.attach(good, changed(Path(scratch) / "good")))
        refused("bad s", ["s = 0"], lambda: tspeft_torch.Thresholds(good, s=0))
        refused("no backward", ["backward"], lambda: tspeft_torch.Thresholds(good).step())
        refused("output exists", ["exists"], lambda: tspeft_torch.save(good, scratch))
        batch = {name: value[0] for name, value in rows_of(case).items()}
        batch["attention_mask"] = batch["attention_mask"][:, None, None, :].expand(-1, 1, 14, -1).bool()
        refused("mask of four axes", ["mask"], lambda: good(**batch))
        other = load_model(folder / "qwen2-lora")
        refused("another base", ["another base"], lambda: tspeft_torch.attach(other, changed(Path(scratch) / "good")))
        expert = load_model(folder / "mixtral-lora")
        adapter = changed(Path(scratch) / "expert")
        tensors = {"base_model.model.model.layers.0.mlp.experts.0.w1.lora_A.weight": torch.zeros(4, 48),
                   "base_model.model.model.layers.0.mlp.experts.0.w1.lora_B.weight": torch.zeros(32, 4),
                   "base_model.model.model.layers.0.mlp.experts.0.w1.tau": torch.zeros(1)}  # fmt: skip
        save_file(tensors, adapter / "adapter_model.safetensors")
        refused("packed experts' module", ["packs", "tspeft"], lambda: tspeft_torch.attach(expert, adapter))


parser = argparse.ArgumentParser()
parser.add_argument("--module", type=Path, default=MODULE)
parser.add_argument("what", choices=["golden", "gradients", "precision", "trainer", "ranks", "refusals", "ddp", "fsdp"])
parser.add_argument("folder", type=Path)
parser.add_argument("cases", nargs="*")
options = parser.parse_args()
tspeft_torch = load_module(options.module)
torch.set_num_threads(1)
folder = options.folder.resolve()
checks = {"gradients": check_gradients, "precision": check_precision, "trainer": check_trainer, "ranks": check_ranks,
          "refusals": check_refusals, "ddp": run_ddp, "fsdp": run_fsdp}  # fmt: skip
if options.what == "golden":
    check_golden(folder, options.cases)
else:
    checks[options.what](folder)
if failures:
    sys.exit("\n".join(["failed:"] + failures))
