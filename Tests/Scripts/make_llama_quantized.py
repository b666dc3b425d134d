"""Has llama.cpp quantize a tiny Llama: Fixtures/llama-quantized/*.gguf, all of whose bytes llama_model_quantize wrote.

The F32 model that it starts from is not kept, since QuantizedByLlamaTests makes it again: every number is the product
of two even ones that RandomStream (Sources/TensorCore) gives, so that, as weights do, they lie closer to zero than to
the largest. Rows are of 256 elements, and of 32 in two tensors, for which llama.cpp falls back to other types.

values.json says, for every tensor, its type and the SHA-256 of its numbers in F32 as gguf decodes them (ggml decodes
them to the same bits, or the script stops), and the SHA-256 of the numbers that it was made from.

Files are named for llama_model_quantize's file types. Two have a type of its own for each tensor: "legacy" those that
no other file has and that need no importance matrix, "importance" those of three bits and less, with an importance
matrix that runs from 1 to 2 over a row.

Made with llama_model_quantize of libllama 0.3.36 as llama-cpp-python builds it (ggml 0.25.3), gguf 0.19.0, numpy 2.4.6.

Needs: gguf, numpy. Run from the package's root:
python Tests/Scripts/make_llama_quantized.py .../llama_cpp/lib/libllama.so .../llama_cpp/lib/libggml-base.so
"""

import ctypes
import hashlib
import json
import pathlib
import sys
import tempfile

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type

from make_block_fixtures import GGML, even_numbers
from make_quantization_mixes import load_llama

TARGET = pathlib.Path("Fixtures/llama-quantized")
FILE_TYPES = {
    "q8_0": 7, "q4_0": 2, "q2_k": 10, "q3_k_m": 12, "q4_k_m": 15, "q5_k_m": 17, "q6_k": 18, "iq4_xs": 30,
}  # fmt: skip
LAYER = "blk.0."
# Tensors in the order of the file; what is random in one follows from its place here.
SHAPES = {
    "token_embd": [8, 256], LAYER + "attn_norm": [256], LAYER + "attn_q": [32, 256], LAYER + "attn_k": [16, 256],
    LAYER + "attn_v": [16, 256], LAYER + "attn_output": [256, 32], LAYER + "ffn_norm": [256],
    LAYER + "ffn_gate": [32, 256], LAYER + "ffn_up": [32, 256], LAYER + "ffn_down": [256, 32], "output_norm": [256],
    "output": [8, 256],
}  # fmt: skip
# The file type to start from, the types of tensors, and whether there is an importance matrix.
MIXTURES = {
    "legacy": (8, False, {
        "token_embd": Type.IQ4_NL, LAYER + "attn_q": Type.TQ1_0, LAYER + "attn_k": Type.TQ2_0,
        LAYER + "attn_v": Type.Q4_1, LAYER + "attn_output": Type.MXFP4, LAYER + "ffn_gate": Type.IQ3_S,
        LAYER + "ffn_up": Type.Q5_0, LAYER + "ffn_down": Type.Q5_1, "output": Type.IQ4_NL,
    }),
    "importance": (19, True, {
        "token_embd": Type.Q2_K, LAYER + "attn_q": Type.IQ2_XXS, LAYER + "attn_k": Type.IQ1_S,
        LAYER + "attn_v": Type.IQ1_M, LAYER + "attn_output": Type.IQ4_NL, LAYER + "ffn_gate": Type.IQ2_XS,
        LAYER + "ffn_up": Type.IQ2_S, LAYER + "ffn_down": Type.Q4_0, "output": Type.IQ3_XXS,
    }),
}  # fmt: skip


class Override(ctypes.Structure):
    _fields_ = [("pattern", ctypes.c_char_p), ("type", ctypes.c_int)]


class Importance(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("data", ctypes.POINTER(ctypes.c_float)), ("size", ctypes.c_size_t)]


