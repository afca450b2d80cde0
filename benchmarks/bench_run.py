"""The whole job, one table: start-up, first runs, a million rows, and where the time of a run goes; an older checkout beside it.

Usage: python benchmarks/bench_run.py [--before PATH] [--logs animals food101-pocket MY.parquet] [--repeats 5]
                                      [--rows 1000000 4000000] [--large FOLDER] [--steps]

Every command runs in a process of its own, start-up included, both trees in turn: this one, then PATH, another checkout of attrood. Wall and processor time are
medians over the repeats, of large logs (`--rows`, made by large_log.py and kept in FOLDER) of one run; processor time adds up every process that the command
starts, peak memory is that of the largest of them. `--steps` adds the steps of a run one after the other in one process, so their sum is more than the
command's wall where modes run side by side. Run it on a quiet machine: wall time means nothing beside other work.
"""

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
START = """
try:
    from attrood.cli import main  # trees that are older than the rooms
except ModuleNotFoundError:
    from attrood.entrance.cli import main
main()
"""
COMMANDS = ["fit", "score", "explain", "run", "report"]
HEAD = ("wall s", "least", "processor s", "peak MB")


def command(tree: Path, *words: str) -> tuple[float, float, float]:
    "Wall and processor seconds and peak MB of a command of attrood in a tree, its own processes included."
    begin = time.perf_counter()
    with tempfile.TemporaryFile() as said, tempfile.TemporaryDirectory() as elsewhere:  # not this tree: Python reads it
        process = subprocess.Popen(
            [sys.executable, "-c", START, *words],
            cwd=elsewhere,
            env={**os.environ, "PYTHONPATH": str(tree)},
            stdout=subprocess.DEVNULL,
            stderr=said,
        )
        _, status, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - begin
        if status:
            said.seek(0)
            raise SystemExit(f"attrood {' '.join(words)} failed in {tree}: {said.read()[-800:].decode()}")
    return wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def row(what: str, trees: list[Path], repeats: int, *words: str) -> None:
    "A line of the table: what a command takes in each tree, run in turn, and the ratio of the walls."
    runs: list[list[tuple[float, float, float]]] = [[] for _ in trees]
    for _ in range(repeats):
        for i, tree in enumerate(trees):
            runs[i].append(command(tree, *(w.replace("TREE", str(i)) for w in words)))
    cells = []
    for of_tree in runs:
        wall, spent, peak = zip(*of_tree, strict=True)
        cells += [
            f"{statistics.median(wall):.2f}",
            f"{min(wall):.2f}",
            f"{statistics.median(spent):.2f}",
            f"{max(peak):.0f}",
        ]
    medians = [statistics.median(w for w, _, _ in of_tree) for of_tree in runs]
    ratio = [f"{m / medians[0]:.2f}" for m in medians[1:]]
    print(f"| {what} | {' | '.join([*cells, *ratio])} |", flush=True)


def table(trees: list[Path], logs: list[str], repeats: int, rows: list[int], large: Path, commands: list[str]) -> None:
    "The table."
    head = [*HEAD, *(f"before: {h}" for _ in trees[1:] for h in HEAD), *("times as fast" for _ in trees[1:])]
    print(f"| command | {' | '.join(head)} |\n|---|{'---|' * len(head)}")
    row("attrood --help", trees, repeats, "--help")
    with tempfile.TemporaryDirectory() as folder:
        out, card, scores = f"{folder}/outTREE", f"{folder}/axesTREE.json", f"{folder}/scoresTREE.parquet"
        for log in logs:
            path = log if not Path(log).exists() else str(Path(log).resolve())
            row(f"run {Path(log).stem}", trees, repeats, "run", path, "-o", out)
        for n in rows:
            log = str(large_log(n, large))
            words = {
                "fit": ["fit", log, "-o", card],
                "score": ["score", log, "--axes", card, "-o", scores],
                "explain": ["explain", log, "--axes", card],
                "run": ["run", log, "-o", out],
                "report": ["report", out],
            }
            for name in commands:
                row(f"{name} {n:,}", trees, 1, *words[name])


