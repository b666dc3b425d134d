#!/usr/bin/env bash
# The table of methods in docs/benchmarks.md: each of the ten trained for one epoch of ARC-Easy from the
# same seed, then evaluated.
#
#     Tests/Scripts/methods_table.sh MODEL ARC_EASY_FOLDER OUTPUT_FOLDER
#
# MODEL is SmolLM2-135M-Instruct as fetch_smollm2.sh gets it; ARC_EASY_FOLDER holds train.json and test.json of
# LLM-Adapters. TSPEFT names the program, RATE the learning rate, S the thresholds' step, SEED the seed. A step whose
# result stands is not done again.
set -euo pipefail
model=$1 data=$2 out=$3
tspeft=${TSPEFT:-.build/release/tspeft}
rate=${RATE:-1e-3} s=${S:-1e-4} seed=${SEED:-0}
mkdir -p "$out"
for method in lora ts-lora dora ts-dora adalora ts-adalora adapter ts-adapter vera ts-vera; do
    case $method in
    # A tenth of the run before the first rank goes, another with the ranks fixed.
    *adalora) options=(--tinit 14 --tfinal 14 --delta-t 5) ;;
    *vera) options=(--rank 256) ;;
    *) options=() ;;
    esac
    [ -d "$out/new-$method" ] ||
        "$tspeft" inject "$model" --preset csr --method "$method" "${options[@]}" --seed "$seed" -o "$out/new-$method"
    [ -f "$out/$method/adapter_config.json" ] ||
        "$tspeft" train "$model" --adapter "$out/new-$method" --data "$data/train.json" -o "$out/$method" --preset csr \
            --dtype bf16 --epochs 1 --learning-rate "$rate" --s "$s" --seed "$seed" \
            >"$out/$method.train.txt" 2>"$out/$method.train.log"
    [ -s "$out/$method.eval.json" ] || {
        "$tspeft" eval "$model" --adapter "$out/$method" --data "$data/test.json" --dtype bf16 --json \
            >"$out/$method.eval.tmp"
        mv "$out/$method.eval.tmp" "$out/$method.eval.json"
    }
done
for method in lora ts-lora dora ts-dora adalora ts-adalora adapter ts-adapter vera ts-vera; do
    echo "$method: $(head -1 "$out/$method.train.txt")"
    grep -E '"(accuracy|mean_sparsity|loss)"' "$out/$method.eval.json"
done
