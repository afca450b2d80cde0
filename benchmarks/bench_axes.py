"""Axis engine against scikit-learn, and against the number of rows. Run: python benchmarks/bench_axes.py [--quick] [--big]

Part 1: stages 5 to 8 of the paper (100 cross-validation fits, final fit, three seeds), this package on moments (reading every row included) and
scikit-learn's SparsePCA. At N = 1,000,000 scikit-learn is timed on a few fits and scaled. Part 2: one pass against NumPy's own X.T @ X.
Part 3: time against N, rows generated in chunks. Part 4: 1,000 bootstraps with matching and a null. Part 5: one fit at M = 5, 25, 50.
Both sides run on one thread; times are processor time unless --wall is given.
"""

import argparse
import os
import time
import warnings

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.decomposition import SparsePCA

from attrood.axes.moment_cv import fold_moments, moment_cv
from attrood.axes.moments import block_moments, bootstrap_moments, merge, moments, null_moments, pool
from attrood.axes.paper import choose_1se
from attrood.axes.sparse_pca import alpha_max, sparse_pca

NOW = (
    time.process_time
)  # seconds of this process on one thread, so that other work on the machine does not count; --wall changes it
KS, ALPHAS, SEEDS = (1, 2, 3, 4), (0.5, 1.0, 2.0, 4.0, 8.0), (42, 43, 44)


