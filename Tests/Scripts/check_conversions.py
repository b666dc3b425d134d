"""Converts a model with `tspeft convert` and has other programs read what comes out.

    python check_conversions.py TSPEFT MODEL

TSPEFT is the program, MODEL a Hugging Face directory of the Llama family in BF16 or F32. `TSPEFT_PYTHON=python swift test
--filter ConversionAgreementTests` runs this over the fixture's model.

- gguf decodes every tensor of our GGUF files to what `tspeft convert --type f32` makes of them, bit for bit;
- transformers loads our way back from GGUF, with the logits of MODEL bit for bit;
- where LLAMA_CPP names a checkout of llama.cpp, its convert_hf_to_gguf.py gives the same tensors and metadata, but for
  what is listed in EXPECTED;
- where llama-cpp-python is there, it says the same greedy words over our BF16 file as `tspeft generate`; over blocks,
  how many prompts it continues alike is printed only.

Written for torch 2.15, transformers 5.23, gguf 0.19, safetensors 0.8, llama-cpp-python 0.3.36. Without one of the first
four the script fails; llama-cpp-python and LLAMA_CPP are skipped by name where they are absent.
"""

import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path


absent = [name for name in ("gguf", "torch", "transformers", "safetensors") if importlib.util.find_spec(name) is None]
if absent:
    raise SystemExit(f"nothing was checked: {sys.executable} lacks {', '.join(absent)}; install what is missing")

import gguf  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: E402
from transformers.utils import logging  # noqa: E402

logging.disable_progress_bar()

TYPES = ["bf16", "f16", "q8_0", "q6_k", "q5_k_m", "q5_1", "q4_k_m", "q4_0", "iq4_nl", "q3_k_m", "q2_k", "tq2_0"]
# Keys where we differ from the converter, which tells pre-tokenizers by the tokens of one text and writes add_eos_token
# in some cases only; and keys of our own.
EXPECTED = {
    "tokenizer.ggml.pre", "tokenizer.ggml.add_eos_token", "general.name", "tspeft.eos_token_ids", "tspeft.rope_scaling",
}  # fmt: skip
PROMPTS = ["Gravity is", "The film was", "def add(a, b):"]
WORDS = 24
failures = []


def report(what, found, good):
    print(f"{what:58} {found}{'' if good else '  WRONG'}")
    if not good:
        failures.append(what)


