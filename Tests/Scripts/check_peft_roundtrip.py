#!/usr/bin/env python3
"""Holds what `tspeft inject --from-peft` writes against what peft wrote: peft -> tspeft -> peft.

    check_peft_roundtrip.py TSPEFT [FIXTURES]      (torch 2.15, transformers 5.23, peft 0.21.2, safetensors 0.8)

For each directory of FIXTURES (Fixtures/peft unless given) the program writes its own; the tensors must have the same
bits, peft must read the same configuration from both, and a model that peft loads from ours must give the same logits,
bit for bit. The gated form must be refused by peft. Prints a line an adapter and exits 1 where one differs; says so and
exits 0 where a package is missing.
"""
import pathlib
import subprocess
import sys
import tempfile

try:
    import torch
    from peft import PeftConfig, PeftModel
    from safetensors.torch import load_file
    from transformers import LlamaForCausalLM
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(0)

# peft's defaults for what the file leaves out depend on neither program.
NOT_COMPARED = {"peft_version", "runtime_config"}


def tspeft(*arguments):
    return subprocess.run([*map(str, arguments)], capture_output=True, text=True)


def tensors(folder):
    return load_file(folder / "adapter_model.safetensors")


def meaning(value):
    """One form for what peft takes for the same: nothing for what is empty, a list for its only element."""
    if value in (None, False, "", [], {}) or value == set():
        return None
    if isinstance(value, (list, set, tuple)):
        return sorted(map(str, value))
    return [str(value)] if isinstance(value, (str, int)) and not isinstance(value, bool) else value


def configuration_differences(left, right):
    left, right = (PeftConfig.from_pretrained(folder).to_dict() for folder in (left, right))
    return [
        f"{name}: {left.get(name)} became {right.get(name)}" for name in sorted(left.keys() | right.keys())
        if name not in NOT_COMPARED and meaning(left.get(name)) != meaning(right.get(name))
    ]


def logits(base, folder, tokens):
    model = PeftModel.from_pretrained(LlamaForCausalLM.from_pretrained(base, dtype=torch.float32), folder).eval()
    with torch.no_grad():
        return model(input_ids=tokens).logits


def differences(program, fixtures, name, folder, tokens):
    source, ours, gated = fixtures / name, folder / name, folder / (name + "-gated")
    run = tspeft(program, "inject", fixtures / "model", "--from-peft", source, "-o", ours)
    if run.returncode != 0:
        return [run.stderr.strip()]
    found, wanted = tensors(ours), tensors(source)
    problems = [] if found.keys() == wanted.keys() else [f"keys: {sorted(found.keys() ^ wanted.keys())}"]
    problems += [
        f"{key} differs" for key in found.keys() & wanted.keys() if not torch.equal(found[key], wanted[key].float())
    ]
    if name.startswith("bottleneck"):
        return problems  # peft has no such method; the tensors are all that there is to compare.
    problems += configuration_differences(source, ours)
    if not torch.equal(logits(fixtures / "model", ours, tokens), logits(fixtures / "model", source, tokens)):
        problems.append("the logits differ")
    kind = {"dora": "ts-dora", "adalora": "ts-adalora", "adalora-new": "ts-adalora", "vera": "ts-vera"}
    run = tspeft(
        program, "inject", fixtures / "model", "--from-peft", source, "--method", kind.get(name, "ts-lora"), "-o", gated)
    if run.returncode != 0:
        return problems + [run.stderr.strip()]
    try:
        PeftConfig.from_pretrained(gated)
        problems.append("peft takes the gated form")
    except (KeyError, ValueError, TypeError):
        pass
    return problems


def main():
    program = pathlib.Path(sys.argv[1]).resolve()
    fixtures = pathlib.Path(sys.argv[2] if len(sys.argv) > 2 else __file__)
    if len(sys.argv) <= 2:
        fixtures = fixtures.resolve().parents[2] / "Fixtures" / "peft"
    tokens = load_file(fixtures / "expected.safetensors")["tokens"][None]
    names = sorted(path.parent.name for path in fixtures.glob("*/adapter_config.json"))
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            if name == "vera-unsaved":
                continue
            problems = differences(program, fixtures, name, pathlib.Path(folder), tokens)
            failed = failed or bool(problems)
            print(f"{name}: " + ("; ".join(problems) if problems else "the same"))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
