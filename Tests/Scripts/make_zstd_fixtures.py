"""Writes Fixtures/zstd with the zstd command line tool and Python's tarfile: packed files as other programs write them.

- seekable.safetensors.zst: formats/dtypes.safetensors in frames of 300 bytes without checksums, an empty skippable frame
  after the second, and a seek table without checksums, as the seekable format's specification has it.
- plain.safetensors.zst: the same file as one frame, as `zstd -19` makes it.
- adapter.tspeft.zst: peft/lora in an archive that tarfile wrote, packed by `zstd`.

Made with zstd 1.5.4 and Python 3.11.7. Run from the package's root: python Tests/Scripts/make_zstd_fixtures.py
"""

import io
import pathlib
import struct
import subprocess
import tarfile

SOURCE = pathlib.Path("Fixtures")
TARGET = pathlib.Path("Fixtures/zstd")
PART = 300


def packed(content, *options):
    return subprocess.run(["zstd", "-c", *options], input=content, stdout=subprocess.PIPE, check=True).stdout


def seekable(content):
    frames = []
    for start in range(0, len(content), PART):
        part = content[start : start + PART]
        frames.append((packed(part, "--no-check"), len(part)))
    frames.insert(2, (struct.pack("<II", 0x184D2A53, 0), 0))
    table = b"".join(struct.pack("<II", len(frame), size) for frame, size in frames)
    table += struct.pack("<IBI", len(frames), 0, 0x8F92EAB1)
    return b"".join(frame for frame, _ in frames) + struct.pack("<II", 0x184D2A5E, len(table)) + table


def archive(folder):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path in sorted(folder.iterdir()):
            entry = tarfile.TarInfo(path.name)
            entry.size = path.stat().st_size
            entry.mtime = 1763769600
            entry.uname = entry.gname = "someone"
            with path.open("rb") as file:
                tar.addfile(entry, file)
    return buffer.getvalue()


TARGET.mkdir(exist_ok=True)
dtypes = (SOURCE / "formats/dtypes.safetensors").read_bytes()
(TARGET / "seekable.safetensors.zst").write_bytes(seekable(dtypes))
(TARGET / "plain.safetensors.zst").write_bytes(packed(dtypes, "-19"))
(TARGET / "adapter.tspeft.zst").write_bytes(packed(archive(SOURCE / "peft/lora")))
