"""The table in docs/results-nlu.md: LoRA, AdaLoRA and parallel adapters with and without gates on SST-2 and CoLA, in the
form of the paper's Table 3, on all-MiniLM-L6-v2.

    python3 Tests/Scripts/nlu_table.py MODEL GLUE_FOLDER OUTPUT_FOLDER [--tasks sst-2 cola] [--seeds 5]

MODEL is all-MiniLM-L6-v2 as fetch_minilm.sh gets it; GLUE_FOLDER holds CoLA and SST-2. TSPEFT names the program. Needs no
package. A step whose result stands is not done again, so that the run may be stopped and started; it is some hours.

SST-2 is trained on a fixed sample of 10,000 phrases for one epoch and scored on test.tsv, which is GLUE's development
set; CoLA is trained for four epochs and scored on dev.tsv. lambda and s of a gated method are chosen, with the first
seed, on a twentieth of the training data that the chosen runs do not train on (of SST-2 all phrases of a sentence fall
on one side); what is reported is trained on all of it.
"""

import argparse
import json
import os
import pathlib
import random
import statistics
import subprocess

TASKS = {
    "sst-2": {"preset": "nlu-sst-2", "epochs": 1, "metric": "accuracy", "labels": "negative,positive"},
    "cola": {"preset": "nlu-cola", "epochs": 4, "metric": "matthews", "labels": "unacceptable,acceptable"},
}
METHODS = ["lora", "adalora", "adapter"]
# At most twelve pairs: what the preset has, and what a short run needs to move a threshold at all.
LAMBDAS = [None, 1e-4, 1e-3]
STEP_SIZES = [None, 1e-3, 1e-2]
SAMPLE = 10_000
LEARNING_RATE = "1e-3"


def write(path, text):
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.rename(path)


def prepare(task, glue, folder):
    """train.tsv, and fit.tsv and choose.tsv that it is split into; where it is scored."""
    if task == "cola":
        lines = (glue / "CoLA" / "train.tsv").read_text(encoding="utf-8").splitlines()
        head, groups, scored = "", [[line] for line in lines], glue / "CoLA" / "dev.tsv"
    else:
        lines = (glue / "SST-2" / "train.tsv").read_text(encoding="utf-8").splitlines()
        head, rows, scored = lines[0] + "\n", lines[1:], glue / "SST-2" / "test.tsv"
        random.Random(14).shuffle(rows)
        groups = sentences(rows[:SAMPLE])
    if not (folder / "choose.tsv").exists():
        shuffled = list(groups)
        random.Random(15).shuffle(shuffled)
        wanted = sum(map(len, groups)) // 20
        held, kept = [], []
        for group in shuffled:
            (held if len(held) < wanted else kept).extend(group)
        everything = [line for group in groups for line in group]
        for name, part in [("train", everything), ("fit", kept), ("choose", held)]:
            write(folder / f"{name}.tsv", head + "".join(line + "\n" for line in part))
    return scored


def sentences(rows):
    """Phrases by the longest one that they lie in, so that no sentence is on both sides of a split."""
    texts = sorted(rows, key=len, reverse=True)
    groups = []
    for row in texts:
        text = " " + row.split("\t")[0].strip() + " "
        for longest, group in groups:
            if text in longest:
                group.append(row)
                break
        else:
            groups.append((text, [row]))
    return [group for _, group in groups]


def run(command, log):
    with open(log, "w", encoding="utf-8") as file:
        subprocess.run(command, check=True, stdout=file, stderr=subprocess.STDOUT)


def trained(program, model, task, method, seed, data, scored, folder, extra):
    """The measures of one run, made where they are not there."""
    result = folder / "result.json"
    if not result.exists():
        folder.mkdir(parents=True, exist_ok=True)
        facts = TASKS[task]
        train = [
            program, "train", model, "--method", method, "--preset", facts["preset"], "--task", "classify",
            "--labels", facts["labels"], "--data", data, "--epochs", facts["epochs"], "--learning-rate", LEARNING_RATE,
            "--seed", seed, "-o", folder / "tuned", "--save-every", 200, *extra,
        ]
        if (folder / "tuned").exists():
            train.append("--resume")
        if not (folder / "tuned" / "adapter_config.json").exists():
            run([str(part) for part in train], folder / "train.log")
        measured = subprocess.run(
            [program, "eval", model, "--adapter", folder / "tuned", "--data", scored, "--json"],
            check=True, capture_output=True, text=True,
        ).stdout
        write(result, measured)
    return json.loads(result.read_text(encoding="utf-8"))


def settings(pair):
    lambda_, step = pair
    return (["--lambda", str(lambda_)] if lambda_ else []) + (["--s", str(step)] if step else [])


def choose(task, gated, dense_score, attempt):
    """The pair with the most sparsity among those within half a point of the dense method on what is held back; the one
    that scores best where none is."""
    metric = TASKS[task]["metric"]
    tried = [(pair, attempt(pair)) for pair in [(lam, s) for lam in LAMBDAS for s in STEP_SIZES]]
    near = [t for t in tried if (t[1][metric] or 0) >= dense_score - 0.005]
    if near:
        return max(near, key=lambda t: t[1]["mean_sparsity"])[0]
    return max(tried, key=lambda t: t[1][metric] or 0)[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("glue", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    program = os.environ.get("TSPEFT", ".build/release/tspeft")
    rows = []
    for task in options.tasks:
        folder = options.out / task
        folder.mkdir(parents=True, exist_ok=True)
        scored = prepare(task, options.glue, folder)
        metric = TASKS[task]["metric"]

        def attempt(method, seed, data, scored, name, extra=()):
            return trained(program, options.model, task, method, seed, data, scored, folder / name, extra)

        for method in options.methods:
            fit, held = folder / "fit.tsv", folder / "choose.tsv"
            dense = attempt(method, 0, fit, held, f"choose-{method}")[metric] or 0
            gated = f"ts-{method}"
            pair = choose(task, gated, dense, lambda p: attempt(
                gated, 0, fit, held, f"choose-{gated}-{p[0]}-{p[1]}", settings(p)))
            for name, extra in [(method, []), (gated, settings(pair))]:
                results = [attempt(name, seed, folder / "train.tsv", scored, f"{name}-{seed}", extra)
                           for seed in range(options.seeds)]
                values = [100 * (r[metric] or 0) for r in results]
                sparsity = [100 * r["mean_sparsity"] for r in results if "mean_sparsity" in r]
                deviation = statistics.stdev(values) if len(values) > 1 else 0.0
                rows.append(
                    f"| {task} | {name} | {metric} | {statistics.mean(values):.2f} ± {deviation:.2f} | "
                    + (f"{statistics.mean(sparsity):.1f} | {pair[0] or 'preset'} | {pair[1] or 'preset'} |"
                       if sparsity else "- | - | - |"))
                print(rows[-1], flush=True)
    table = "| task | method | metric | % of five seeds | sparsity % | lambda | s |\n|---|---|---|---|---|---|---|\n"
    write(options.out / "table.md", table + "\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
