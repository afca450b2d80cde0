"""The sparse-PCA engine beside scikit-learn's on the same scatter: speed, and objectives on random problems.

Usage: python benchmarks/bench_engine.py [--sizes 11 18] [--problems 300] [--theirs 40] [--repeats 3] [--rounds 60]
                                         [--part speed|objectives]

Speed: for M features and k axes one fit, a grid of 100 (ten k, ten alphas) and 1,000 bootstraps. Scikit-learn gets the root of the scatter, M rows, which is the
fastest way to ask it (its time does not grow with N then), its own start and the tolerance 1e-8; of the grid and the bootstraps it fits `--theirs`, evenly chosen,
and its time is scaled. The engine runs with the settings that the package uses there: 16 starts for one fit, 4 for the others. Beside the times stands by how much
the objectives of the same problems differ.
Objectives: random problems of these sizes in turn, a third of them badly scaled (columns on scales from 1e-4 to 1e4), others with doubled columns, low rank, dense or
sparse causes; alpha over four decades. Scikit-learn has two starts, its own and where ours ended, and `--rounds` rounds each at the tolerance 1e-10: it creeps, so most
fits end by the count. The engine's alternation then goes on from where each of them ended until it rests, so that what counts is the minimum theirs was on its way
to, by one formula for both. Processor time of one thread throughout.
"""

import argparse
import os
import time
import warnings
from collections.abc import Callable
from typing import Any

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np
from sklearn.decomposition import SparsePCA, dict_learning

from attrood.axes.moments import block_moments, bootstrap_moments, pool
from attrood.axes.solver import _alternate
from attrood.axes.sparse_pca import alpha_max, sparse_pca

GRID_K, GRID_ALPHA = np.arange(1, 11), np.array([0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5])


def clock(call: Callable[[], Any], repeats: int = 1) -> tuple[float, Any]:
    "Least processor time of a few calls, and the last result."
    best = np.inf
    for _ in range(repeats):
        start = time.process_time()
        out = call()
        best = min(best, time.process_time() - start)
    return best, out


def root(scatter: np.ndarray) -> np.ndarray:
    "Rows, as many as features, with this scatter."
    value, vector = np.linalg.eigh(scatter)
    return np.sqrt(np.maximum(value, 0))[::-1, None] * vector.T[::-1]