def run(tspeft, *arguments):
    done = subprocess.run([tspeft, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"tspeft {' '.join(map(str, arguments))}\nended with {done.returncode}: {done.stderr}")
    return done.stdout


def hugging_face_name(name):
    top = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
    parts = {
        "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm", "attn_q": "self_attn.q_proj",
        "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
        "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
    }  # fmt: skip
    stem, kind = name.rsplit(".", 1)
    if stem in top:
        return f"{top[stem]}.{kind}"
    _, layer, part = stem.split(".")
    return f"model.layers.{layer}.{parts[part]}.{kind}"


def unpermuted(values, heads):
    shape = values.shape
    return values.reshape(heads, shape[0] // heads // 2, 2, *shape[1:]).swapaxes(1, 2).reshape(shape)


def load_metadata(path):
    reader = gguf.GGUFReader(path)
    fields = {
        key: ([kind.name for kind in field.types], field.contents())
        for key, field in reader.fields.items()
        if not key.startswith("GGUF.")
    }
    return fields, {tensor.name: tensor for tensor in reader.tensors}


def check_decoding(tspeft, kind, path, folder):
    """gguf's numbers against ours, in Hugging Face's names and row order."""
    fields, tensors = load_metadata(path)
    heads = fields["llama.attention.head_count"][1]
    key_heads = fields["llama.attention.head_count_kv"][1]
    plain = folder / f"{kind}-f32"
    run(tspeft, "convert", path, "-o", plain, "--type", "f32")
    ours = load_file(plain / "model.safetensors")
    differing = set(map(hugging_face_name, tensors)) ^ set(ours)
    for name, tensor in tensors.items():
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        values = values.reshape(tuple(int(size) for size in reversed(tensor.shape)))
        if ".attn_q." in name:
            values = unpermuted(values, heads)
        if ".attn_k." in name:
            values = unpermuted(values, key_heads)
        other = ours[hugging_face_name(name)].numpy()
        if values.shape != other.shape or not np.array_equal(values.view(np.uint32), other.view(np.uint32)):
            differing.add(name)
    report(f"{kind}: tensors that gguf decodes to other numbers", len(differing), not differing)


def logits(path):
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, attn_implementation="eager").eval()
    ids = torch.arange(1, 40)[None] % model.config.vocab_size
    with torch.no_grad():
        return model(ids).logits


def check_way_back(tspeft, model, path, folder):
    back = folder / "back"
    run(tspeft, "convert", path, "-o", back)
    report("way back: logits in transformers are MODEL's", "", torch.equal(logits(back), logits(model)))
    ours, theirs = AutoTokenizer.from_pretrained(back), AutoTokenizer.from_pretrained(model)
    texts = [*PROMPTS, "  two  spaces\n\n\tand tabs", "naïve 🙂 漢字 12345 don't"]
    report("way back: ids in transformers are MODEL's", "", all(ours.encode(t) == theirs.encode(t) for t in texts))


def check_converter(model, path, folder):
    source = os.environ.get("LLAMA_CPP")
    if source is None:
        print("skipped: LLAMA_CPP names no checkout of llama.cpp")
        return
    theirs = folder / "theirs.gguf"
    command = [sys.executable, f"{source}/convert_hf_to_gguf.py", str(model), "--outfile", str(theirs)]
    done = subprocess.run([*command, "--outtype", "bf16"], capture_output=True, text=True)
    if done.returncode != 0:
        print(f"skipped: convert_hf_to_gguf.py refuses the model: {done.stderr.strip().splitlines()[-1]}")
        return
    (left, left_tensors), (right, right_tensors) = load_metadata(path), load_metadata(theirs)
    keys = sorted(key for key in left.keys() | right.keys() if left.get(key) != right.get(key))
    report("convert_hf_to_gguf.py: metadata that differ", ", ".join(keys), set(keys) <= EXPECTED)
    same = left_tensors.keys() == right_tensors.keys() and all(
        tensor.tensor_type == right_tensors[name].tensor_type
        and np.array_equal(tensor.data.view(np.uint8), right_tensors[name].data.view(np.uint8))
        for name, tensor in left_tensors.items()
    )
    report("convert_hf_to_gguf.py: the same tensors", len(left_tensors), same)


def check_words(tspeft, kind, path):
    """Greedy words; beyond BF16 llama.cpp rounds activations to blocks too, so that no number of them is demanded."""
    if importlib.util.find_spec("llama_cpp") is None:
        print("skipped: llama_cpp is absent")
        return
    import llama_cpp

    model = llama_cpp.Llama(str(path), n_ctx=256, verbose=False, n_threads=1)
    same = 0
    for prompt in PROMPTS:
        theirs = model.create_completion(prompt, max_tokens=WORDS, temperature=0.0, repeat_penalty=1.0)
        ours = run(tspeft, "generate", path, "--prompt", prompt, "-n", WORDS, "--no-echo", "--dtype", "f32")
        same += ours.strip() == theirs["choices"][0]["text"].strip()
    what, found = f"{kind}: prompts that llama.cpp continues as we do", f"{same} of {len(PROMPTS)}"
    if kind == "bf16":
        report(what, found, same == len(PROMPTS))
    else:
        print(f"{what:58} {found}")


def main(tspeft, model):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for kind in TYPES:
            path = folder / f"{kind}.gguf"
            run(tspeft, "convert", model, "-o", path, "--type", kind)
            check_decoding(tspeft, kind, path, folder)
        check_way_back(tspeft, model, folder / "bf16.gguf", folder)
        check_converter(model, folder / "bf16.gguf", folder)
        for kind in ["bf16", "q8_0", "q4_k_m"]:
            check_words(tspeft, kind, folder / f"{kind}.gguf")
    if failures:
        raise SystemExit(f"{len(failures)} checks failed: {'; '.join(failures)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
