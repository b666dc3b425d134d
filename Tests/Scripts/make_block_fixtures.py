"""Writes Fixtures/blocks: what the gguf package and ggml make of blocks, for tspeft's own decoders and encoders.

- decode.gguf: a tensor of every block format, a row for each block: edge cases (zero, denormal, largest, infinite and
  NaN scales; all bits clear, all set), every entry of the codebooks, random blocks; and plain types.
- decode.safetensors: the same decoded to F32 by gguf, or by ggml where gguf has no decoder (Q8_K, Q1_0, Q2_0). Nothing
  decodes Q8_1, a format for intermediate results; its blocks are ggml's, and the values d * q, its definition. The
  blocks of Q8_1 (of 40 bytes, believes gguf; ggml's have 36) and Q2_0 (which gguf does not know) stand here too.
- encode.safetensors: numbers ("input.32" and "input.256", a row for each block) and the bytes that gguf makes of them.
- ggml.json: the root mean square error of ggml_quantize_chunk, without an importance matrix, on normal numbers that
  RandomStream (Sources/TensorCore) gives; the test makes the same numbers.

Made with gguf 0.19.0, numpy 2.4.6, safetensors 0.8.0 and libggml-base of llama-cpp-python 0.3.36 (ggml 0.25.3).
Run from the package's root: python Tests/Scripts/make_block_fixtures.py .../llama_cpp/lib/libggml-base.so
"""

import ctypes
import json
import pathlib
import sys

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type
from gguf import quants
from safetensors.numpy import save_file

TARGET = pathlib.Path("Fixtures/blocks")
Q2_0 = 42  # not in gguf 0.19.0: 64 elements, a half-precision scale and two bits each

# Formats, and where half-precision numbers (scale, minimum) stand in a block.
HALVES = {
    Type.Q4_0: [0], Type.Q4_1: [0, 2], Type.Q5_0: [0], Type.Q5_1: [0, 2], Type.Q8_0: [0],
    Type.Q2_K: [80, 82], Type.Q3_K: [108], Type.Q4_K: [0, 2], Type.Q5_K: [0, 2], Type.Q6_K: [208],
    Type.IQ1_S: [0], Type.IQ1_M: [], Type.IQ2_XXS: [0], Type.IQ2_XS: [0], Type.IQ2_S: [0], Type.IQ3_XXS: [0],
    Type.IQ3_S: [0], Type.IQ4_NL: [0], Type.IQ4_XS: [0], Type.TQ1_0: [52], Type.TQ2_0: [64], Type.MXFP4: [],
    Type.NVFP4: [], Type.Q1_0: [0], Q2_0: [0],
}  # fmt: skip

# Zeros, smallest and largest denormal, largest number, infinity and NaN.
EDGES = [0x0000, 0x8000, 0x0001, 0x83FF, 0x7BFF, 0xFBFF, 0x7C00, 0xFC00, 0x7E00]


