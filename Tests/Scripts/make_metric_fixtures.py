"""Writes Fixtures/metrics/metrics.json: random predictions and what scikit-learn (1.9) and scipy (1.17) measure of them.

Needs: numpy, scikit-learn, scipy. Run from the package's root: python Tests/Scripts/make_metric_fixtures.py
"""

import json
import math
import pathlib
import warnings

import numpy as np
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

OUT = pathlib.Path(__file__).parents[2] / "Fixtures" / "metrics" / "metrics.json"


def classes(labels, predicted, count):
    result = {
        "accuracy": accuracy_score(labels, predicted),
        "macro_f1": f1_score(labels, predicted, average="macro"),
        "matthews": matthews_corrcoef(labels, predicted),
    }
    if count == 2:
        result["f1"] = f1_score(labels, predicted)
    return {"classes": count, "labels": labels, "predicted": predicted, "values": result}


def numbers(labels, predicted):
    values = {"pearson": pearsonr(labels, predicted)[0], "spearman": spearmanr(labels, predicted)[0]}
    values = {k: None if math.isnan(v) else float(v) for k, v in values.items()}
    return {"classes": 1, "labels": labels, "predicted": predicted, "values": values}


def main():
    warnings.simplefilter("ignore")
    random = np.random.default_rng(14)
    cases = []
    for count, size, share in [(2, 200, 0.7), (2, 37, 0.3), (3, 300, 0.6), (5, 150, 0.5), (7, 20, 0.2)]:
        labels = random.integers(0, count, size)
        predicted = np.where(random.random(size) < share, labels, random.integers(0, count, size))
        cases.append(classes(labels.tolist(), predicted.tolist(), count))
    # One class alone, on one side, on the other and on both; classes that never occur.
    cases.append(classes([1] * 9, [1] * 9, 2))
    cases.append(classes([0] * 9, [0] * 9, 2))
    cases.append(classes([0, 1] * 9, [0] * 18, 2))
    cases.append(classes([0, 1] * 9, [1] * 18, 2))
    cases.append(classes([1] * 18, [0, 1] * 9, 2))
    cases.append(classes([0, 1] * 9, [1, 0] * 9, 2))
    cases.append(classes([0, 3, 3, 0], [3, 3, 0, 0], 5))
    for size in [3, 50, 500]:
        labels = np.round(random.random(size) * 5, 1)
        cases.append(numbers(labels.tolist(), (labels + random.normal(0, 1, size)).tolist()))
    cases.append(numbers([0.5, 1, 1, 2, 2, 2, 5], [1.0, 1.0, 2.0, 2.0, -3.0, 4.0, 4.0]))
    cases.append(numbers([1.0, 2.0, 3.0], [2.0, 2.0, 2.0]))
    cases.append(numbers([3.0, 3.0], [1.0, 2.0]))
    cases.append(numbers([1.0, 2.0, 3.0], [3.0, 2.0, 1.0]))
    cases.append(numbers([1e9 + k for k in [1.0, 2.0, 3.0, 7.0]], [1e-9, 3e-9, 2e-9, 5e-9]))
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text("[" + ",\n".join(json.dumps(c, separators=(",", ":")) for c in cases) + "]\n")


if __name__ == "__main__":
    main()
