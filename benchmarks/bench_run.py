"""The whole job by step: wall, processor time and peak memory.

Usage: python benchmarks/bench_run.py [--logs animals food101-pocket] [--repeats 5] [--steps]

First run: `attrood run` as a person starts it, both modes, figures and report, in a process of its own, start-up included. Wall is the median over the
repeats; processor time adds up every process that the command starts; peak memory is that of the largest of them. Then the steps one after the other in
one process (so their sum is more than the command's wall where modes run side by side): medians of processor time, and the peak after each step.
A log may be a bundled name or a path. Run it on a quiet machine: wall time means nothing beside other work.
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
START = "from attrood.entrance.cli import main; main()"


def command(*words: str) -> tuple[float, float, float]:
    "Wall and processor seconds and peak MB of a command of attrood, its own processes included."
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", START, *words],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    said = process.communicate()[1]
    if process.returncode:
        raise SystemExit(f"attrood {' '.join(words)} failed: {said[-500:]}")
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, spent, after.ru_maxrss / 1024


def median_row(what: str, runs: list[tuple[float, float, float]]) -> str:
    wall, spent, peak = (statistics.median(column) for column in zip(*runs, strict=True))
    least = min(wall for wall, _, _ in runs)
    return f"| {what} | {wall:.2f} | {least:.2f} | {spent:.2f} | {peak:.0f} |"


def first_run(logs: list[str], repeats: int) -> None:
    "The table of the first run: start-up, and the whole job on each log."
    print("| command | wall s, median | least | processor s | peak MB, largest process so far |\n|---|---|---|---|---|")
    print(median_row("attrood --help", [command("--help") for _ in range(repeats)]), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for log in logs:
            runs = [command("run", log, "-o", f"{folder}/out") for _ in range(repeats)]
            print(median_row(f"attrood run {log}", runs), flush=True)


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
    parser.add_argument("--logs", nargs="*", default=["animals", "food101-pocket"])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", action="store_true", help="the steps alone, without the command")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        return steps(args.one)
    if not args.steps:
        first_run(args.logs, args.repeats)
    for log in args.logs:
        step_table(log, args.repeats)


if __name__ == "__main__":
    main()
