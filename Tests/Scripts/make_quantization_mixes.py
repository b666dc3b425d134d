"""Has llama.cpp quantize small models and writes which type each tensor got: Fixtures/formats/quantization_mixes.json.

The models are all of zeros, with tensors of two rows, since the types depend on names, shapes and counts alone. Made with
llama_model_quantize of libllama 0.3.36 as llama-cpp-python builds it, and gguf 0.19.

Needs: gguf, numpy. Run from the package's root: python Tests/Scripts/make_quantization_mixes.py path/to/libllama.so
"""

import ctypes
import itertools
import json
import pathlib
import sys
import tempfile

import gguf
import numpy as np

TARGET = pathlib.Path("Fixtures/formats/quantization_mixes.json")
FILE_TYPES = {
    "F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q8_0": 7, "Q5_0": 8, "Q5_1": 9, "Q2_K": 10, "Q3_K_S": 11, "Q3_K_M": 12,
    "Q3_K_L": 13, "Q4_K_S": 14, "Q4_K_M": 15, "Q5_K_S": 16, "Q5_K_M": 17, "Q6_K": 18, "IQ4_NL": 25, "BF16": 32,
    "TQ1_0": 36, "TQ2_0": 37, "MXFP4": 38,
}  # fmt: skip
PARTS = ["attn_norm", "attn_q", "attn_k", "attn_v", "attn_output", "ffn_norm", "ffn_gate", "ffn_up", "ffn_down"]
MODELS = [
    # layers, heads, key/value heads, tied, width of rows, width of ffn_down's rows, experts
    (1, 4, 4, True, 256, 512, 0),
    (4, 4, 1, False, 256, 512, 0),
    (7, 4, 4, False, 256, 512, 0),
    (30, 9, 3, True, 576, 1536, 0),
    (32, 32, 8, False, 256, 256, 0),
    (80, 64, 8, False, 256, 256, 0),
    (3, 4, 2, False, 48, 96, 0),
    (3, 4, 2, False, 20, 40, 0),
    (16, 8, 4, False, 256, 256, 8),
    (6, 8, 2, False, 256, 256, 4),
]


class QuantizeParams(ctypes.Structure):
    _fields_ = [
        ("nthread", ctypes.c_int32), ("ftype", ctypes.c_int), ("output_tensor_type", ctypes.c_int),
        ("token_embedding_type", ctypes.c_int), ("allow_requantize", ctypes.c_bool),
        ("quantize_output_tensor", ctypes.c_bool), ("only_copy", ctypes.c_bool), ("pure", ctypes.c_bool),
        ("keep_split", ctypes.c_bool), ("dry_run", ctypes.c_bool), ("imatrix", ctypes.c_void_p),
        ("kv_overrides", ctypes.c_void_p), ("tt_overrides", ctypes.c_void_p), ("prune_layers", ctypes.c_void_p),
        ("max_buf_size", ctypes.c_size_t),
    ]  # fmt: skip


def write_model(path, layers, heads, kv_heads, tied, width, down_width, experts):
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(layers)
    writer.add_context_length(64)
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(down_width)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(2)
    if experts:
        writer.add_expert_count(experts)
        writer.add_expert_used_count(2)
    writer.add_tokenizer_model("none")
    writer.add_tensor("token_embd.weight", np.zeros((2, width), np.float32))
    for layer in range(layers):
        for part in PARTS:
            size = down_width if part == "ffn_down" else width
            name = f"blk.{layer}.{part}"
            if part.endswith("_norm"):
                writer.add_tensor(name + ".weight", np.zeros(size, np.float32))
            elif experts and part.startswith("ffn_"):
                writer.add_tensor(name + "_exps.weight", np.zeros((experts, 2, size), np.float32))
            else:
                writer.add_tensor(name + ".weight", np.zeros((2, size), np.float32))
        if experts:
            writer.add_tensor(f"blk.{layer}.ffn_gate_inp.weight", np.zeros((experts, width), np.float32))
    writer.add_tensor("output_norm.weight", np.zeros(width, np.float32))
    if not tied:
        writer.add_tensor("output.weight", np.zeros((2, width), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def runs(names):
    """Q6_K Q6_K Q4_K as "Q6_K*2 Q4_K"."""
    out = []
    for name, group in itertools.groupby(names):
        count = len(list(group))
        out.append(name if count == 1 else f"{name}*{count}")
    return " ".join(out)


def types(path, layers, experts):
    found = {tensor.name: tensor.tensor_type.name for tensor in gguf.GGUFReader(path).tensors}
    table = {}
    for name in ["token_embd", "output", "output_norm"]:
        if name + ".weight" in found:
            table[name] = found[name + ".weight"]
    for part in PARTS + (["ffn_gate_inp"] if experts else []):
        suffix = "_exps" if experts and part in ("ffn_gate", "ffn_up", "ffn_down") else ""
        table[part + suffix] = runs(found[f"blk.{layer}.{part}{suffix}.weight"] for layer in range(layers))
    return table


def load_llama(path):
    """libllama, ready to quantize and silent."""
    library = ctypes.CDLL(path)
    library.llama_model_quantize_default_params.restype = QuantizeParams
    library.llama_model_quantize.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.POINTER(QuantizeParams)]
    library.llama_backend_init()
    # Kept as long as the library, which calls it.
    library.silent = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(lambda *_: None)
    library.llama_log_set(library.silent, None)
    return library


def main():
    library = load_llama(sys.argv[1])
    cases = []
    with tempfile.TemporaryDirectory() as folder:
        for model in MODELS:
            layers, heads, kv_heads, tied, width, down_width, experts = model
            plain = folder + "/plain.gguf"
            write_model(plain, *model)
            mixes = {}
            for name, number in FILE_TYPES.items():
                params = library.llama_model_quantize_default_params()
                params.nthread = 1
                params.ftype = number
                result = folder + "/result.gguf"
                if library.llama_model_quantize(plain.encode(), result.encode(), ctypes.byref(params)) != 0:
                    raise SystemExit(f"{name} failed for {model}")
                mixes[name] = types(result, layers, experts)
            cases.append({
                "layers": layers, "heads": heads, "key_value_heads": kv_heads, "experts": experts, "width": width,
                "down_width": down_width, "types": mixes,
            })  # fmt: skip
    TARGET.write_text("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n")


if __name__ == "__main__":
    main()
