"""Trains by turns with tspeft and with PyTorch through tspeft_torch.py, and has tspeft use what PyTorch saved.

    python check_torch_roundtrip.py TSPEFT BASE RECORDS [METHOD...]

TSPEFT is the program, BASE a small checkpoint, RECORDS its prompts and completions (`Fixtures/tiny-llama`,
`Fixtures/sst2/dev.json`). For each method (by default ts-lora, ts-dora, ts-adalora, ts-adapter, ts-vera), in float32:

40 steps of tspeft          against 20 of tspeft and 20 of PyTorch, and against 20 of PyTorch and 20 of tspeft
what PyTorch saved          statistics, rank-modules, prune, merge and eval against those of tspeft from the same
                            numbers

99.9 % of an adapter's values agree to 2e-4 of their tensor's largest: two float32 runs, each as far from the other as
both may be from a float64 one. tau agrees to 1e-4 of itself, or of s near 0: over 40 steps it adds up quotients of
means of g, which may be 1e-4 off (seen: 3.8e-5 with ts-adapter, 1.4e-5 with others). Statistics agree to 1e-5, merged
weights to a unit in their last place. Ends with 1 if something differs.
"""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: E402
from transformers.utils import logging  # noqa: E402

logging.disable_progress_bar()
STEPS, HALF, BATCH, RATE, S, LAMBDA = 40, 20, 4, 1e-3, 5e-3, 1e-4
OPTIONS = ["--steps", str(STEPS), "--batch-size", str(BATCH), "--no-shuffle", "--learning-rate", str(RATE),
           "--s", str(S), "--lambda", str(LAMBDA), "--compute-type", "f32", "--threads", "1",
           "--save-every", str(HALF)]  # fmt: skip
NUMBERS = {"ts-adalora": ["--rank", "6", "--target-r", "3", "--tinit", "5", "--tfinal", "8", "--delta-t", "3"],
           "ts-vera": ["--rank", "16"]}  # fmt: skip
failures = []


def report(case, what, difference, bound):
    verdict = "" if difference <= bound else f"  MORE THAN {bound:g}"
    print(f"{case:12} {what:44} {difference:.2e}{verdict}", flush=True)
    if verdict:
        failures.append(f"{case}: {what}")


def tspeft(*arguments):
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"tspeft {' '.join(map(str, arguments))}\nended with {done.returncode}: {done.stderr}")
    return done


def load_module(folder):
    spec = importlib.util.spec_from_file_location("tspeft_torch", folder / "tspeft_torch.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["tspeft_torch"] = module
    spec.loader.exec_module(module)
    return module


def examples(path, base):
    """Ids and labels as tspeft makes them of prompts and completions."""
    tokenizer = AutoTokenizer.from_pretrained(base)
    for line in path.read_text().splitlines():
        record = json.loads(line)
        prompt = tokenizer(record["prompt"]).input_ids
        answer = tokenizer(record["completion"], add_special_tokens=False).input_ids + [tokenizer.eos_token_id]
        yield prompt + answer, [-100] * len(prompt) + answer


def batch_of(rows):
    width = max(len(ids) for ids, _ in rows)
    return {"input_ids": torch.tensor([ids + [0] * (width - len(ids)) for ids, _ in rows]),
            "labels": torch.tensor([labels + [-100] * (width - len(labels)) for _, labels in rows]),
            "attention_mask": torch.tensor([[1] * len(ids) + [0] * (width - len(ids)) for ids, _ in rows])}  # fmt: skip


def open_base(base):
    return AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, attn_implementation="eager")


