"""Planted factors: one causal, nine noise, found among six axes and a call, in kinds of columns as people have them.

    python benchmarks/study_factors.py [--repeats 100] [--rows 600]

Prints, for each kind: how often the causal factor is found, in how many repetitions a noise factor is, and the mean
share of noise among what is found. `along` counts noise factors that are named as going along with the causal one.
"""

import argparse
from collections.abc import Callable

import numpy as np
import pandas as pd

from attrood.act import factors

Made = tuple[pd.DataFrame, np.ndarray]  # columns, of which "causal" is one; the cause of each row in normal units


def normal(values: np.ndarray) -> np.ndarray:
    "In normal units."
    return (values - values.mean()) / values.std()


def plain(rng: np.random.Generator, n: int) -> Made:
    cause = rng.normal(size=n)
    return pd.DataFrame({"causal": cause} | {f"noise {i}": rng.normal(size=n) for i in range(9)}), cause


def alike(rng: np.random.Generator, n: int) -> Made:
    "Noise columns that are alike, correlation 0.8, and not like the cause."
    table, cause = plain(rng, n)
    common = rng.normal(size=n)
    for i in range(9):
        table[f"noise {i}"] = np.sqrt(0.8) * common + np.sqrt(0.2) * table[f"noise {i}"]
    return table, cause


def shadows(rng: np.random.Generator, n: int) -> Made:
    "Three noise columns that go along with the cause, correlation 0.6."
    table, cause = plain(rng, n)
    for i in range(3):
        table[f"noise {i}"] = 0.6 * cause + 0.8 * table[f"noise {i}"]
    return table, cause


def levels(rng: np.random.Generator, n: int, many: int = 30) -> Made:
    "Names: thirty levels of very different size; the cause is one of them, with an effect for each level."
    share = 1 / np.arange(1, many + 1)
    draw = lambda: rng.choice(many, n, p=share / share.sum())  # noqa: E731
    table = pd.DataFrame({"causal": draw()} | {f"noise {i}": draw() for i in range(9)})
    cause = rng.normal(size=many)[table["causal"]]
    return table.map(lambda v: f"level {v}"), normal(cause)


def skewed(rng: np.random.Generator, n: int) -> Made:
    "Sizes and counts: long tails, and half of every other column zero."
    table, cause = plain(rng, n)
    for i, c in enumerate(table):
        table[c] = np.exp(2 * table[c])
        if i % 2:
            table.loc[rng.random(n) < 0.5, c] = 0.0
    return table, cause


def missing(rng: np.random.Generator, n: int) -> Made:
    "Three in ten values missing, in some columns more often in groups of rows."
    table, cause = plain(rng, n)
    for c in table:
        table.loc[rng.random(n) < 0.3, c] = np.nan
    return table, cause


def mixed(rng: np.random.Generator, n: int) -> Made:
    "Names, numbers, truth values, whole numbers, a night hour as the cause."
    hour = rng.uniform(0, 24, n)
    noise = {
        "noise 0": rng.choice([f"camera {i}" for i in range(12)], n),
        "noise 1": rng.random(n) < 0.2,
        "noise 2": rng.poisson(2, n),
        "noise 3": rng.lognormal(11, 1, n),
        "noise 4": rng.choice(["north", "south", None], n),
        "noise 5": pd.Timestamp("2026-01-01") + pd.to_timedelta(rng.integers(0, 10**7, n), "s"),
        "noise 6": rng.integers(0, 24, n),
        "noise 7": rng.choice([f"site {i}" for i in range(100)], n),
        "noise 8": rng.normal(size=n).round(1),
    }
    return pd.DataFrame({"causal": hour} | noise), normal(np.cos(2 * np.pi * hour / 24))


KINDS: dict[str, Callable[[np.random.Generator, int], Made]] = {
    f.__name__: f for f in (plain, alike, shadows, levels, skewed, missing, mixed)
}


def targets(rng: np.random.Generator, cause: np.ndarray, strength: float, call: float) -> pd.DataFrame:
    "Six axes, heavy-tailed and skewed as coordinates are, of which one follows the cause; and a rare call that follows it too."
    n = len(cause)
    common = rng.normal(size=(n, 1))
    z = 0.6 * common + 0.8 * rng.standard_t(4, size=(n, 6))
    z[:, 0] = strength * cause + np.sqrt(1 - strength**2) * rng.normal(size=n)
    table = pd.DataFrame(np.exp(z / 2), columns=[f"z_{i}" for i in range(6)])
    level = np.quantile(extreme := z[:, 0] + rng.normal(size=n), 1 - call)
    return table.assign(**{"called OoD": extreme > level})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--rows", type=int, default=600)
    parser.add_argument("--strength", type=float, default=0.35, help="correlation of the cause with its axis")
    parser.add_argument("--call", type=float, default=0.05, help="share of rows that are called out")
    args = parser.parse_args()
    print(f"{args.repeats} repetitions, {args.rows} rows, correlation {args.strength}, {args.call:.0%} called OoD")
    print("kind       found   repetitions with a false one   false among found   along")
    for name, make in KINDS.items():
        for strength in (args.strength, 0.0):
            hits, wrong, shares, along = 0, 0, [], 0
            for seed in range(args.repeats):
                rng = np.random.default_rng([seed, len(name)])
                table, cause = make(rng, args.rows)
                done = factors.find_factors(table, targets(rng, cause, strength, args.call))
                false = [f for f in done.found if not (f.startswith("causal") and strength)]
                hits += "causal" in done.found
                wrong += bool(false)
                shares.append(len(false) / max(len(done.found), 1))
                along += int(((done.table["along"] == "causal") & done.table["found"]).sum())
            label = name if strength else "  no cause"
            print(
                f"{label:10s} {hits / args.repeats:5.0%}   {wrong / args.repeats:28.0%}   {np.mean(shares):17.1%}   {along}",
                flush=True,
            )


if __name__ == "__main__":
    main()