def source():
    """The model's numbers: twice `randomValues` of Tests/TestSupport, multiplied."""
    tensors = {}
    for place, (name, shape) in enumerate(SHAPES.items()):
        size = int(np.prod(shape))
        draws = [2 * even_numbers(seed, size) for seed in (2 * place, 2 * place + 1)]
        factors = [np.float32(-1) + numbers.astype(np.float32) for numbers in draws]
        tensors[name + ".weight"] = (factors[0] * factors[1]).reshape(shape)
    return tensors


def write_source(path, tensors):
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("quantized by llama.cpp")
    writer.add_block_count(1)
    writer.add_context_length(64)
    writer.add_embedding_length(256)
    writer.add_feed_forward_length(32)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_key_length(8)
    writer.add_value_length(8)
    writer.add_rope_dimension_count(8)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(8)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(["<s>", "</s>", "a", "b", "c", "ab", "Ġ", "Ċ"])
    writer.add_token_types([gguf.TokenType.CONTROL] * 2 + [gguf.TokenType.NORMAL] * 6)
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_add_bos_token(False)
    for name, values in tensors.items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def quantize(library, plain, result, file_type, has_importance=False, types={}):
    params = library.llama_model_quantize_default_params()
    params.nthread = 1
    params.ftype = file_type
    patterns = [Override(f"^{name.replace('.', '[.]')}[.]weight$".encode(), kind) for name, kind in types.items()]
    overrides = (Override * (len(types) + 1))(*patterns, Override(None, 0))
    params.tt_overrides = ctypes.cast(overrides, ctypes.c_void_p)
    rows = {name: np.linspace(1, 2, SHAPES[name][-1], dtype=np.float32) for name in types}
    floats = ctypes.POINTER(ctypes.c_float)
    weights = [
        Importance(f"{name}.weight".encode(), row.ctypes.data_as(floats), row.size) for name, row in rows.items()
    ]
    importance = (Importance * (len(types) + 1))(*weights, Importance(None, None, 0))
    if has_importance:
        params.imatrix = ctypes.cast(importance, ctypes.c_void_p)
    if library.llama_model_quantize(str(plain).encode(), str(result).encode(), ctypes.byref(params)) != 0:
        raise SystemExit(f"{result} could not be made")


def digest(values):
    return hashlib.sha256(np.ascontiguousarray(values, "<f4").tobytes()).hexdigest()


def decoded(ggml, path):
    out = {}
    for tensor in gguf.GGUFReader(path).tensors:
        shape = tuple(int(size) for size in reversed(tensor.shape))
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32).reshape(shape)
        if tensor.tensor_type != Type.F32:
            theirs = ggml.decode(tensor.data, tensor.tensor_type)
            if not np.array_equal(theirs.reshape(shape).view(np.uint32), values.view(np.uint32)):
                raise SystemExit(f"{path}: gguf and ggml decode {tensor.name} to different numbers")
        out[tensor.name] = {"type": tensor.tensor_type.name, "sha256": digest(values)}
    return out


def main():
    library = load_llama(sys.argv[1])
    ggml = GGML(sys.argv[2])
    TARGET.mkdir(exist_ok=True)
    tensors = source()
    record = {"source": {name: digest(values) for name, values in tensors.items()}, "files": {}}
    with tempfile.TemporaryDirectory() as folder:
        plain = pathlib.Path(folder) / "plain.gguf"
        write_source(plain, tensors)
        jobs = {name: (number, False, {}) for name, number in FILE_TYPES.items()} | MIXTURES
        for name, (number, has_importance, types) in jobs.items():
            result = TARGET / f"{name}.gguf"
            quantize(library, plain, result, number, has_importance, types)
            record["files"][name] = found = decoded(ggml, result)
            wrong = [key for key, kind in types.items() if found[key + ".weight"]["type"] != kind.name]
            if wrong:
                raise SystemExit(f"{result}: {', '.join(wrong)} have other types than were asked for")
            print(f"{result}: {result.stat().st_size} bytes,", sorted({entry["type"] for entry in found.values()}))
    (TARGET / "values.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
