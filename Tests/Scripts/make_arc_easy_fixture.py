#!/usr/bin/env python3
"""Makes Fixtures/arc-easy: the first 64 records each of LLM-Adapters' ARC-Easy train.json and test.json.

    make_arc_easy_fixture.py FOLDER_WITH_TRAIN_AND_TEST_JSON OUTPUT_FOLDER

The records stay in the form of those files: one indented JSON array.
"""
import json
import sys

RECORD_COUNT = 64

source, target = sys.argv[1:]
for name in ("train.json", "test.json"):
    with open(f"{source}/{name}", encoding="utf-8") as file:
        records = json.load(file)[:RECORD_COUNT]
    with open(f"{target}/{name}", "w", encoding="utf-8") as file:
        json.dump(records, file, ensure_ascii=False, indent=4)
