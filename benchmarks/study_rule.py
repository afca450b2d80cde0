"""The rule of the mode `many` as it is, on data with known causes: guard, coverage, agreement of halves, floor of four axes, growing grid. Run: python benchmarks/study_rule.py [DRAWS]

Three to six causes, each seen by two or three columns with loadings of 0.7 to 1 and noise of their own (0.1, 0.2 or 0.4). Three more columns repeat others (one is a copy, one rising with it, one almost equal), and none or four columns are noise. Half of the rows
are OoD and shifted along one cause. Writes benchmarks/study_rule.json, a row for each fit, for the chapter about selection.
"""

import json
import os
import sys
import time
import warnings
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd

from attrood.axes import AttributionAxes

OUT = Path(__file__).with_name("study_rule.json")
ROWS, NOISE, MODES = (100, 1_000, 10_000, 100_000), (0, 4), ("many", "default")


def sample(seed: int, n: int, noise: int) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    "Evidence (n, m), the causes (n, k), and the roles of the rows."
    rng = np.random.default_rng(seed)
    k = int(rng.integers(3, 7))
    sizes, own = rng.integers(2, 4, k), (0.1, 0.2, 0.4)[seed % 3]
    f, ood = rng.normal(size=(n, k)), np.arange(n) % 2 == 1
    f[ood, rng.integers(k)] += 1.5
    columns = {}
    for j, size in enumerate(sizes):
        for c in range(size):
            columns[f"cause{j}_{c}"] = rng.uniform(0.7, 1.0) * f[:, j] + own * rng.normal(size=n)
    first = list(columns)
    columns["copy"] = columns[first[0]].copy()
    columns["rising"] = np.exp(columns[first[1]])
    columns["nearly"] = columns[first[2]] + 0.01 * rng.normal(size=n)
    for c in range(noise):
        columns[f"noise{c}"] = rng.normal(size=n)
    return pd.DataFrame(columns), f, np.where(ood, "ood", "id")


def judged(seed: int, n: int, noise: int, mode: str) -> dict:
    "What one fit found."
    E, f, role = sample(seed, n, noise)
    started = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        axes = AttributionAxes(mode=mode).fit(E, np.where(role == "id", 0, 1))
    seconds, card = time.process_time() - started, axes.card_
    z = card.coordinates(E)
    r = np.abs(np.corrcoef(z.T, f.T)[: len(card.names), len(card.names) :])
    largest = [card.evidence[int(np.abs(w).argmax())] for w in card.components]
    repeated = {"copy", "rising", "nearly"}
    return {
        "own noise": (0.1, 0.2, 0.4)[seed % 3],
        "N": n,
        "noise": noise,
        "mode": mode,
        "k": len(card.names),
        "causes": f.shape[1],
        "found": float((r.max(0) >= 0.9).mean()),
        "alone": float(
            np.mean([r[:, j].max() >= 0.9 and (r[r[:, j].argmax()] >= 0.3).sum() == 1 for j in range(f.shape[1])])
        ),
        "noise axes": sum(c.startswith("noise") for c in largest),
        "repeats out": sum(
            len(set(card.dropped) & pair) > 0
            for pair in ({"copy", "cause0_0"}, {"rising", "cause0_1"}, {"nearly", *E.columns[2:3]})
        ),
        "single": int(((np.abs(card.components) > 0.1).sum(1) == 1).sum()),
        "repeated on an axis": sum(bool(repeated & set(card.weights(j))) for j in range(len(card.names))),
        "seconds": seconds,
    }


if __name__ == "__main__":
    draws = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    rows = []
    for n in ROWS:
        for noise in NOISE:
            for mode in MODES:
                few = draws if n < 100_000 else min(draws, 3)
                rows += [judged(seed, n, noise, mode) for seed in range(few)]
                print(
                    n,
                    noise,
                    mode,
                    pd.DataFrame(rows[-few:])[["k", "causes", "found", "alone", "noise axes", "repeats out", "seconds"]]
                    .mean()
                    .round(2)
                    .to_dict(),
                    flush=True,
                )
                OUT.write_text(json.dumps(rows, indent=0) + "\n")