class GGML:
    """The functions of libggml-base that are needed here."""

    ROW = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)

    class Traits(ctypes.Structure):
        _fields_ = [
            ("name", ctypes.c_char_p), ("elements", ctypes.c_int64), ("interleave", ctypes.c_int64),
            ("bytes", ctypes.c_size_t), ("quantized", ctypes.c_bool), ("to_float", ctypes.c_void_p),
            ("from_float", ctypes.c_void_p),
        ]  # fmt: skip

    def __init__(self, path):
        self.library = ctypes.CDLL(path)
        self.library.ggml_get_type_traits.restype = ctypes.POINTER(self.Traits)
        self.library.ggml_quantize_chunk.restype = ctypes.c_size_t
        self.library.ggml_quantize_chunk.argtypes = [
            ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64,
            ctypes.c_void_p,
        ]  # fmt: skip
        self.library.ggml_version.restype = ctypes.c_char_p

    def traits(self, kind):
        return self.library.ggml_get_type_traits(int(kind)).contents

    def decode(self, blocks, kind):
        traits = self.traits(kind)
        blocks = np.ascontiguousarray(blocks)
        values = np.empty((blocks.shape[0], blocks.shape[1] // traits.bytes * traits.elements), np.float32)
        self.ROW(traits.to_float)(blocks.ctypes.data, values.ctypes.data, values.size)
        return values

    def encode_as(self, name, values, elements, size):
        """Rows for which ggml_quantize_chunk is not meant, through the function of that format, which leaves bytes of
        a block of zeros as they are."""
        values = np.ascontiguousarray(values, np.float32)
        blocks = np.zeros((values.shape[0], values.shape[1] // elements * size), np.uint8)
        self.row_function(f"quantize_row_{name}_ref")(values.ctypes.data, blocks.ctypes.data, values.size)
        return blocks

    def row_function(self, name):
        function = getattr(self.library, name)
        function.restype, function.argtypes = None, [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
        return function

    def encode(self, values, kind):
        traits = self.traits(kind)
        values = np.ascontiguousarray(values, np.float32)
        rows, width = values.shape
        blocks = np.empty((rows, width // traits.elements * traits.bytes), np.uint8)
        self.library.ggml_quantize_chunk(int(kind), values.ctypes.data, blocks.ctypes.data, 0, rows, width, None)
        return blocks


def with_scale(block, kind, bits, other=None):
    """A copy of a block with every half-precision number in it replaced."""
    block = block.copy()
    if kind == Type.IQ1_M:
        for quarter in range(4):
            place = 49 + 2 * quarter
            block[place] = (block[place] & 0x0F) | (bits >> 4 * quarter & 0x0F) << 4
    for number, place in enumerate(HALVES.get(kind, [])):
        chosen = bits if number == 0 or other is None else other
        block[place : place + 2] = np.array([chosen], "<u2").view(np.uint8)
    return block


def ordinary_scale(random):
    return int(np.array([random.normal(0, 0.05)], np.float16).view(np.uint16)[0])


def codebook_blocks(kind, random):
    """Blocks that go through every entry of a format's codebook, with random signs and scales."""
    entries, width = quants._type_traits[kind].grid_shape
    size = gguf.GGML_QUANT_SIZES[kind][1]
    per_block = 256 // width
    blocks = random.integers(0, 256, (entries // per_block, size), dtype=np.uint8)
    for start, block in zip(range(0, entries, per_block), blocks):
        index = np.arange(start, start + per_block)
        high = (index >> 8).astype(np.uint8)
        if kind == Type.IQ2_XXS:
            block[2:66].reshape(8, 8)[:, :4] = index.reshape(8, 4)
        elif kind == Type.IQ2_XS:
            block[2:66] = (index | random.integers(0, 128, per_block) << 9).astype("<u2").view(np.uint8)
        elif kind == Type.IQ2_S:
            block[2:34] = index & 255
            block[66:74] = np.sum(high.reshape(8, 4) << np.array([0, 2, 4, 6]), axis=1)
        elif kind == Type.IQ3_XXS:
            block[2:66] = index
        elif kind == Type.IQ3_S:
            block[2:66] = index & 255
            block[66:74] = np.packbits(high.reshape(8, 8), axis=1, bitorder="little").reshape(-1)
        elif kind == Type.IQ1_S:
            block[2:34] = index & 255
            words = np.sum(high.astype(np.uint16).reshape(8, 4) << np.array([0, 3, 6, 9]), axis=1)
            words |= random.integers(0, 16, 8) << 12
            block[34:50] = words.astype("<u2").view(np.uint8)
    return [with_scale(block, kind, ordinary_scale(random)) for block in blocks]


def blocks_of(kind, size, random):
    fresh = lambda: random.integers(0, 256, size, dtype=np.uint8)
    blocks = [with_scale(fresh(), kind, ordinary_scale(random), ordinary_scale(random)) for _ in range(4)]
    blocks += [with_scale(fresh(), kind, bits, EDGES[(place + 4) % len(EDGES)]) for place, bits in enumerate(EDGES)]
    blocks += [with_scale(np.full(size, byte, np.uint8), kind, 0x3C00) for byte in (0x00, 0x80, 0x7F, 0xFF)]
    blocks += [np.full(size, byte, np.uint8) for byte in (0x00, 0xFF)]
    blocks += [fresh() for _ in range(3)]
    if kind == Type.MXFP4:
        for exponent in (0, 1, 2, 127, 254, 255):
            blocks.append(fresh())
            blocks[-1][0] = exponent
    if kind == Type.NVFP4:
        for start in range(0, 256, 4):
            blocks.append(fresh())
            blocks[-1][:4] = np.arange(start, start + 4)
    if kind in (Type.IQ2_XXS, Type.IQ2_XS, Type.IQ2_S, Type.IQ3_XXS, Type.IQ3_S, Type.IQ1_S):
        blocks += codebook_blocks(kind, random)
    return np.stack(blocks)


def write_decoding(ggml):
    random = np.random.default_rng(20251122)
    writer = gguf.GGUFWriter(TARGET / "decode.gguf", "none")
    expected = {}

    def add(name, data, kind, values):
        writer.add_tensor(name, data, raw_dtype=kind)
        expected[name] = np.ascontiguousarray(values, np.float32)

    for kind in HALVES:
        traits = ggml.traits(kind)
        data = blocks_of(kind, traits.bytes, random)
        from_ggml = ggml.decode(data, kind)
        if kind in quants._type_traits:
            values = quants.dequantize(data, kind)
            same = (values.view(np.uint32) == from_ggml.view(np.uint32)) | np.isnan(values) & np.isnan(from_ggml)
            print(traits.name.decode(), len(data), "blocks;", int((~same).sum()), "values differ between gguf and ggml")
        else:
            values = from_ggml
            print(traits.name.decode(), len(data), "blocks; ggml's values")
        if isinstance(kind, Type):
            add(kind.name, data, kind, values)
        else:
            expected["Q2_0"], expected["Q2_0.blocks"] = values, data
    numbers = np.concatenate([random.normal(0, size, (2, 512)) for size in (1e-3, 1, 1e3)]).astype(np.float32)
    numbers[-1] = 0
    data = ggml.encode_as("q8_K", numbers, 256, 292)
    values = np.empty_like(numbers)
    ggml.row_function("dequantize_row_q8_K")(data.ctypes.data, values.ctypes.data, values.size)
    add("Q8_K", data, Type.Q8_K, values)
    data = ggml.encode_as("q8_1", numbers[:, :64], 32, 36)
    blocks = data.reshape(-1, 36)
    values = blocks[:, :2].copy().view(np.float16).astype(np.float32) * blocks[:, 4:].view(np.int8).astype(np.float32)
    expected["Q8_1"], expected["Q8_1.blocks"] = values.reshape(6, 64), data

    numbers = random.normal(0, 1, (3, 7))
    for kind, floats in {Type.F32: np.float32, Type.F16: np.float16, Type.F64: np.float64}.items():
        add(kind.name, numbers.astype(floats), None, numbers.astype(floats).astype(np.float32))
    data = quants.quantize(numbers.astype(np.float32), Type.BF16)
    add("BF16", data, Type.BF16, quants.dequantize(data, Type.BF16))
    for kind in (Type.I8, Type.I16, Type.I32, Type.I64):
        limits = np.iinfo(kind.name.lower().replace("i", "int"))
        data = random.integers(limits.min, limits.max, (3, 7), dtype=limits.dtype, endpoint=True)
        data[0, :4] = [0, -1, limits.min, limits.max]
        add(kind.name, data, None, data.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    save_file(expected, TARGET / "decode.safetensors")


def rows_of_32(random):
    """Numbers of several sizes, and what makes encoders stumble: ties, signs, ranges, too small scales."""
    rows = [random.normal(0, size, 32) for size in (1, 0.02, 1e-4, 3e-6, 1e-7, 1e-12, 1e-30, 1e3, 3e4)]
    rows += [random.standard_t(2, 32) for _ in range(4)]
    rows += [np.zeros(32), np.full(32, -0.0), np.full(32, 0.25), np.full(32, -3.0), np.abs(random.normal(0, 1, 32))]
    rows += [-np.abs(random.normal(0, 1, 32)), np.arange(32) - 15.5, np.arange(-16, 16), np.arange(16, -16, -1)]
    rows += [np.where(np.arange(32) % 3 == 0, 1, -1), np.where(np.arange(32) % 3 == 1, 2, -2)]
    # Halves between two steps, for scales that are powers of two.
    rows += [np.append((np.arange(31) - 15) / 2, -8), np.append((np.arange(31) - 15) / 2, 8)]
    rows += [np.append(np.arange(31) / 2, 15), np.append(np.arange(31) - 15.5, -16)]
    rows += [np.append(np.arange(31) - 63.5, 127)]
    # Next to a power of two, where a logarithm rounds up.
    below = [np.nextafter(np.float32(2.0**power), np.float32(0)) for power in (-20, -5, 0, 1, 3, 6, 12)]
    rows += [np.append(random.normal(0, 0.3, 31) * top, top) for top in below]
    rows += [np.append(random.normal(0, 0.3, 31) * 2.0**power, -(2.0**power)) for power in (-20, 0, 12)]
    return np.array(rows, np.float32)


def rows_of_256(random):
    rows = [random.normal(0, size, 256) for size in (1, 0.02, 1e-4, 1e-7, 1e-30, 1e4)]
    rows += [random.standard_t(2, 256), np.zeros(256), np.full(256, 0.5), random.integers(-1, 2, 256) * 0.75]
    rows += [np.arange(-128, 128) / 128, random.integers(-4, 5, 256) / 4]
    return np.array(rows, np.float32)


def write_encoding(ggml):
    random = np.random.default_rng(20251123)
    tensors = {"input.32": rows_of_32(random), "input.256": rows_of_256(random)}
    for kind in (Type.Q4_0, Type.Q4_1, Type.Q5_0, Type.Q5_1, Type.Q8_0, Type.MXFP4, Type.TQ1_0, Type.TQ2_0):
        values = tensors[f"input.{gguf.GGML_QUANT_SIZES[kind][0]}"]
        tensors[kind.name] = quants.quantize(values, kind)
        different = int((tensors[kind.name] != ggml.encode(values, kind)).any(axis=1).sum())
        print(kind.name, len(values), "rows;", different, "differ between gguf and ggml")
    save_file(tensors, TARGET / "encode.safetensors")


def even_numbers(seed, count):
    """Numbers in [0, 1), as RandomStream gives them."""
    with np.errstate(over="ignore"):
        golden = np.uint64(0x9E3779B97F4A7C15)

        def mix(z):
            z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            return z ^ (z >> np.uint64(31))

        draws = mix(mix(np.uint64(seed) + golden) + np.arange(1, count + 1, dtype=np.uint64) * golden)
    return (draws >> np.uint64(11)).astype(np.float64) * 2.0**-53


def normal_numbers(seed, count):
    """Pairs of RandomStream's uniform numbers through the Box-Muller transform, as BlockEncodingTests makes them."""
    uniform = even_numbers(seed, count)
    radius = np.sqrt(-2 * np.log(1 - uniform[0::2]))
    angle = 2 * np.pi * uniform[1::2]
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).reshape(-1).astype(np.float32)


def write_errors(ggml):
    seed, rows, width = 4, 32, 1024
    values = normal_numbers(seed, rows * width).reshape(rows, width)
    errors = {}
    for kind in (Type.Q2_K, Type.Q3_K, Type.Q4_K, Type.Q5_K, Type.Q6_K, Type.IQ4_NL):
        decoded = quants.dequantize(ggml.encode(values, kind), kind)
        errors[kind.name] = float(np.sqrt(np.mean((decoded.astype(np.float64) - values) ** 2)))
    record = {
        "ggml": ggml.library.ggml_version().decode(), "seed": seed, "count": rows * width,
        "first": [float(value) for value in values[0, :4]], "rms": errors,
    }  # fmt: skip
    (TARGET / "ggml.json").write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    TARGET.mkdir(exist_ok=True)
    library = GGML(sys.argv[1])
    write_decoding(library)
    write_encoding(library)
    write_errors(library)
