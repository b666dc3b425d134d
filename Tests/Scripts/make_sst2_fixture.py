#!/usr/bin/env python3
"""Makes Fixtures/sst2 from the TSV files of GLUE's SST-2.

    make_sst2_fixture.py FOLDER_WITH_TRAIN_AND_TEST_TSV OUTPUT_FOLDER

train.tsv holds labelled phrases, test.tsv the 872 sentences of the public development set (GLUE's own test labels are
secret). Writes JSON lines: train.json, 6000 random phrases of at least four words; dev.json, 200 others; test.json, all
of test.tsv in its order. The seed is fixed, so the same input gives the same bytes.
"""
import json
import random
import sys

TRAIN_COUNT = 6000
DEV_COUNT = 200
LEAST_WORDS = 4
SEED = 0
WORDS = {"1": " good", "0": " bad"}


def read(path):
    with open(path, encoding="utf-8") as file:
        rows = file.read().split("\n")
    if rows[0] != "sentence\tlabel":
        sys.exit(f"{path}: the first line is {rows[0]!r}; it should name sentence and label")
    pairs = (row.split("\t") for row in rows[1:] if row)
    return [(sentence.rstrip(" "), WORDS[label]) for sentence, label in pairs]


def write(path, pairs):
    with open(path, "w", encoding="utf-8") as file:
        for sentence, word in pairs:
            record = {
                "prompt": f"Review: {sentence}\nIt is",
                "completion": word,
                "answer": word,
                "choices": [WORDS["1"], WORDS["0"]],
            }
            file.write(json.dumps(record, ensure_ascii=False, separators=(",", ":")) + "\n")


def main():
    source, target = sys.argv[1:]
    test = read(f"{source}/test.tsv")
    held_out = {sentence for sentence, _ in test}
    phrases = {}
    for sentence, word in read(f"{source}/train.tsv"):
        if len(sentence.split()) >= LEAST_WORDS and sentence not in held_out:
            phrases.setdefault(sentence, word)
    chosen = random.Random(SEED).sample(list(phrases.items()), TRAIN_COUNT + DEV_COUNT)
    write(f"{target}/train.json", chosen[:TRAIN_COUNT])
    write(f"{target}/dev.json", chosen[TRAIN_COUNT:])
    write(f"{target}/test.json", test)


main()
