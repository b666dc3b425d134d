"""Converts a model with `tspeft convert` and has other programs read what comes out.

    python check_conversions.py TSPEFT MODEL

TSPEFT is the program, MODEL a Hugging Face directory of the Llama family in BF16 or F32. `TSPEFT_PYTHON=python swift
test --filter ConversionAgreementTests` runs this over the fixture's model.

- gguf decodes every tensor of our GGUF files to what `tspeft convert --type f32` makes of them, bit for bit;
- transformers loads our way back from GGUF, with the logits of MODEL bit for bit;
- where LLAMA_CPP names a checkout of llama.cpp, its convert_hf_to_gguf.py gives the same tensors and metadata, but for
  what is listed in EXPECTED;
- where llama-cpp-python is there, it says the same greedy words as `tspeft generate` over our files of the types in
  WORD_TYPES. In products with weights of a type below F32 llama.cpp rounds activations too (to F16 and BF16 for those
  types, to blocks of Q8 for blocks), which tspeft does not. So it is held to our words over a twin of each file: the
  same numbers in F32 (`convert FILE --type f32`), with a cache in F32, where nothing but sums is rounded. Over the file
  itself, how many prompts it continues alike is printed, and where it first differs: how much higher the twin's logit
  of our word is than that of the other, and the root mean square of what the rounding changes in the logits there.
  That it is the rounding shows in transformers: its logits are those of the twin, and rounding the inputs of its linear
  layers to blocks of Q8_0 moves them about as far as llama.cpp's move from the twin to our Q8_0 file.

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

TYPES = ["f32", "bf16", "f16", "q8_0", "q6_k", "q5_k_m", "q5_1", "q4_k_m", "q4_0", "iq4_nl", "q3_k_m", "q2_k", "tq2_0"]
# Keys where we differ from the converter, which tells pre-tokenizers by the tokens of one text and writes add_eos_token
# in some cases only; and keys of our own.
EXPECTED = {
    "tokenizer.ggml.pre", "tokenizer.ggml.add_eos_token", "general.name", "tspeft.eos_token_ids", "tspeft.rope_scaling",
    "tspeft.converted_from",
}  # fmt: skip
WORD_TYPES = ["f32", "bf16", "f16", "q8_0", "q4_k_m", "q4_0"]
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


def continuations(path):
    """For each prompt its tokens, llama.cpp's greedy words as text and tokens, and the logits that each was chosen by."""
    import llama_cpp

    model = llama_cpp.Llama(
        str(path), n_ctx=256, verbose=False, n_threads=os.cpu_count(), type_k=llama_cpp.GGML_TYPE_F32,
        type_v=llama_cpp.GGML_TYPE_F32,
    )  # fmt: skip
    begins = model.metadata.get("tokenizer.ggml.add_bos_token", "false") == "true"
    out = []
    for prompt in PROMPTS:
        model.reset()
        tokens, rows = [], []
        given = prompt_tokens = model.tokenize(prompt.encode(), add_bos=begins, special=True)
        while len(tokens) < WORDS:
            model.eval(given)
            row = np.ctypeslib.as_array(llama_cpp.llama_get_logits_ith(model.ctx, -1), (model.n_vocab(),)).copy()
            rows.append(row)
            if int(row.argmax()) == model.token_eos():
                break
            tokens.append(int(row.argmax()))
            given = tokens[-1:]
        text = model.detokenize(tokens).decode(errors="replace").strip()
        out.append((prompt_tokens, text, tokens, rows))
    model.close()
    return out


def check_words(tspeft, kind, path, folder):
    """Greedy words over the twin in F32, which must be ours, and over the file itself."""
    if importlib.util.find_spec("llama_cpp") is None:
        print(f"{kind}: skipped: llama_cpp is absent")
        return
    ours = []
    for prompt in PROMPTS:
        words = run(tspeft, "generate", path, "--prompt", prompt, "-n", WORDS, "--no-echo", "--dtype", "f32")
        ours.append(words.strip())
    twin = path if kind == "f32" else folder / "twin.gguf"
    if kind != "f32":
        run(tspeft, "convert", path, "-o", twin, "--type", "f32", "--force")
    exact = continuations(twin)
    same = sum(text == words for (_, text, _, _), words in zip(exact, ours))
    found = f"{same} of {len(PROMPTS)}"
    report(f"{kind} in F32: prompts that llama.cpp continues as we do", found, same == len(PROMPTS))
    if kind == "f32":
        return
    rounded = continuations(path)
    same = sum(text == words for (_, text, _, _), words in zip(rounded, ours))
    print(f"{f'{kind}: prompts that llama.cpp continues as we do':58} {same} of {len(PROMPTS)}")
    for prompt, (_, _, left, left_rows), (_, _, right, right_rows) in zip(PROMPTS, exact, rounded):
        differing = [place for place, pair in enumerate(zip(left, right)) if pair[0] != pair[1]]
        for place in differing[:1]:
            gap = left_rows[place][left[place]] - left_rows[place][right[place]]
            rounding = distance(left_rows[place], right_rows[place])
            print(f"  '{prompt}', word {place + 1}: {gap:.3f} higher; what rounding changes there: {rounding:.3f}")
    if kind == "q8_0":
        check_rounding(tspeft, path, folder, exact, rounded)


def distance(left, right):
    return float(np.sqrt(np.mean((left - right) ** 2)))


def rounded_to_q8_0(values):
    blocks = values.reshape(-1, 32)
    scale = blocks.abs().amax(1, keepdim=True) / 127
    steps = torch.round(torch.where(scale > 0, blocks / scale, torch.zeros_like(blocks)))
    return (steps * scale.half().float()).reshape(values.shape)


def check_rounding(tspeft, path, folder, exact, rounded):
    """The same in transformers: the file's numbers, without rounding and with the inputs of linear layers rounded."""
    run(tspeft, "convert", path, "-o", folder / "plain", "--type", "f32")
    model = AutoModelForCausalLM.from_pretrained(folder / "plain", dtype=torch.float32, attn_implementation="eager")

    def last_logits(tokens):
        with torch.no_grad():
            return model.eval()(torch.tensor([tokens])).logits[0, -1].numpy()

    plain = [last_logits(tokens) for tokens, _, _, _ in exact]
    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_pre_hook(lambda _, inputs: (rounded_to_q8_0(inputs[0]),))
    ours = [last_logits(tokens) for tokens, _, _, _ in exact]
    twin, file = [entry[3][0] for entry in exact], [entry[3][0] for entry in rounded]

    def mean(left, right):
        return sum(map(distance, left, right)) / len(left)

    error, moved, expected = mean(plain, twin), mean(twin, file), mean(plain, ours)
    report("q8_0 in F32: llama.cpp's logits from transformers'", f"{error:.1e}", error < 1e-3)
    found = f"{moved:.3f}, and {expected:.3f} in transformers"
    report("q8_0: what rounding changes in llama.cpp's logits", found, expected / 2 < moved < expected * 2)
    print(f"{'q8_0: between the two that are rounded':58} {mean(ours, file):.3f}")


def main(tspeft, model):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for kind in TYPES:
            path = folder / f"{kind}.gguf"
            run(tspeft, "convert", model, "-o", path, "--type", kind)
            check_decoding(tspeft, kind, path, folder)
        check_way_back(tspeft, model, folder / "bf16.gguf", folder)
        check_converter(model, folder / "bf16.gguf", folder)
        for kind in WORD_TYPES:
            check_words(tspeft, kind, folder / f"{kind}.gguf", folder)
    if failures:
        raise SystemExit(f"{len(failures)} checks failed: {'; '.join(failures)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
