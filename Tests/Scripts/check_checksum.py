#!/usr/bin/env python3
"""Reproduces `tspeft inspect --checksum` for a .safetensors file or the shards of a folder, from the description in
`tspeft inspect --help` alone. Python's standard library only.

    python Tests/Scripts/check_checksum.py model.safetensors
    .build/debug/tspeft inspect model.safetensors --checksum --json
"""
import hashlib
import json
import pathlib
import sys

path = pathlib.Path(sys.argv[1])
digests = {}
for file in sorted(path.glob("*.safetensors")) if path.is_dir() else [path]:
    data = file.read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    for name, entry in json.loads(data[8:end]).items():
        if name == "__metadata__":
            continue
        begin, stop = entry["data_offsets"]
        line = f"{entry['dtype']} {','.join(map(str, entry['shape']))}\n"
        digests[name] = hashlib.sha256(line.encode() + data[end + begin : end + stop]).hexdigest()
total = hashlib.sha256()
for name in sorted(digests, key=str.encode):
    plain = name.replace("\\", "\\\\").replace("\n", "\\n")
    total.update(f"{'' if plain == name else chr(92)}{digests[name]}  {plain}\n".encode())
for name, digest in digests.items():
    print(f"{digest}  {name}")
print(total.hexdigest())
