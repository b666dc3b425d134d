"""Writes Fixtures/formats with other programs' writers: the safetensors, huggingface_hub and gguf packages.

- blocks.gguf: a tensor of every block format that tspeft decodes, random blocks and edge cases (zero, denormal, largest and
  negative scales), plain types, and one Q4_K tensor; blocks.safetensors: the same tensors decoded to F32 by gguf.
- metadata.gguf: a metadata pair of every type, alignment 64.
- dtypes.safetensors: a tensor of every type that torch and safetensors share, a scalar, empty tensors, metadata.
- sharded/: three shards and an index.

Needs: gguf, huggingface_hub, numpy, safetensors, torch. Run from the package's root:
python Tests/Scripts/make_format_fixtures.py
"""

import pathlib

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Type
from huggingface_hub import save_torch_state_dict
from safetensors.numpy import save_file as save_numpy
from safetensors.torch import save_file

TARGET = pathlib.Path("Fixtures/formats")

# Formats and how many half-precision numbers (scale, minimum) begin a block.
BLOCKS = {Type.Q8_0: 1, Type.Q4_0: 1, Type.Q4_1: 2, Type.Q5_0: 1, Type.Q5_1: 2}

# Zeros, the smallest and largest denormals, the smallest normal number, 1, the largest number, and their negatives.
EDGE_SCALES = [0x0000, 0x0001, 0x03FF, 0x0400, 0x3C00, 0x7BFF]
EDGE_SCALES += [0x8000 | bits for bits in EDGE_SCALES]


def random_blocks(random, kind, rows, blocks_per_row):
    _, size = gguf.GGML_QUANT_SIZES[kind]
    count = rows * blocks_per_row
    blocks = random.integers(0, 256, (count, size), dtype=np.uint8)
    halves = np.clip(random.normal(0, 0.05, (count, BLOCKS[kind])), -60000, 60000).astype(np.float16)
    blocks[:, : 2 * BLOCKS[kind]] = halves.view(np.uint8).reshape(count, -1)
    for number, bits in enumerate(EDGE_SCALES):
        for half in range(BLOCKS[kind]):
            edge = EDGE_SCALES[(number + 5 * half) % len(EDGE_SCALES)]
            blocks[number, 2 * half : 2 * half + 2] = np.array([edge], np.uint16).view(np.uint8)
    blocks[-1, 2 * BLOCKS[kind] :] = 0x00
    blocks[-2, 2 * BLOCKS[kind] :] = 0xFF
    blocks[-3, 2 * BLOCKS[kind] :] = 0x80
    return blocks.reshape(rows, blocks_per_row * size)


def write_blocks():
    random = np.random.default_rng(20251116)
    writer = gguf.GGUFWriter(TARGET / "blocks.gguf", "none")
    expected = {}
    for kind in BLOCKS:
        data = random_blocks(random, kind, rows=6, blocks_per_row=5)
        writer.add_tensor(kind.name, data, raw_dtype=kind)
        expected[kind.name] = gguf.quants.dequantize(data, kind)
    numbers = random.normal(0, 1, (3, 7)).astype(np.float32)
    for kind in (Type.F32, Type.F16, Type.BF16):
        data = gguf.quants.quantize(numbers, kind)
        writer.add_tensor(kind.name, data, raw_dtype=kind)
        expected[kind.name] = gguf.quants.dequantize(data, kind)
    writer.add_tensor("cube", np.arange(24, dtype=np.float32).reshape(2, 3, 4))
    expected["cube"] = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    writer.add_tensor("Q4_K", random.integers(0, 256, (2, 144), dtype=np.uint8), raw_dtype=Type.Q4_K)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    save_numpy(expected, TARGET / "blocks.safetensors")


def write_metadata():
    writer = gguf.GGUFWriter(TARGET / "metadata.gguf", "none")
    writer.add_custom_alignment(64)
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
    writer.add_bool("test.false", False)
    writer.add_string("test.text", "Grüße, 世界")
    writer.add_array("test.strings", ["", "a", "Ġthe", "\n"])
    writer.add_array("test.floats", [0.5, -2.0])
    writer.add_array("test.integers", [1, -2, 3])
    writer.add_array("test.flags", [True, False])
    writer.add_tensor("one", np.array([1.5], np.float32))
    writer.add_tensor("two", np.array([2.5, 3.5], np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_dtypes():
    kinds = {
        "BOOL": torch.bool, "U8": torch.uint8, "I8": torch.int8, "F8_E4M3": torch.float8_e4m3fn,
        "F8_E5M2": torch.float8_e5m2, "I16": torch.int16, "U16": torch.uint16, "F16": torch.float16,
        "BF16": torch.bfloat16, "I32": torch.int32, "U32": torch.uint32, "F32": torch.float32, "F64": torch.float64,
        "I64": torch.int64, "U64": torch.uint64,
    }  # fmt: skip
    tensors = {name: torch.tensor([[0, 1, 2], [3, 4, 5]]).to(kind) for name, kind in kinds.items()}
    tensors["scalar"] = torch.tensor(2.5)
    tensors["empty"] = torch.zeros(0, 4)
    tensors["also.empty"] = torch.zeros(3, 0, dtype=torch.bfloat16)
    save_file(tensors, TARGET / "dtypes.safetensors", metadata={"format": "pt", "made by": "safetensors"})


def write_shards():
    folder = TARGET / "sharded"
    folder.mkdir(exist_ok=True)
    tensors = {f"part.{index}": torch.full((4, 4), float(index)).to(torch.bfloat16) for index in range(6)}
    save_torch_state_dict(tensors, folder, max_shard_size=64)


if __name__ == "__main__":
    TARGET.mkdir(exist_ok=True)
    write_blocks()
    write_metadata()
    write_dtypes()
    write_shards()
