#!/usr/bin/env bash
# The table in docs/benchmarks.md: dense LoRA, TS-LoRA, pruned and retrained, and merged on ARC-Easy, with the paper's
# CSR settings.
#
#     Tests/Scripts/arc_easy_table.sh MODEL ARC_EASY_FOLDER OUTPUT_FOLDER
#
# MODEL is SmolLM2-135M-Instruct as fetch_smollm2.sh gets it; ARC_EASY_FOLDER holds train.json and test.json of LLM-Adapters.
# TSPEFT names the program, S and LAMBDA the threshold's settings, SEED the seed. A step whose result stands is not done again.
set -euo pipefail
model=$1 data=$2 out=$3
tspeft=${TSPEFT:-.build/release/tspeft}
s=${S:-4e-5} lambda=${LAMBDA:-4.5e-5} seed=${SEED:-0}
mkdir -p "$out"

train() { # NAME ADAPTER
    [ -f "$out/$1/adapter_config.json" ] && return
    "$tspeft" train "$model" --adapter "$out/$2" --data "$data/train.json" -o "$out/$1" --preset csr --dtype bf16 \
        --s "$s" --lambda "$lambda" --seed "$seed" --save-every 100 >"$out/$1.train.txt" 2>"$out/$1.train.log"
}
evaluate() { # NAME BASE [--adapter DIR]
    [ -s "$out/$1.eval.json" ] && return
    "$tspeft" eval "${@:2}" --data "$data/test.json" --dtype bf16 --json >"$out/$1.eval.tmp"
    mv "$out/$1.eval.tmp" "$out/$1.eval.json"
}
inject() { # NAME OPTIONS
    [ -d "$out/$1" ] || "$tspeft" inject "$model" --preset csr --seed "$seed" -o "$out/$1" "${@:2}"
}

inject new-ts --method ts-lora
train ts-lora new-ts
evaluate ts-lora "$model" --adapter "$out/ts-lora"
inject new-dense --method lora
train lora new-dense
evaluate lora "$model" --adapter "$out/lora"
[ -f "$out/kept.json" ] || "$tspeft" rank-modules "$out/ts-lora" --keep 50% -o "$out/kept.json" >"$out/ranking.txt"
inject new-pruned --method ts-lora --select "$out/kept.json"
train pruned new-pruned
evaluate pruned "$model" --adapter "$out/pruned"
[ -d "$out/merged" ] || "$tspeft" merge "$model" --adapter "$out/ts-lora" -o "$out/merged" >"$out/merge.txt"
evaluate merged "$out/merged"
evaluate base "$model"
grep -H -E '"(accuracy|mean_sparsity|loss)"' "$out"/*.eval.json