def evidence(n, m, seed=0):
    "Columns that share a third as many causes and carry little noise, as scores of the same logits do; never exact duplicates."
    rng = np.random.default_rng(seed)
    causes = max(3, m // 3)
    loadings = np.zeros((causes, m))
    loadings[np.arange(m) % causes, np.arange(m)] = np.random.default_rng(1).uniform(0.6, 1.0, m)
    return rng.normal(size=(n, causes)) @ loadings + 0.1 * rng.normal(size=(n, m))


def paper_like(n, seed=0):
    "Five columns of rank 3 with the covariance that a CLIP log of the paper's kind has: conf drop twice, entropy gain, energy gain, their oodscore."
    rng = np.random.default_rng(seed)
    Z = rng.normal(size=(n, 3))
    Z -= Z.mean(0)
    Z = np.linalg.solve(np.linalg.cholesky(Z.T @ Z / n), Z.T).T
    sd = np.array([0.45755764, 0.42762115, 0.68245431])
    C = np.array([[1, 0.88201323, 0.01329134], [0.88201323, 1, -0.0230525], [0.01329134, -0.0230525, 1]])
    conf, entropy, energy = (Z @ np.linalg.cholesky(C * np.outer(sd, sd)).T).T
    return np.c_[conf, conf, entropy, energy, (conf + entropy) / 2]


def clock(call, repeats=3):
    "Least time of a few calls, and the last result."
    best = np.inf
    for _ in range(repeats):
        start = NOW()
        result = call()
        best = min(best, NOW() - start)
    return best, result


def ours(X, n_starts):
    parts = fold_moments(X)
    choice = choose_1se(moment_cv(parts, KS, ALPHAS, n_starts=n_starts), warn=False)
    scatter = pool(parts).scatter
    return [sparse_pca(scatter, choice.k, choice.alpha, n_starts=n_starts, seed=s).components for s in SEEDS]


def sklearn_fit(X, k, alpha, seed=42):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        start = NOW()
        SparsePCA(k, alpha=alpha, random_state=seed).fit(X)
        return NOW() - start


def stages(n, cells, repeats=3):
    "Seconds of both for 100 fold fits (on 4/5 of the rows), one final fit and three seeds; scikit-learn timed on `cells` and scaled."
    X = paper_like(n)
    mine, _ = clock(lambda: ours(X, 1), repeats)
    four, _ = clock(lambda: ours(X, 4), repeats)
    timed = [sklearn_fit(X[: n * 4 // 5], k, a) for k, a in cells]
    whole = sklearn_fit(X, 3, 0.5)
    theirs = 100 * float(np.mean(timed)) + (1 + len(SEEDS)) * whole
    print(
        f"| {n:,} | {theirs:,.1f} | {len(timed) + 1} of 104 fits timed | {mine:.3f} | {theirs / mine:,.0f} | {four:.3f} | {theirs / four:,.0f} |",
        flush=True,
    )


def one_pass(n, m):
    X = evidence(n, m)
    product, _ = clock(lambda: X.T @ X, 7)
    ours_, _ = clock(lambda: moments(X), 7)
    print(f"| {n:,} x {m} | {1000 * product:.1f} | {1000 * ours_:.1f} | {ours_ / product:.2f} |", flush=True)


def streamed(n, m=5, chunk=1_000_000):
    base = evidence(min(n, chunk), m)
    made = read = 0.0
    total = None
    for start in range(0, n, chunk):
        t0 = NOW()
        rows = base[: min(chunk, n - start)] + 1e-3 * (start // chunk)
        t1 = NOW()
        part = moments(rows)
        total = part if total is None else merge(total, part)
        made, read = made + t1 - t0, read + NOW() - t1
    fit, _ = clock(lambda: sparse_pca(total.scatter, 3, 0.2 * alpha_max(total.scatter)))
    print(f"| {n:,} | {made:.3f} | {read:.3f} | {1e9 * read / n:.1f} | {1000 * fit:.1f} |", flush=True)


def matched(A, B):
    "|cosine| of each axis of A with its partner in each B, assignment for each replicate."
    cosine = np.abs(np.einsum("jm,rkm->rjk", A, B))
    return np.array([c[linear_sum_assignment(-c)] for c in cosine])


def bootstraps(m, k, n=20_000, replicates=1000):
    X = evidence(n, m)

    def run():
        blocks, _ = block_moments(X, 1000)
        total = pool(blocks)
        fit = sparse_pca(total.scatter, k, 0.2 * alpha_max(total.scatter))
        boot = bootstrap_moments(blocks, replicates)
        axes = sparse_pca(boot.scatter, k, 0.2 * alpha_max(boot.scatter), init=fit.components)
        null = null_moments(total, replicates)
        chance = sparse_pca(null.scatter, k, 0.2 * alpha_max(null.scatter), n_starts=4)
        return np.quantile(matched(fit.components, axes.components), 0.05), np.quantile(
            matched(fit.components, chance.components), 0.95
        )

    seconds, (stable, chance) = clock(run, 2)
    print(f"| {m} | {k} | {seconds:.2f} | {stable:.4f} | {chance:.3f} |", flush=True)


def fits(m, k, n=20_000):
    X = evidence(n, m)
    scatter = moments(X).scatter
    alpha = 0.2 * alpha_max(scatter)
    mine, _ = clock(lambda: sparse_pca(scatter, k, alpha))
    theirs = sklearn_fit(X, k, float(alpha))
    with_pass, _ = clock(lambda: sparse_pca(moments(X).scatter, k, alpha))
    print(f"| {m} | {k} | {theirs:.2f} | {1000 * mine:.1f} | {theirs / with_pass:,.0f} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes only, about a minute")
    parser.add_argument("--big", action="store_true", help="stream 1e8 rows as well")
    parser.add_argument("--wall", action="store_true", help="wall time instead of processor time")
    args = parser.parse_args()
    if args.wall:
        global NOW
        NOW = time.perf_counter
    grid = [(k, a) for k in KS for a in ALPHAS]
    print(
        "## Stages 5 to 8 at M = 5\n\n| rows | scikit-learn, s | how | one start as there, s | ratio | four starts, s | ratio |\n|---|---|---|---|---|---|---|"
    )
    stages(20_000, grid)
    if not args.quick:
        stages(1_000_000, [(1, 1.0), (2, 2.0), (3, 1.0), (4, 4.0)], repeats=1)
    print("\n## One pass\n\n| matrix | X.T @ X, ms | moments, ms | ratio |\n|---|---|---|---|")
    for n, m in ((1_000_000, 5), (200_000, 25), (100_000, 50)):
        one_pass(n, m)
    print(
        "\n## Time against rows, streamed in chunks of 1e6, M = 5\n\n| rows | making, s | moments, s | ns per row | fit, ms |\n|---|---|---|---|---|"
    )
    for n in (10**4, 10**5, 10**6) + (() if args.quick else (10**7,)) + ((10**8,) if args.big else ()):
        streamed(n)
    print(
        "\n## 1,000 bootstraps with matching and null, 20,000 rows\n\n| M | k | s | 5 % cosine | 95 % null cosine |\n|---|---|---|---|---|"
    )
    for m, k in ((5, 3), (25, 5)):
        bootstraps(m, k)
    print(
        "\n## One fit, 16 starts, 20,000 rows\n\n| M | k | scikit-learn, s | this package on the scatter, ms | ratio with the pass over rows |\n|---|---|---|---|---|"
    )
    for m, k in ((5, 3), (25, 5), (50, 6)):
        fits(m, k)


if __name__ == "__main__":
    main()
