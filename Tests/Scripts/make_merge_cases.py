#!/usr/bin/env python3
"""Writes Fixtures/any-merge: small checkpoints of many families, an adapter of peft's for each, and what peft merges.

    python3 Tests/Scripts/make_merge_cases.py CORPUS [Fixtures/any-merge]

CORPUS holds a folder for each case: `base/`, `adapter/` (and further ones), `expected/` as peft 0.21's merge_and_unload
leaves the checkpoint under the base's names, `expected.txt` (merge, refuse, or either), and `case.json`. Of `expected/`
only those tensors are kept that are not the base's, in `expected.safetensors`; `case.json` keeps what the test asks for.
Needs Python alone.
"""
import json, os, shutil, struct, sys

CASES = [
    "arch-albert", "arch-gpt_bigcode", "lora-dora-gpt2", "lora-fan-in-wrong", "lora-conv2d", "lora-embed-tied",
    "lora-head-tied", "lora-resized", "lora-tokens-tied", "lora-bias-all", "lora-save-classifier",
    "moe-qwen3-files-2d", "moe-qwen3-each-expert-files-3d", "moe-qwen3-router", "moe-granite",
    "moe-qwen3-vl-hub", "moe-gpt-oss", "names-dinov2-gate", "names-bert-bare-base-lora", "names-vit-old-adapter",
    "names-compiled", "files-mxfp4-attention", "lora-conv2d-groups", "files-fp8-target",
    "wrong-bert-more-layers", "wrong-half", "names-clip-text-adapter",
]


def tensors(path):
    """name -> (header, bytes) of a safetensors file."""
    with open(path, "rb") as f:
        raw = f.read()
    size = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8:8 + size])
    header.pop("__metadata__", None)
    return {k: (v, raw[8 + size + v["data_offsets"][0]:8 + size + v["data_offsets"][1]]) for k, v in header.items()}


def checkpoint(folder):
    found = {}
    for name in sorted(os.listdir(folder)):
        if name.endswith(".safetensors"):
            found.update(tensors(os.path.join(folder, name)))
    return found


def write(path, found):
    header, offset = {}, 0
    for name, (facts, raw) in found.items():
        header[name] = {"dtype": facts["dtype"], "shape": facts["shape"], "data_offsets": [offset, offset + len(raw)]}
        offset += len(raw)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(raw for _, raw in found.values()))


def main():
    corpus, output = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "Fixtures/any-merge"
    shutil.rmtree(output, ignore_errors=True)
    for name in CASES:
        case, target = os.path.join(corpus, name), os.path.join(output, name)
        with open(os.path.join(case, "case.json")) as f:
            facts = json.load(f)
        os.makedirs(target)
        said = {"about": facts["about"], "outcome": facts["outcome"], "mentions": facts["mentions"]}
        for folder in ["base"] + [a.split(":")[0] for a in facts["adapters"]]:
            os.makedirs(os.path.join(target, folder))
            for file in sorted(os.listdir(os.path.join(case, folder))):
                if file.endswith((".safetensors", ".json")) and file != "generation_config.json":
                    shutil.copyfile(os.path.join(case, folder, file), os.path.join(target, folder, file))
        expected = os.path.join(case, "expected", "model.safetensors")
        if os.path.exists(expected):
            base = checkpoint(os.path.join(case, "base"))
            want = tensors(expected)
            write(os.path.join(target, "expected.safetensors"),
                  {k: v for k, v in want.items() if k not in base or base[k][1] != v[1]})
            said["tensors"] = len(want)
            with open(os.path.join(case, "expected", "config.json")) as f:
                config = json.load(f)
            said["config"] = {k: config[k] for k in ("vocab_size", "tie_word_embeddings") if k in config}
        with open(os.path.join(target, "case.json"), "w") as f:
            json.dump(said, f, indent=1)
            f.write("\n")


main()