def train(model, batches, first, last, continued=None):
    """Steps first..<last of the run in PyTorch; AdamW, learning rate and clipping as tspeft's."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=RATE, weight_decay=0.0)
    thresholds = tspeft_torch.Thresholds(model, s=S, lam=LAMBDA, total_steps=STEPS)
    if continued is not None:
        tspeft_torch.load_state(model, optimizer, continued)
    for step in range(first, last):
        for group in optimizer.param_groups:
            group["lr"] = RATE * (1 - step / STEPS)
        model(**batches[step]).loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        thresholds.step()
        optimizer.zero_grad()
    model.tspeft.position = (0, last * BATCH) if last < STEPS else (1, 0)
    return optimizer


def compare(case, what, found, expected):
    found, expected = (load_file(folder / "adapter_model.safetensors") for folder in (found, expected))
    report(case, f"{what}: tensors that differ", len(found.keys() ^ expected.keys()), 0)
    odd, count, tau = 0, 0, 0.0
    for name, value in expected.items():
        if name not in found or found[name].shape != value.shape:
            report(case, f"{what}: shape of {name}", 1, 0)
        elif name.endswith(".tau"):
            tau = max(tau, ((found[name] - value).abs() / value.abs().clamp(min=S)).item())
        elif value.numel():
            odd += ((found[name] - value).abs() > 2e-4 * value.abs().max()).sum().item()
            count += value.numel()
    report(case, f"{what}: tau", tau, 1e-4)
    report(case, f"{what}: share of values that are off", odd / max(1, count), 1e-3)


def check_training(method, scratch, base, records, batches):
    compare_with = scratch / "whole"
    tspeft("train", base, "--adapter", scratch / "adapter", "--data", records, "-o", compare_with, *OPTIONS)
    checkpoint = compare_with / f"checkpoint-{HALF:06}"

    model = tspeft_torch.attach(open_base(base), checkpoint)
    train(model, batches, HALF, STEPS, checkpoint)
    tspeft_torch.save(model, scratch / "there")
    compare(method, "tspeft, then PyTorch", scratch / "there", compare_with)

    model = tspeft_torch.attach(open_base(base), scratch / "adapter")
    optimizer = train(model, batches, 0, HALF)
    tspeft_torch.save(model, scratch / "half", optimizer=optimizer)
    compare(method, "20 steps of PyTorch", scratch / "half", checkpoint)
    if "--continue" in tspeft("train", "--help").stdout:
        state = ["--continue", scratch / "half"]
        done = tspeft("train", base, *state, "--data", records, "-o", scratch / "back", *OPTIONS)
        told = [line for line in done.stderr.splitlines() if " was " in line and "half" in line]
        report(method, "settings that differ", len(told), 0)
        compare(method, "PyTorch, then tspeft", scratch / "back", compare_with)
    else:
        failures.append("this tspeft has no --continue")
    return compare_with


def off(found, expected):
    return abs(found - expected) / max(abs(expected), 1e-12)


def check_saved(method, scratch, base, records, rows, tuned):
    """PyTorch saves the adapter that tspeft trained, with statistics over the same records."""
    model = tspeft_torch.attach(open_base(base), tuned)
    calibration = [batch_of(rows[start : start + 8]) for start in range(0, len(rows), 8)]
    tspeft_torch.save(model, scratch / "saved", calibration=calibration, source="the records")
    compare(method, "saved again", scratch / "saved", tuned)
    ours, theirs = (json.loads((folder / "tspeft.json").read_text()) for folder in (scratch / "saved", tuned))
    report(method, "fingerprint", 0 if ours["base"]["fingerprint"] == theirs["base"]["fingerprint"] else 1, 0)
    worst = 0.0
    for own, there in zip(ours["statistics"]["modules"], theirs["statistics"]["modules"]):
        worst = max([worst] + [off(own[key], there[key]) for key in there if key != "module"])
    report(method, "statistics", worst, 1e-5)
    own, there = (load_file(folder / "tspeft_statistics.safetensors") for folder in (scratch / "saved", tuned))
    report(method, "statistics: tensors that differ", len(own.keys() ^ there.keys()), 0)
    report(method, "sums of z z'", max([0.0] + [
        ((own[name] - value).abs().max() / value.abs().max()).item() for name, value in there.items()
        if name in own and "sums" in name and value.abs().max() > 0]), 1e-5)  # fmt: skip

    ranked = [tspeft("rank-modules", folder, "--keep", "50%").stdout for folder in (scratch / "saved", tuned)]
    names = [[word for line in text.splitlines() for word in line.split() if "proj" in word] for text in ranked]
    report(method, "rank-modules: names in another place", sum(a != b for a, b in zip(*names)), 0)
    for name, folder in (("saved", scratch / "saved"), ("tuned", tuned)):
        tspeft("prune", folder, "--keep", "50%", "-o", scratch / f"pruned-{name}")
        loss = tspeft("eval", base, "--adapter", folder, "--data", records, "--limit", "8", "--threads", "1").stdout
        print(f"{method:12} eval of {name:36} {loss.splitlines()[0] if loss else ''}")
        if method not in ("ts-adapter",):
            tspeft("merge", base, "--adapter", folder, "-o", scratch / f"merged-{name}")
    kept = [json.loads((scratch / f"pruned-{name}/tspeft.json").read_text())["modules"] for name in ("saved", "tuned")]
    report(method, "prune: modules that differ", len(set(kept[0]) ^ set(kept[1])), 0)
    if method not in ("ts-adapter",):
        merged = [load_file(scratch / f"merged-{name}/model.safetensors") for name in ("saved", "tuned")]
        report(method, "merge: units in the last place", max(
            ((merged[0][name].double() - value.double()).abs() / value.double().abs().clamp(min=1e-6)).max().item()
            / torch.finfo(value.dtype).eps for name, value in merged[1].items()), 1.0)  # fmt: skip


def check_adopted(scratch, base):
    """peft's own dense LoRA is gated, from its directory and from a model that holds it; the two are the same."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(3)
    model = get_peft_model(open_base(base), LoraConfig(r=4, target_modules=["q_proj", "v_proj"]))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    ids = torch.arange(3, 23)[None]
    with torch.no_grad():
        expected = model.eval()(input_ids=ids).logits
    model.save_pretrained(scratch / "peft")
    for what, taken in (("directory", tspeft_torch.attach(open_base(base), from_peft=scratch / "peft")),
                        ("model", tspeft_torch.attach(model, from_peft=True))):  # fmt: skip
        with torch.no_grad():
            found = taken.eval()(input_ids=ids).logits
        worst = ((found - expected).abs().max() / expected.abs().max()).item()
        report("from peft", f"logits, from a {what}", worst, 1e-5)
        tspeft_torch.save(taken, scratch / f"gated-{what}", calibration=[{"input_ids": ids}])
        tspeft("rank-modules", scratch / f"gated-{what}")
        tspeft("merge", base, "--adapter", scratch / f"gated-{what}", "-o", scratch / f"merged-{what}")


def main():
    global program, tspeft_torch
    program, base, path = sys.argv[1], Path(sys.argv[2]).resolve(), Path(sys.argv[3])
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        records = scratch / "records.jsonl"
        records.write_text("\n".join(path.read_text().splitlines()[: STEPS * BATCH]) + "\n")
        rows = list(examples(records, base))
        batches = [batch_of(rows[start : start + BATCH]) for start in range(0, len(rows), BATCH)]
        for method in sys.argv[4:] or ["ts-lora", "ts-dora", "ts-adalora", "ts-adapter", "ts-vera"]:
            folder = scratch / method
            folder.mkdir()
            tspeft("inject", base, "--method", method, *NUMBERS.get(method, ["--rank", "4"]), "-o", folder / "adapter")
            if "tspeft_torch" not in sys.modules:
                tspeft("export", folder / "adapter", "--to", "torch", "-o", scratch / "for-torch")
                tspeft_torch = load_module(Path(os.environ.get("TSPEFT_TORCH", scratch / "for-torch")))
            tuned = check_training(method, folder, base, records, batches)
            check_saved(method, folder, base, records, rows, tuned)
        check_adopted(scratch, base)
    if failures:
        sys.exit("\n".join(["failed:"] + failures))


main()
