"""Rows per second of every array score on 1,000,000 x 100 logits, streamed in chunks.

Usage: python benchmarks/bench_scores.py [--rows 1000000] [--classes 100] [--chunk 50000] [--repeats 3]

The limit is NumPy's own exp and sum over the same array in the same chunks: a softmax score cannot do with less. pytorch-ood runs on the same
chunks where it has the score. The best of the repeats counts, in processor seconds of one thread, which other work on the machine disturbs least. `all scores` is `array_evidence`, which shares work between them.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np

from attrood.evidence import EVIDENCE
from attrood.evidence.registry import array_evidence
from attrood.log.indicators import conf, energy, entropy, msp, normalized_entropy, oodscore

PAPER = {f.__name__: f for f in (conf, msp, entropy, normalized_entropy, energy, oodscore)}


def rate(f: Callable[[np.ndarray], object], z: np.ndarray, rows: int, chunk: int, repeats: int) -> float:
    "Best rows per second of `f` over a stream of chunks, cut from a pool that is used again and again."
    starts = [i % len(z) for i in range(0, rows, chunk)]
    best = np.inf
    for _ in range(repeats):
        begin = time.process_time()
        for i in starts:
            f(z[i : i + chunk])
        best = min(best, time.process_time() - begin)
    return len(starts) * chunk / best


def ours(classes: int) -> dict[str, Callable[[np.ndarray], object]]:
    "Score functions of logits: the paper's, and every other entry with a score of rows."
    scale = 100.0

    def one(name: str) -> Callable[[np.ndarray], object]:
        return lambda z: array_evidence(z, scale, names=[name])

    return PAPER | {n: one(n) for n, e in EVIDENCE.items() if e.of_row and n not in PAPER}


def peers() -> dict[str, Callable[[np.ndarray], object]]:
    "pytorch-ood's detectors of logits."
    try:
        import torch
        from pytorch_ood import detector as d
    except ImportError:
        return {}
    torch.set_num_threads(1)
    made = {
        "msp": d.MaxSoftmax(None),
        "entropy": d.Entropy(None),
        "energy": d.EnergyBased(None),
        "max_logit": d.MaxLogit(None),
        "gen": d.GEN(None, M=100),
    }
    return {name: lambda z, m=m: m.predict_logits(torch.from_numpy(z)) for name, m in made.items()}


def main() -> None:
    "Measure and print one table."
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("rows", 1_000_000), ("classes", 100), ("chunk", 50_000), ("repeats", 3)):
        p.add_argument(f"--{name}", type=int, default=default)
    a = p.parse_args()
    pool = np.random.default_rng(0).normal(0.22, 0.03, size=(min(a.rows, 4 * a.chunk), a.classes)).astype(np.float32)
    logits, run = 100 * pool, (a.rows, a.chunk, a.repeats)
    limit = rate(lambda z: np.exp(z).sum(axis=1), logits, *run)
    other = {n: rate(f, logits, *run) for n, f in peers().items()}
    print(f"{a.rows:,} x {a.classes} float32, chunks of {a.chunk:,}, best of {a.repeats}; million rows/s")
    print(f"{'score':26}{'attrood':>9}{'pytorch-ood':>13}{'of the limit':>14}")
    print(f"{'NumPy exp and sum (limit)':26}{limit / 1e6:9.2f}{'':13}{1:14.0%}")
    for name, f in ours(a.classes).items():
        r = rate(f, logits if name in PAPER else pool, *run)
        print(
            f"{name:26}{r / 1e6:9.2f}{other[name] / 1e6 if name in other else float('nan'):13.2f}{r / limit:14.0%}".replace(
                "          nan", " " * 13
            )
        )
    everything = rate(lambda z: array_evidence(z, 100.0), pool, a.rows, a.chunk, 1)
    count = array_evidence(pool[:1], 100.0).shape[1]
    print(f"{f'all {count} scores':26}{everything / 1e6:9.3f}{'':13}{everything / limit:14.1%}")


if __name__ == "__main__":
    main()
