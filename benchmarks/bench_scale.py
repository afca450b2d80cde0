"""The commands at growing sizes: wall, processor time and peak memory, beside pandas and scikit-learn by hand.

Usage: python benchmarks/bench_scale.py [--rows 1467 20000 1000000 4000000] [--repeats 1] [--logs FOLDER]

Each command runs in a process of its own, start-up included; wall and processor time are medians over the repeats, the peak is the largest of them. The logs
are made by `large_log.py` and kept in FOLDER, if one is given. By hand is what a person would write for the same outputs, as far as they have
an alternative: read the columns with pandas, scale them by the ID rows, sparse PCA of scikit-learn with as many components, coordinates, means by domain.
Wall time means nothing beside other work: run it on a quiet machine.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from large_log import write

ROOT = Path(__file__).resolve().parents[1]
START = "from attrood.entrance.cli import main; main()"
HAND = {
    "fit": """
import pandas as pd, numpy as np, joblib
from sklearn.decomposition import SparsePCA
from sklearn.preprocessing import StandardScaler
t = pd.read_parquet(LOG, columns=["role", *COLUMNS])
scaler = StandardScaler().fit(t.loc[t["role"] == "id", COLUMNS])
model = SparsePCA(4, random_state=0).fit(scaler.transform(t.loc[t["role"] == "id", COLUMNS]))
joblib.dump((scaler, model), CARD)
""",
    "score": """
import pandas as pd, joblib
t = pd.read_parquet(LOG, columns=["id", "domain", "role", "label", "prediction", *COLUMNS])
scaler, model = joblib.load(CARD)
z = pd.DataFrame(model.transform(scaler.transform(t[COLUMNS])), columns=list("abcd"))
pd.concat([t[["id", "domain", "role", "label", "prediction"]], z], axis=1).to_parquet(OUT)
""",
    "explain": """
import pandas as pd, joblib
t = pd.read_parquet(LOG, columns=["domain", *COLUMNS])
scaler, model = joblib.load(CARD)
z = pd.DataFrame(model.transform(scaler.transform(t[COLUMNS])), columns=list("abcd")).assign(domain=t["domain"])
print(z.groupby("domain").agg(["mean", "sem"]))
""",
}
COLUMNS = ["conf", "entropy", "energy", "cosine_std", "mahalanobis", "relative_mahalanobis"]


def measured(words: list[str]) -> tuple[float, float, float]:
    "Wall and processor seconds and peak MB of a process, those that it starts included."
    begin = time.perf_counter()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen([sys.executable, *words], env=environment, stdout=subprocess.DEVNULL, stderr=said)
        _, status, used = os.wait4(process.pid, 0)
        if status:
            said.seek(0)
            raise SystemExit(f"{' '.join(words)[:200]} failed: {said.read()[-800:].decode()}")
    return time.perf_counter() - begin, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def row(what: str, words: list[str], repeats: int) -> str:
    runs = [measured(words) for _ in range(repeats)]
    wall, spent, _ = (statistics.median(column) for column in zip(*runs, strict=True))
    return f"| {what} | {wall:.1f} | {spent:.1f} | {max(run[2] for run in runs):.0f} |"


def by_hand(step: str, log: Path, folder: Path) -> list[str]:
    "The same by hand."
    names = f"LOG, CARD, OUT, COLUMNS = {str(log)!r}, {str(folder / 'hand')!r}, {str(folder / 'hand.parquet')!r}, {COLUMNS!r}\n"
    return ["-c", names + HAND[step]]


def table(rows: int, folder: Path, repeats: int) -> None:
    "One size."
    log, card, out = folder / f"{rows}.parquet", folder / "axes.json", folder / "out"
    if not log.exists():
        write(rows, log)
    commands = {
        "fit": ["fit", str(log), "-o", str(card)],
        "score": ["score", str(log), "--axes", str(card), "-o", str(folder / "scores.parquet")],
        "explain": ["explain", str(log), "--axes", str(card)],
        "evaluate": ["evaluate", str(log), "--axes", str(card)],
        "run": ["run", str(log), "-o", str(out)],
        "report": ["report", str(out)],
    }
    print(f"\n{rows:,} rows, a log of {log.stat().st_size / 1e6:.0f} MB\n")
    print("| command | wall s | processor s | peak MB |\n|---|---|---|---|")
    for name, words in commands.items():
        print(row(f"attrood {name}", ["-c", START, *words], repeats), flush=True)
        if name in HAND:
            print(row(f"{name} by hand", by_hand(name, log, folder), repeats), flush=True)
    print(f"\nreport of {(out / 'report.html').stat().st_size / 1e6:.2f} MB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", nargs="*", type=int, default=[1467, 20_000, 1_000_000, 4_000_000])
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--logs", type=Path, help="where the logs are kept")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        for rows in args.rows:
            table(rows, args.logs or Path(made), args.repeats)


if __name__ == "__main__":
    main()
