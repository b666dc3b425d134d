"""What transformers computes with SmolLM2-135M-Instruct's dequantized weights, in float32: logits of a prompt and greedy text.

    python make_smollm2_reference.py Tests/Models Fixtures/smollm2

Versions used: torch 2.15.0, transformers 5.23.0, gguf 0.19.0.
"""
import json
import pathlib
import sys

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

PROMPT = "The capital of France is"
# The ids of the prompt; it has no digits, so the conversion's tokenizer would give the same.
IDS = [504, 3575, 282, 4649, 314]
NEW_TOKENS = 20

models, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
model = AutoModelForCausalLM.from_pretrained(models, gguf_file="smollm2.gguf", dtype=torch.float32).eval()
ids = torch.tensor([IDS])
with torch.no_grad():
    logits = model(input_ids=ids).logits[0]
    text = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=NEW_TOKENS, do_sample=False)[0]
out.mkdir(parents=True, exist_ok=True)
save_file({"logits": logits.contiguous()}, out / "logits.safetensors")
(out / "greedy.json").write_text(
    json.dumps({"prompt": PROMPT, "prompt_ids": IDS, "generated_ids": text[len(IDS):].tolist()}, indent=1) + "\n")
