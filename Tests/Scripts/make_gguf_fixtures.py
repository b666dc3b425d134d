"""Writes Fixtures/gguf with the Python package gguf: small models as other programs write them.

- split-0000N-of-00003.gguf: a Llama model of one layer (matrices in F16, vectors in F32, a vocabulary),
  split by the package into parts of at most 5 tensors.
- whole.gguf: the same model in one file.
- v2.gguf: the same in version 2 of the format (the package writes version 3; the number is all that differs).
- aligned.gguf: metadata of every type, alignment 256.

Made with gguf 0.19.0 and numpy 2.4.6. Run from the package's root: python Tests/Scripts/make_gguf_fixtures.py
"""

import pathlib

import gguf
import numpy as np

TARGET = pathlib.Path("Fixtures/gguf")
HIDDEN, HEADS, KEY_HEADS, INTERMEDIATE, VOCABULARY = 16, 4, 2, 32, 12


def add_model(writer):
    random = np.random.default_rng(20261122)
    head = HIDDEN // HEADS
    writer.add_name("small")
    writer.add_block_count(1)
    writer.add_context_length(64)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(INTERMEDIATE)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KEY_HEADS)
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_rope_dimension_count(head)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(VOCABULARY)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(["<|end|>"] + [chr(ord("a") + index) for index in range(VOCABULARY - 1)])
    writer.add_token_types([gguf.TokenType.CONTROL] + [gguf.TokenType.NORMAL] * (VOCABULARY - 1))
    writer.add_token_merges([])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    writer.add_add_bos_token(False)
    shapes = {
        "token_embd": (VOCABULARY, HIDDEN),
        "blk.0.attn_norm": (HIDDEN,),
        "blk.0.attn_q": (HIDDEN, HIDDEN),
        "blk.0.attn_k": (KEY_HEADS * head, HIDDEN),
        "blk.0.attn_v": (KEY_HEADS * head, HIDDEN),
        "blk.0.attn_output": (HIDDEN, HIDDEN),
        "blk.0.ffn_norm": (HIDDEN,),
        "blk.0.ffn_gate": (INTERMEDIATE, HIDDEN),
        "blk.0.ffn_up": (INTERMEDIATE, HIDDEN),
        "blk.0.ffn_down": (HIDDEN, INTERMEDIATE),
        "output_norm": (HIDDEN,),
        "output": (VOCABULARY, HIDDEN),
    }
    for name, shape in shapes.items():
        values = random.normal(0, 0.3, shape).astype(np.float32)
        writer.add_tensor(name + ".weight", 1 + values if len(shape) == 1 else values.astype(np.float16))


def add_every_type(writer):
    writer.add_custom_alignment(256)
    writer.add_uint8("test.u8", 200)
    writer.add_int8("test.i8", -100)
    writer.add_uint16("test.u16", 60000)
    writer.add_int16("test.i16", -30000)
    writer.add_uint32("test.u32", 4_000_000_000)
    writer.add_int32("test.i32", -2_000_000_000)
    writer.add_uint64("test.u64", 2**64 - 1)
    writer.add_int64("test.i64", -(2**63))
    writer.add_float32("test.f32", 0.1)
    writer.add_float64("test.f64", 0.1)
    writer.add_bool("test.true", True)
    writer.add_string("test.text", "Grüße, 世界")
    for kind, values in {
        "uint8": [0, 255], "int8": [-128, 127], "uint16": [0, 65535], "int16": [-32768, 32767], "uint32": [0, 2**32 - 1],
        "int32": [-(2**31), 2**31 - 1], "float32": [0.5, -2.0], "bool": [True, False], "uint64": [0, 2**64 - 1],
        "int64": [-(2**63), 2**63 - 1], "float64": [0.1, -1e300], "string": ["", "Ġthe"],
    }.items():  # fmt: skip
        element = gguf.GGUFValueType[kind.upper()]
        writer.add_key_value(f"list.{kind}", values, gguf.GGUFValueType.ARRAY, sub_type=element)
    writer.add_tensor("one", np.array([1.5], np.float32))
    writer.add_tensor("two", np.array([2.5, 3.5], np.float16))


def write(name, add, **options):
    writer = gguf.GGUFWriter(TARGET / name, "llama", **options)
    add(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    TARGET.mkdir(exist_ok=True)
    write("split.gguf", add_model, split_max_tensors=5)
    write("whole.gguf", add_model)
    write("aligned.gguf", add_every_type)
    gguf.gguf_writer.GGUF_VERSION = 2
    write("v2.gguf", add_model)