def theirs(scatter: np.ndarray, k: int, alpha: float, tol: float = 1e-8, max_iter: int = 1000) -> float:
    "Objective of scikit-learn's fit, in its own units. A root has no mean to take away, so its solver is called behind `fit`."
    rows = root(scatter)
    model = SparsePCA(k, alpha=alpha, tol=tol, max_iter=max_iter, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model._fit(rows, k, np.random.RandomState(0))
    return float(model.error_[-1])


def rows_of(m: int, n: int = 2000) -> np.ndarray:
    "Standardised columns that share causes, as scores of the same logits do."
    rng = np.random.default_rng(0)
    causes = max(3, m // 3)
    loadings = 0.15 * rng.normal(size=(causes, m))
    loadings[np.arange(m) % causes, np.arange(m)] += rng.uniform(0.6, 1.0, m)
    X = rng.normal(size=(n, causes)) @ loadings + 0.3 * rng.normal(size=(n, m))
    return (X - X.mean(0)) / X.std(0)


def beside(
    what: str, m: int, ours: float, fit: Any, scatters: np.ndarray, k: np.ndarray, a: np.ndarray, n: int
) -> None:
    "A line of the table: our time, scikit-learn's on n of the problems, and how the objectives differ."
    p = len(scatters)
    at = np.unique(np.linspace(0, p - 1, min(n, p)).astype(int))
    seconds, values = clock(lambda: [theirs(scatters[i], int(k[i]), float(a[i])) for i in at])
    other, own = np.array(values), fit.objective.reshape(-1)[at]
    gap = (own - other) / other
    scaled = seconds * p / len(at)
    print(
        f"| {m} | {what} | {1000 * ours:.1f} | {1000 * scaled:,.0f} | {scaled / ours:,.0f} | {len(at)} of {p} | "
        f"{(gap > 1e-6).sum()} | {(gap < -1e-6).sum()} | {fit.converged.mean():.0%} |",
        flush=True,
    )


def speed(sizes: list[int], n: int, repeats: int) -> None:
    print(
        "| M | problem | ours ms | scikit-learn ms | ratio | it fitted | ours worse by 1e-6 | better | ours at rest |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for m in sizes:
        k = 5 if m < 15 else 6
        blocks, _ = block_moments(rows_of(m), 200)
        S = pool(blocks).scatter
        a = 0.2 * alpha_max(S)
        seconds, fit = clock(lambda S=S, k=k, a=a: sparse_pca(S, k, a), repeats)
        beside("one fit", m, seconds, fit, S[None], np.array([k]), np.atleast_1d(a), 1)
        alphas = GRID_ALPHA * alpha_max(S)
        seconds, fit = clock(lambda S=S, a=alphas: sparse_pca(S, GRID_K[:, None], a, n_starts=4, tol=1e-5), repeats)
        same = np.broadcast_to(S, (100, m, m))
        beside("grid of 100", m, seconds, fit, same, np.repeat(GRID_K, 10), np.tile(alphas, 10), n)
        many = bootstrap_moments(blocks, 1000).scatter
        a = 0.2 * alpha_max(many)
        seconds, fit = clock(lambda S=many, k=k, a=a: sparse_pca(S, k, a, n_starts=4, tol=1e-6), repeats)
        beside("1,000 bootstraps", m, seconds, fit, many, np.full(1000, k), a, n)


def problem(i: int, m: int) -> tuple[np.ndarray, int, float]:
    "Scatter (m, m), number of axes and alpha of random problem i; five kinds in turn, every third one badly scaled."
    rng = np.random.default_rng(5000 + i)
    n = int(np.exp(rng.uniform(np.log(40), np.log(5000))))
    k = int(rng.integers(1, 7))
    kind = i % 5
    if kind == 0:
        X = rng.normal(size=(n, m)) @ (np.eye(m) + 0.5 * rng.normal(size=(m, m)) / np.sqrt(m))
    elif kind == 1:
        q = m // 3
        X = rng.normal(size=(n, q)) @ (rng.normal(size=(q, m)) * (rng.random((q, m)) < 0.5))
        X = X + 0.3 * rng.normal(size=(n, m))
    elif kind == 2:
        q = m // 2
        X = rng.normal(size=(n, q))[:, rng.integers(0, q, m)]
    elif kind == 3:
        X = rng.normal(size=(n, m // 2)) @ rng.normal(size=(m // 2, m))
    else:
        X = rng.standard_t(3, size=(n, m)) + rng.normal(size=(n, 1))
    if i % 3 == 0:
        X = X * np.exp(rng.uniform(np.log(1e-4), np.log(1e4), m))
    S = (X - X.mean(0)).T @ (X - X.mean(0))
    return S, k, float(np.exp(rng.uniform(np.log(1e-4), np.log(0.8))) * alpha_max(S))


def ends(R: np.ndarray, k: int, alpha: float, V: np.ndarray, rounds: int) -> tuple[list[float], bool, bool]:
    """Objectives of scikit-learn from its own start and from ours, V (k, m), each as it ended and polished.

    And whether it came to its tolerance from its own start, and whether both polished ones came to rest."""
    U = R @ V.T
    U = U / np.where((size := np.sqrt((U * U).sum(0))) > 0, size, 1)
    found, rest, polished = [], False, True
    for start in ({}, {"code_init": V.T.copy(), "dict_init": U.T.copy()}):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            code, dictionary, errors, n = dict_learning(
                R.T, k, alpha=alpha, tol=1e-10, max_iter=rounds, random_state=0, return_n_iter=True, **start
            )
        rest |= not start and n < rounds
        found.append(errors[-1])
        again = _alternate(R[None], dictionary.T[None], code.T[None], np.array([alpha]), 20000, 1e-10)
        found.append(float(again["f"][0]))
        polished &= bool(again["ok"][0])
    return [float(f) for f in found], rest, polished


def objectives(count: int, sizes: list[int], rounds: int) -> None:
    gaps, rest, scaled = [], [], []
    for i in range(count):
        S, k, alpha = problem(i, sizes[i % len(sizes)])
        fit = sparse_pca(S, k, alpha)
        scale = np.sqrt(np.abs(S).max())  # theirs takes variance to be of order 1 in places
        R = root(S / scale**2)
        other, *came = ends(R, k, alpha / scale, np.asarray(fit.loadings) / scale, rounds)
        gaps.append([float(fit.objective) / scale**2 / f - 1 for f in (other[0], min(other[:2]), min(other))])
        rest.append([bool(fit.converged), *came])
        scaled.append(i % 3 == 0)
        if (i + 1) % 10 == 0:
            print(f"{i + 1} problems, worst so far {max(g[2] for g in gaps):+.1e}", flush=True)
    gap, bad = np.array(gaps), np.array(scaled)
    for name, at in (("all", np.ones(count, bool)), ("badly scaled", bad)):
        ours, own, polished = np.array(rest)[at].sum(0)
        print(f"{name}: {at.sum()} problems; at rest: ours {ours}, theirs {own}, theirs polished {polished}")
        for what, g in zip(("as it ended", "polished", "best of both starts, polished"), gap[at].T, strict=True):
            print(
                f"  theirs {what}: ours worse by 1e-6 in {(g > 1e-6).sum()} (at most {g.max():+.1e}), "
                f"equal in {(np.abs(g) <= 1e-6).sum()}, better in {(g < -1e-6).sum()} (by up to {max(-g.min(), 0):.1%})",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="*", default=[11, 18])
    parser.add_argument("--problems", type=int, default=300)
    parser.add_argument("--theirs", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=60, help="of scikit-learn, in the objectives")
    parser.add_argument("--part", choices=["speed", "objectives"])
    args = parser.parse_args()
    if args.part != "objectives":
        speed(args.sizes, args.theirs, args.repeats)
    if args.part != "speed":
        objectives(args.problems, args.sizes, args.rounds)


if __name__ == "__main__":
    main()
