"""Writes Fixtures/safetensors: which files the safetensors package takes, and files that it wrote itself.

- cases.json: small files in base64, sound, odd and broken, each with whether safetensors reads it ("error" says why not).
- written/*.safetensors: files of safetensors' writers for torch and numpy: no tensors, scalars, empty tensors, names in any
  script, metadata, unsorted types, every type of torch.

Made with safetensors 0.8.0, torch 2.15.0, numpy 2.4.6. Run from the package's root:
python Tests/Scripts/make_safetensors_cases.py
"""

import base64
import json
import pathlib
import struct

import numpy as np
import safetensors
import torch
from safetensors.numpy import save_file as save_numpy
from safetensors.torch import save_file

TARGET = pathlib.Path("Fixtures/safetensors")


def entry(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def whole(header, data=b"", length=None):
    if not isinstance(header, bytes):
        header = (header if isinstance(header, str) else json.dumps(header)).encode()
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def cases():
    one = entry("U8", [1], 0, 1)
    text = json.dumps(one)
    yield "no tensors", whole({})
    yield "one tensor", whole({"a": one}, b"1")
    yield "spaces after the header", whole(json.dumps({"a": one}) + "     ", b"1")
    yield "line ends in the header", whole(json.dumps({"a": one}, indent=2) + "\n\t\r", b"1")
    yield "space before the header", whole(" " + json.dumps({"a": one}), b"1")
    yield "unaligned data", whole({"a": entry("F64", [2], 0, 16)}, bytes(16))
    yield "odd place", whole({"a": entry("U8", [3], 0, 3), "b": entry("F64", [1], 3, 11)}, bytes(11))
    yield "tensors in any order", whole({"b": entry("U8", [2], 1, 3), "a": one}, b"123")
    yield "scalar", whole({"a": entry("F32", [], 0, 4)}, bytes(4))
    yield "empty tensor", whole({"a": entry("F32", [0], 0, 0)})
    yield "empty tensor of many axes", whole({"a": entry("F32", [3, 0, 2], 0, 0)})
    yield "empty tensors among others", whole(
        {"z": entry("F32", [0], 0, 0), "a": one, "e": entry("F32", [0], 1, 1), "b": entry("U8", [1], 1, 2)}, b"12")
    yield "empty tensor in the middle of another", whole({"a": entry("U8", [2], 0, 2), "b": entry("U8", [0], 1, 1)}, b"12")
    yield "empty tensor behind the end", whole({"a": one, "b": entry("U8", [0], 9, 9)}, b"1")
    yield "many axes", whole({"a": entry("U8", [1] * 64, 0, 1)}, b"1")
    yield "empty name", whole({"": one}, b"1")
    yield "name in any script", whole(json.dumps({"Gewicht.é.权重.😀": one}, ensure_ascii=False), b"1")
    yield "name with escapes", whole('{"a\\u0000\\n\\"\\ud83d\\ude00": ' + text + "}", b"1")
    yield "half of a surrogate pair", whole('{"\\ud800": ' + text + "}", b"1")
    yield "name that is not UTF-8", whole(b'{"\xff": ' + text.encode() + b"}", b"1")
    yield "raw control character", whole('{"a\n": ' + text + "}", b"1")
    yield "metadata", whole({"__metadata__": {"format": "pt", "": ""}, "a": one}, b"1")
    yield "metadata behind", whole({"a": one, "__metadata__": {"format": "pt"}}, b"1")
    yield "no metadata inside", whole({"__metadata__": {}, "a": one}, b"1")
    yield "metadata null", whole({"__metadata__": None, "a": one}, b"1")
    yield "metadata that is a number", whole({"__metadata__": {"a": 1}, "a": one}, b"1")
    yield "metadata that is a list", whole({"__metadata__": ["a"], "a": one}, b"1")
    yield "metadata within metadata", whole({"__metadata__": {"a": {"b": "c"}}, "a": one}, b"1")
    yield "metadata key twice", whole('{"__metadata__": {"a": "1", "a": "2"}, "b": ' + text + "}", b"1")
    yield "metadata twice", whole('{"__metadata__": {}, "__metadata__": {}, "b": ' + text + "}", b"1")
    yield "name twice", whole('{"a": %s, "a": %s}' % (text, text), b"1")
    yield "dtype twice", whole('{"a": {"dtype": "U8", "dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}', b"1")
    yield "further key", whole({"a": {**one, "more": 1}}, b"1")
    for key in one:
        yield "without " + key, whole({"a": {name: value for name, value in one.items() if name != key}}, b"1")
    for dtype in ["u8", "Q4", "", 1, None]:
        yield f"dtype {dtype!r}", whole({"a": entry(dtype, [1], 0, 1)}, b"1")
    for shape in [[-1], [1.0], [1.5], ["1"], 1, None, [None], [[1]], [2**64], [True]]:
        yield f"shape {shape}", whole({"a": entry("U8", shape, 0, 1)}, b"1")
    for begin, end in [(1, 0), (0, 2), (-1, 0), (0.0, 1.0), ("0", "1"), (2**63, 2**63 + 1), (2**64, 2**64 + 1)]:
        yield f"offsets {begin} to {end}", whole({"a": entry("U8", [1], begin, end)}, b"1")
    yield "one offset", whole({"a": {**one, "data_offsets": [0]}}, b"1")
    yield "three offsets", whole({"a": {**one, "data_offsets": [0, 1, 1]}}, b"1")
    yield "hole at the start", whole({"a": entry("U8", [1], 1, 2)}, b"12")
    yield "hole between", whole({"a": one, "b": entry("U8", [1], 2, 3)}, b"123")
    yield "overlap", whole({"a": entry("U8", [2], 0, 2), "b": entry("U8", [2], 1, 3)}, b"123")
    yield "one place for two", whole({"a": one, "b": one}, b"1")
    yield "trailing byte", whole({"a": one}, b"12")
    yield "trailing bytes and no tensors", whole({}, b"1")
    yield "missing byte", whole({"a": entry("U8", [2], 0, 2)}, b"1")
    yield "size beside shape", whole({"a": entry("F32", [2], 0, 4)}, bytes(4))
    yield "elements beyond 64 bits", whole({"a": entry("U8", [2**32, 2**32], 0, 0)})
    yield "bytes beyond 64 bits", whole({"a": entry("F64", [2**61], 0, 0)})
    yield "elements beyond 64 bits but for a zero", whole({"a": entry("U8", [2**32, 2**32, 0], 0, 0)})
    yield "nothing", b""
    yield "half a length", b"\1\0\0\0"
    yield "length 0", whole("")
    yield "length 0 and bytes", whole("", b"{}")
    yield "length 1", whole("{")
    yield "length beyond the file", whole({}, length=3)
    for bits in (27, 31, 32, 62, 63):
        yield f"length 2^{bits}", whole({}, length=2**bits)
    yield "length 2^64 - 1", whole({}, length=2**64 - 1)
    for header in ["[]", "null", "7", '""', "{", "{}}", "{} x", '{"a":}', "{'a':1}", '{"a":1}', '{"a":null}', '{"a":[]}']:
        yield f"header {header}", whole(header)
    yield "byte order mark", whole(b"\xef\xbb\xbf{}")
    yield "comma at the end", whole('{"a": ' + text + ",}", b"1")
    yield "number with a leading 0", whole('{"a": {"dtype": "U8", "shape": [01], "data_offsets": [0, 1]}}', b"1")
    yield "number with an exponent", whole('{"a": {"dtype": "U8", "shape": [1e0], "data_offsets": [0, 1]}}', b"1")
    yield "minus 0", whole('{"a": {"dtype": "U8", "shape": [1], "data_offsets": [-0, 1]}}', b"1")
    for dtype in "BOOL U8 I8 F8_E5M2 F8_E4M3 F8_E8M0 F8_E4M3FNUZ F8_E5M2FNUZ I16 U16 F16 BF16 I32 U32 F32 F64 I64 U64 C64".split():
        size = {"8": 1, "6": 2, "2": 4, "4": 8}[dtype.split("_")[0][-1]] if dtype != "BOOL" else 1
        yield "dtype " + dtype, whole({"a": entry(dtype, [3], 0, 3 * size)}, bytes(3 * size))
    for dtype, bits in (("F4", 4), ("F6_E2M3", 6), ("F6_E3M2", 6)):
        for count in (1, 2, 3, 4):
            size = (count * bits + 7) // 8
            yield f"{count} of {dtype}", whole({"a": entry(dtype, [count], 0, size)}, bytes(size))


def main():
    (TARGET / "written").mkdir(parents=True, exist_ok=True)
    found = []
    for name, data in cases():
        case = {"name": name, "file": base64.b64encode(data).decode()}
        try:
            safetensors.deserialize(data)
            case["accepted"] = True
        except Exception as error:
            case["accepted"], case["error"] = False, str(error)
        found.append(case)
    lines = ",\n".join("  " + json.dumps(case) for case in found)
    (TARGET / "cases.json").write_text('{"safetensors": "%s", "cases": [\n%s\n]}\n' % (safetensors.__version__, lines))

    written = TARGET / "written"
    save_numpy({}, written / "nothing.safetensors")
    save_numpy({}, written / "metadata-only.safetensors", {"format": "np", "é": "权重"})
    save_numpy(
        {"scalar": np.array(2.5, np.float32), "empty": np.zeros((0, 4), np.float16), "wide": np.zeros((3, 0, 2))},
        written / "empty.safetensors")
    names = ["", "a", "a.b", "Gewicht é", "权重", "😀", 'quote"\\', "new\nline", "\u0000", "x" * 300]
    save_numpy({name: np.array([place], np.int32) for place, name in enumerate(names)}, written / "names.safetensors")
    types = [t for t in safetensors.torch._TYPES.values()]
    save_file(
        {str(t).split(".")[1]: torch.arange(3).to(t) for t in types}, written / "types.safetensors", {"format": "pt"})


if __name__ == "__main__":
    main()
