#!/usr/bin/env python3
"""Seconds that `tspeft convert --type T` and llama.cpp's own quantizer take for the same GGUF file, alternating in one run.

    python compare_quantizing.py --tspeft PROGRAM --model MODEL.gguf [--rounds 3] [--threads 2] [TYPE...]

MODEL is in BF16, F16 or F32 (`tspeft convert DIR -o model.gguf --type bf16`). Needs llama-cpp-python (made with 0.3.36).
Both write to a scratch folder beside the model's file system; tspeft's seconds include starting the program and the sync
to the disk, llama.cpp's are of `llama_model_quantize` alone, which does not sync.
"""
import argparse
import ctypes
import os
import statistics
import subprocess
import tempfile
import time

import llama_cpp

FILE_TYPES = {"q8_0": 7, "q4_0": 2, "q4_k_m": 15, "q5_k_m": 17, "q6_k": 18, "q2_k": 10, "iq4_nl": 25}

p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
p.add_argument("--tspeft", required=True)
p.add_argument("--model", required=True)
p.add_argument("--rounds", type=int, default=3)
p.add_argument("--threads", type=int, default=os.cpu_count())
p.add_argument("types", nargs="*", default=list(FILE_TYPES))
a = p.parse_args()


def ours(kind, out):
    subprocess.run([a.tspeft, "convert", a.model, "-o", out, "--type", kind, "--threads", str(a.threads)], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def theirs(kind, out):
    options = llama_cpp.llama_model_quantize_default_params()
    options.nthread, options.ftype = a.threads, FILE_TYPES[kind]
    if llama_cpp.llama_model_quantize(a.model.encode(), out.encode(), ctypes.byref(options)) != 0:
        raise SystemExit("llama_model_quantize failed for " + kind)


def quietly(quantize, kind, out):
    """Seconds of one run; llama.cpp writes a line a tensor to stderr."""
    null, saved = os.open(os.devnull, os.O_WRONLY), os.dup(2)
    os.dup2(null, 2)
    try:
        start = time.perf_counter()
        quantize(kind, out)
        seconds = time.perf_counter() - start
    finally:
        os.dup2(saved, 2)
        os.close(null)
        os.close(saved)
    size = os.path.getsize(out)
    os.unlink(out)
    return seconds, size


print(f"{os.path.getsize(a.model) >> 20} MiB, {a.threads} threads, median of {a.rounds} alternating rounds (min to max)")
print("| type | MiB | tspeft s | llama.cpp s | ratio |\n| --- | --- | --- | --- | --- |")
with tempfile.TemporaryDirectory(dir=os.path.dirname(os.path.abspath(a.model))) as folder:
    for kind in a.types:
        runs = {ours: [], theirs: []}
        for _ in range(a.rounds):
            for way in runs:
                runs[way].append(quietly(way, kind, os.path.join(folder, "out.gguf")))
        seconds = {way: [run[0] for run in runs[way]] for way in runs}
        ratio = statistics.median(t / o for o, t in zip(seconds[ours], seconds[theirs]))
        cells = [f"{statistics.median(s):.2f} ({min(s):.2f} to {max(s):.2f})" for s in seconds.values()]
        print(f"| {kind} | {runs[ours][0][1] >> 20} | {cells[0]} | {cells[1]} | {ratio:.1f} |", flush=True)