def large_log(rows: int, folder: Path) -> Path:
    "A log of so many rows, made if it is not there."
    path = folder.resolve() / f"{rows}.parquet"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, str(ROOT / "benchmarks/large_log.py"), str(rows), str(path)], check=True)
    return path


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class Clock:
    "Processor seconds and peak memory of named steps of one process."

    def __init__(self) -> None:
        self.rows: list[tuple[str, float, float]] = []

    def __call__(self, what: str, call: Callable[[], Any]) -> Any:
        start = time.process_time()
        out = call()
        self.rows.append((what, time.process_time() - start, peak()))
        return out


def steps(name: str) -> None:
    "The steps of the whole job on a log, one after the other, as lines of name, processor seconds and peak MB."
    clock, folder = Clock(), Path(tempfile.mkdtemp())

    def start() -> Any:
        from attrood.entrance import analysis, job, results

        return analysis, job, results

    analysis, _, results = clock("import", start)
    from attrood.axes import fit_axes
    from attrood.detect.evaluation import fit_decision
    from attrood.entrance.cli_common import load_log
    from attrood.evidence import evidence_frame
    from attrood.stability.resampling import judge
    from attrood.why import score_log

    log = clock("read the log", lambda: load_log(name))
    table = clock("evidence", lambda: evidence_frame(log))
    for mode in ("paper", "default"):
        with analysis.collected_notes():
            card = clock(f"{mode}: fit axes", lambda mode=mode: fit_axes(log, mode, table=table))
            found = clock(f"{mode}: stability", lambda card=card: judge(card, log, table))
            decision = clock(f"{mode}: decision", lambda card=card: fit_decision(card, log, table=table))
            card = card.with_parts(stability=found, decision=decision)
            scores = clock(f"{mode}: scores", lambda card=card: score_log(card, log, table))
            table_of = clock(f"{mode}: detectors", lambda card=card: analysis.held_out_detectors(card, log, table))
        done, out = analysis.Analysis(card, scores, [], table_of), folder / mode
        out.mkdir()
        clock(f"{mode}: figures", lambda done=done, out=out: results.write_figures(done, log, out / "figures"))
        clock(f"{mode}: card, scores, summary", lambda done=done, out=out: _files(done, out))
        clock(f"{mode}: report", lambda out=out: results.report_folder(out, out / "report.html"))
    shutil.rmtree(folder)
    for what, seconds, memory in clock.rows:
        print(f"{what}\t{seconds}\t{memory}")


def _files(done: Any, out: Path) -> None:
    from attrood.entrance import results, summary
    from attrood.ground import outputs

    done.card.write(out / "axes.json")
    results.write_scores(done.scores, out / "scores.parquet")
    if done.detectors is not None:
        outputs.write_csv(done.detectors, out / "detectors.csv")
    (out / "summary.txt").write_text(summary.summary(done) + "\n", encoding="utf-8")


def step_table(log: str, repeats: int) -> None:
    "Medians of the steps over fresh processes."
    runs = []
    for _ in range(repeats):
        text = subprocess.run(
            [sys.executable, __file__, "--one", log],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        runs.append([line.split("\t") for line in text.splitlines()])
    print(f"\n{log}, step by step\n\n| step | processor s | peak MB so far |\n|---|---|---|")
    total = 0.0
    for same in zip(*runs, strict=True):
        seconds, memory = (statistics.median(float(row[i]) for row in same) for i in (1, 2))
        total += seconds
        print(f"| {same[0][0]} | {seconds:.2f} | {memory:.0f} |")
    print(f"| sum | {total:.2f} | |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", type=Path, help="another checkout of attrood, measured in turn with this one")
    parser.add_argument("--logs", nargs="*", default=["animals", "food101-pocket"], help="bundled names or paths")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--rows", nargs="*", type=int, default=[], help="sizes of large logs")
    parser.add_argument(
        "--commands", nargs="*", default=COMMANDS, choices=COMMANDS, help="on large logs, in this order"
    )
    parser.add_argument("--large", type=Path, help="where large logs are kept; else they are made again each time")
    parser.add_argument("--steps", action="store_true", help="the steps of a run too")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        return steps(args.one)
    trees = [ROOT, *([args.before.resolve()] if args.before else [])]
    with tempfile.TemporaryDirectory() as made:
        table(trees, args.logs, args.repeats, args.rows, args.large or Path(made), args.commands)
    for log in args.logs if args.steps else ():
        step_table(log, args.repeats)


if __name__ == "__main__":
    main()
