#!/usr/bin/env python3
"""Writes Fixtures/merge-names/corpus.json: names and shapes of the checkpoints and adapters of a corpus of merge cases.

    python make_merge_names.py CORPUS OUT.json

CORPUS is a folder of cases, each with base/, adapter/, expected/ and case.json, as a script over transformers 5 and peft
0.21 made them. Needs Python alone. Of each case with tensors of LoRA or saved whole: what its adapter updates (kind, path,
sizes of the update), what it saves, and which of the base's tensors peft's merge changed.
"""
import json, os, re, struct, sys


def header(path):
    with open(path, "rb") as f:
        raw = f.read()
    n = struct.unpack("<Q", raw[:8])[0]
    h = json.loads(raw[8:8 + n])
    h.pop("__metadata__", None)
    return {k: (v["shape"], raw[8 + n + v["data_offsets"][0]:8 + n + v["data_offsets"][1]]) for k, v in h.items()}


def tensors(folder):
    found = {}
    for f in sorted(os.listdir(folder)):
        if f.endswith(".safetensors"):
            found.update(header(os.path.join(folder, f)))
    return found


def types(config):
    """model_type of the whole and of its parts, and what is tied."""
    out = {k: v for k, v in config.items() if k in ("model_type", "tie_word_embeddings")}
    for k, v in config.items():
        if isinstance(v, dict) and "model_type" in v:
            out[k] = types(v)
    return out


def experts(config):
    for c in [config] + [v for v in config.values() if isinstance(v, dict)]:
        for k in ("num_local_experts", "num_experts", "n_routed_experts"):
            if isinstance(c.get(k), int):
                return c[k]
    return 0


def adapter(keys, settings, config):
    """[kind, path, parameter, experts, rows, columns] of each update, and the names of what is saved whole."""
    updates, saved, shapes = [], [], {}
    for key, (shape, _) in keys.items():
        name = key
        while m := re.match(r"(base_model\.model|_orig_mod)\.", name):
            name = name[m.end():]
        shapes[re.sub(r"\.default(?=\.|$)", "", name)] = shape
    targeted = settings.get("target_parameters") or []
    for name, shape in shapes.items():
        if m := re.fullmatch(r"(.*)\.lora_embedding_A", name):
            updates.append(["embedding", m[1], None, 1, shape[1], shapes[m[1] + ".lora_embedding_B"][0]])
        elif m := re.fullmatch(r"(.*)\.lora_A\.weight", name):
            b = shapes.get(m[1] + ".lora_B.weight")
            if not b:
                continue
            path = m[1].replace(".base_layer", "")
            if path.endswith("experts"):
                two = len([t for t in targeted if t.split(".")[-2:-1] == ["experts"] or "experts" in t]) > 1
                first = m[1].endswith("base_layer")
                parameter = ("gate_up_proj" if first else "down_proj") if two else targeted[0].split(".")[-1]
                updates.append(["parameter", path, parameter, experts(config), b[0], shape[1]])
            elif len(shape) > 2:
                columns = 1
                for s in shape[1:]:
                    columns *= s
                updates.append(["convolution", path, None, 1, b[0], columns])
            else:
                updates.append(["linear", path, None, 1, b[0], shape[1]])
        elif name.endswith("original_module.weight"):
            continue
        elif m := re.fullmatch(r"(.*)\.lora_B\.bias", name):
            saved.append(m[1] + ".bias")
        elif m := re.fullmatch(r"(.*?)(?:\.token_adapter)?\.trainable_tokens_delta", name):
            saved.append(m[1] + ".weight")
        elif m := re.fullmatch(r"(.*)\.ln_tuning_layers\.weight", name):
            saved.append(m[1] + ".weight")
        elif re.search(r"\.(lora_|ada|vera_|hada_|lokr_|ia3_|oft_|hra_|fourier|delora|shira|miss|prompt)", "." + name) or name.startswith("prompt"):
            continue
        else:
            saved.append(name.replace(".modules_to_save", "").replace(".base_layer", ""))
    return updates, saved


def main():
    corpus, out = sys.argv[1:]
    bases, cases = [], []
    for name in sorted(os.listdir(corpus)):
        folder = os.path.join(corpus, name)
        try:
            facts = json.load(open(os.path.join(folder, "case.json")))
            settings = json.load(open(os.path.join(folder, "adapter", "adapter_config.json")))
            config = json.load(open(os.path.join(folder, "base", "config.json")))
            base, keys = tensors(os.path.join(folder, "base")), tensors(os.path.join(folder, "adapter"))
        except (OSError, ValueError, struct.error):
            continue
        updates, saved = adapter(keys, settings, config)
        if not updates and not saved:
            continue
        for other in facts["adapters"][1:]:
            folder2 = os.path.join(folder, other.split(":")[0])
            more = adapter(tensors(folder2), json.load(open(os.path.join(folder2, "adapter_config.json"))), config)
            updates += [u for u in more[0] if u not in updates]
        changed = []
        if os.path.exists(os.path.join(folder, "expected", "model.safetensors")):
            merged = tensors(os.path.join(folder, "expected"))
            changed = sorted(n for n in merged if n not in base or base[n][1] != merged[n][1])
        tree = {"config": types(config), "tensors": {n: s for n, (s, _) in base.items()}}
        if tree not in bases:
            bases.append(tree)
        cases.append(dict(name=name, outcome=facts["outcome"], mentions=facts["mentions"], base=bases.index(tree),
                          updates=updates, saved=saved, changed=changed))
    text = json.dumps({"bases": bases, "cases": cases}, separators=(",", ":"))
    # One base or case a line.
    text = text.replace('{"config"', '\n{"config"').replace('{"name"', '\n{"name"').replace('],"cases"', '],\n"cases"') + "\n"
    with open(out, "w") as f:
        f.write(text)
    print(len(bases), "bases,", len(cases), "cases,", len(text), "bytes")


if __name__ == "__main__":
    main()
