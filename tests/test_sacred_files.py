"""A user's files are sacred: whatever a command is given as its output, and however it ends, what attrood did not write is as it was.

Every command meets every kind of output path, and ends in four ways: done, with an error, asked to end (TERM), killed. Cases run in forked processes, those that are killed each in one of its own; a kill comes
before one of the calls that change a name or bring bytes to the disk, at each of them in turn where something is replaced. The heavy steps (fits, plots, the model) are small stand-ins;
what writes is the real thing. ATTROOD_FULL=1 tries every ending and every kill on every path: one run then leaves a copy of its folder
before each of these calls, which is what a kill there leaves, and each copy is taken up again.
"""

import gc
import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from conftest import command, environment

from attrood.axes import AxisCard
from attrood.axes.card import card_from_weights
from attrood.entrance import cli
from attrood.ground import files
from attrood.ground.outputs import RECORD
from attrood.inference.vectors import ClassVectors
from attrood.log import bundled_log, write_log

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
FULL = bool(os.environ.get("ATTROOD_FULL"))
COUNTS: Counter = Counter()  # cases by command, kind of path and how they end
CALLS = (
    "fsync",
    "replace",
    "rename",
    "link",
    "unlink",
    "rmdir",
    "mkdir",
)  # of `os`: what changes names, or says that bytes are safe


def tree(folder: Path) -> dict[str, str]:
    "Every entry below a folder: what it is, and the hash of its content."
    out = {}
    for place, folders, names in os.walk(folder):
        for path in (Path(place, n) for n in [*folders, *names]):
            kind = (
                f"link {os.readlink(path)}"
                if path.is_symlink()
                else "folder"
                if path.is_dir()
                else "pipe"
                if path.is_fifo()
                else hashlib.sha256(path.read_bytes()).hexdigest()
            )
            out[path.relative_to(folder).as_posix()] = kind
    return out


# ---- the commands: how an output of theirs is called, their inputs, and their arguments


class Command:
    "A command with a path for its output and one for each input."

    def __init__(
        self,
        name: str,
        suffix: str,
        kind: str,
        inputs: dict[str, str],
        *fixed: str,
        positional: str = "",
        needs: str = "",
    ) -> None:
        self.name, self.suffix, self.kind, self.inputs, self.fixed, self.positional, self.needs = (
            name,
            suffix,
            kind,
            inputs,
            fixed,
            positional,
            needs,
        )
        self.single = bool(suffix)

    def argv(self, out: str, **other: str) -> list[str]:
        given = self.inputs | other
        options = [x for flag, path in given.items() if flag != self.positional for x in (f"--{flag}", path)]
        return [
            self.name.split()[0],
            *([given[self.positional]] if self.positional else []),
            *options,
            *self.fixed,
            "-o",
            out,
        ]


SEEN = ["photos/a/0.png", "photos/b/1.png"]  # ids of the pictures of a log
IMAGES = {"id": "photos", "ood": "odd=strange", "reference": "ref=known", "classes": "names.txt"}
COMMANDS = [
    Command("run", "", "results", {"log": "log.parquet", "images": "photos"}, "--mode", "paper", positional="log"),
    Command("fit", ".json", "axis card", {"log": "log.parquet"}, positional="log"),
    Command("score", ".parquet", "scores", {"log": "log.parquet", "axes": "card.json"}, positional="log"),
    Command("evaluate", "", "evaluation", {"log": "log.parquet", "axes": "card.json"}, positional="log"),
    Command("report", ".html", "report", {"folder": "results", "images": "photos"}, positional="folder"),
    Command("evidence", "", "log with evidence", {"log": "kept"}, positional="log"),
    Command(
        "causes",
        "",
        "causes",
        {"folder": "photos", "far": "far=strange", "classes": "names.txt"},
        positional="folder",
        needs="open_clip",
    ),
    Command(
        "whatif",
        ".parquet",
        "what-if log",
        {"log": "kept", "text": "text.npy"},
        "--drop-class",
        "c",
        positional="log",
    ),
    Command("adapt", ".safetensors", "class vectors", {"log": "kept", "text": "text.npy"}, positional="log"),
    Command(
        "export",
        "",
        "fiftyone export",
        {"log": "seen.parquet", "axes": "card.json", "images": "photos"},
        positional="log",
    ),
    Command("infer", "", "log of a run", IMAGES, needs="open_clip"),
    Command("infer to a file", ".parquet", "log of a run", IMAGES, needs="open_clip"),
    Command("infer again", "", "log of a run", IMAGES, "--restart", needs="open_clip"),
    Command("infer again to a file", ".parquet", "log of a run", IMAGES, "--restart", needs="open_clip"),
]
BY_NAME = {c.name: c for c in COMMANDS}


@pytest.fixture(scope="session")
def world(tmp_path_factory) -> Iterator[SimpleNamespace]:
    "What the commands are given, made once, and stand-ins for their heavy steps."
    from PIL import Image

    import attrood.detect
    import attrood.entrance.job
    import attrood.why  # noqa: F401
    from attrood.log.make import bare_log

    base = tmp_path_factory.mktemp("world")
    small, rng = bundled_log().select(np.arange(0, 1400, 200)), np.random.default_rng(0)
    write_log(small, base / "log.parquet")
    text = rng.normal(size=(3, 8))
    for k in range(2):
        write_log(
            bare_log(
                rng.normal(size=(30, 8)), text, list("abc"), ids=[f"{k}-{i}" for i in range(30)], keep_embeddings=True
            ),
            base / f"kept/part-{k}.parquet",
        )
    for name in (
        "photos/a/0.png",
        "photos/b/1.png",
        "strange/2.png",
        "known/a/3.png",
        "known/a/4.png",
        "known/b/5.png",
        "known/b/6.png",
    ):
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8)).save(base / name)
    small_card().write(base / "card.json")
    np.save(base / "text.npy", text)
    seen = bare_log(rng.normal(size=(2, 8)), text, list("abc"), ids=SEEN)
    write_log(seen, base / "seen.parquet")
    (base / "names.txt").write_text("a\nb\n")
    (base / "notes.txt").write_text("mine")
    with files.atomic_folder(base / "results", "results") as part:
        fake_analysis(part)
    with suppress(ValueError):
        cli.app(
            ["report", str(base / "none")], standalone_mode=False
        )  # what is loaded on first use is loaded before the forks
    world = SimpleNamespace(base=base, log=small, text=text, vlm=None, made={}, workers={})
    yield world
    _dismiss(world)


def small_card() -> AxisCard:
    "Axes of one piece of evidence."
    return card_from_weights([[1.0]], ["a"], ["other"], pd.DataFrame({"conf": [0.0, 0.5, 1.0]}))


def fake_analysis(folder: Path) -> None:
    "What an analysis leaves in a folder, in small."
    from attrood.entrance.results import write_scores

    small_card().write(folder / "axes.json")
    write_scores(pd.DataFrame({"id": ["x"], "domain": ["d"], "a": [0.5]}), folder / "scores.parquet")
    (folder / "detectors.csv").write_text("domain,detector,auroc\npooled,a,0.5\n")
    (folder / "figures").mkdir()
    (folder / "figures/fig1_plane.png").write_bytes(b"picture")


def tiny_model(world: SimpleNamespace) -> object:
    "A CLIP of a few thousand weights."
    if world.vlm is None:
        from attrood.inference import load_vlm

        config = {
            "embed_dim": 16,
            "vision_cfg": {"image_size": 16, "layers": 1, "width": 16, "head_width": 8, "patch_size": 8},
            "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
        }
        folder = world.base.parent / "model"
        folder.mkdir(exist_ok=True)
        (folder / "attrood-sacred.json").write_text(json.dumps(config))
        os.environ["ATTROOD_CACHE"] = str(folder / "cache")
        world.vlm = load_vlm(str(folder / "attrood-sacred.json"), "random:0", device="cpu")
        world.vlm.text_embeddings(["a", "b"], ["{}"])
    return world.vlm


def stand_in(world: SimpleNamespace, name: str, heavy) -> None:
    "Replace the heavy steps of a command; each calls `heavy` where the work would be done. Only ever called in a forked process."
    import attrood.act
    import attrood.detect.evaluation
    import attrood.entrance.report
    import attrood.why.instability_study
    import attrood.why.study
    from attrood.entrance import analysis, job, results, summary

    card, scores = small_card(), pd.DataFrame({"id": ["x"], "domain": ["d"], "a": [0.5]})

    def analyse_into(log, mode, folder, *rest):
        heavy()
        fake_analysis(folder)
        return SimpleNamespace(card=card)

    def result(*args, **options):
        heavy()
        return SimpleNamespace(
            table=scores,
            opponents=scores,
            completeness=scores,
            calibration=scores,
            to_dict=dict,
            scores={"pooled": pd.DataFrame({"y": [0, 1], "mahalanobis on axes": [0.0, 1.0]})},
        )

    picture = SimpleNamespace(
        figure=SimpleNamespace(
            savefig=lambda file, **options: Path(file).write_bytes(b"picture"), axes=[], get_children=list
        )
    )
    job._analyse_into, summary.summary = analyse_into, lambda *args, **options: ""
    results.digest, results.report_images = lambda *args: None, lambda *args: []
    results.thumbnails = lambda *args: {"x": b"picture"}
    analysis.analyse = lambda *args, **options: (heavy(), SimpleNamespace(card=card))[1]
    attrood.why.scoring.score_batches = lambda *args, **options: iter([(heavy(), scores)[1]])
    attrood.detect.evaluate_log, attrood.detect.evaluation.evaluation_summary = result, lambda found: ""
    for plot in ("plot_roc", "plot_auroc_bars", "plot_score_histograms", "plot_differences"):
        setattr(attrood.detect.evaluation, plot, lambda *args, **options: picture)
    attrood.ground.style.pyplot = lambda: SimpleNamespace(close=lambda figure: None)
    attrood.entrance.report.render_report = lambda *args: (
        heavy() if name == "report" else None,
        "<!doctype html>\n<head>\n" + files_generator() + "</head>",
    )[1]
    attrood.why.study.run_causes = lambda *args: (heavy(), SimpleNamespace(log=world.log))[1]
    attrood.why.study.cause_tables = lambda study: (card, scores, scores)
    attrood.why.instability_study.instability_tables = lambda study: (scores, scores)
    vectors = ClassVectors(list("abc"), world.text)
    attrood.act.whatif = lambda *args, **options: (
        heavy(),
        SimpleNamespace(after=world.log, summary=str, to_dict=dict),
    )[1]
    attrood.act.adapt = lambda *args, **options: (
        heavy(),
        SimpleNamespace(vectors=vectors, summary=str, to_dict=dict),
    )[1]
    if name == "export":
        attrood.why.score_log = lambda *args, **options: (
            heavy(),
            pd.DataFrame({"id": SEEN, "conf": [0.5, 0.5], "a": [0.5, 0.6]}),
        )[1]
    if name == "evidence":
        from attrood.evidence import store

        real = store.EmbeddingScores.fit_log
        store.EmbeddingScores.fit_log = lambda *args, **options: (heavy(), real(*args, **options))[1]
    if name.startswith("infer"):
        import attrood.inference.model

        attrood.inference.model.load_vlm = lambda *args: (heavy(), world.vlm)[1]


def files_generator() -> str:
    "The tag by which a report is known, as the real template has it."
    template = (Path(files.__file__).parents[1] / "assets/report.html.j2").read_text(encoding="utf-8")
    return next(line for line in template.splitlines(keepends=True) if "generator" in line)


# ---- running one case


def call(
    world: SimpleNamespace,
    cwd: Path,
    which: Command,
    argv: list[str],
    end: str = "done",
    kill_at: int = 0,
    copies: str | None = None,
) -> SimpleNamespace:
    "Run a command in another process; `end` says what the heavy step does, `kill_at` before which call the process is killed, `copies` where a copy goes before each."
    said = cwd.parent / f"{cwd.name}.said"
    code = _worker(world, which)(cwd, argv, end, said, copies, kill_at)
    lines = said.read_text(errors="replace").splitlines()
    worked, count = (
        any(x == "@heavy" for x in lines),
        next((int(x.split()[1]) for x in lines if x.startswith("@calls")), 0),
    )
    return SimpleNamespace(
        code=code,
        said="\n".join(x for x in lines if not x.startswith("@")),
        worked=worked,
        calls=count,
    )


def _worker(world, which):
    "A forked process that takes one case of a command after another; those that are killed each in a fork of it, which has loaded what they need."
    if (kept := world.workers.get(which.name)) is None:
        gc.freeze()
        here, there = multiprocessing.Pipe()
        if not (pid := os.fork()):
            try:
                here.close()
                one = _cases(world, which)
                while True:
                    case = there.recv()
                    there.send(_killed(one, *case) if case[-1] else one(*case))
            finally:
                os._exit(70)
        there.close()
        kept = world.workers[which.name] = (pid, here)

    def one(*case) -> int:
        kept[1].send(case)
        return kept[1].recv()

    return one


def _killed(one, *case) -> int:
    "The status of a case in a process of its own."
    gc.freeze()  # so that the child copies fewer pages
    if not (pid := os.fork()):
        try:
            gc.disable()
            os._exit(one(*case))
        finally:
            os._exit(70)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _dismiss(world) -> None:
    "End the processes that took cases."
    while world.workers:
        pid, pipe = world.workers.popitem()[1]
        pipe.close()
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _cases(world, which):
    "Called in a forked process: what runs a case there and gives its status."
    state, taking = SimpleNamespace(end="done", kill_at=0, seen=0, copies=None), threading.RLock()

    def heavy() -> None:
        os.write(2, b"\n@heavy\n")
        if state.end == "error":
            raise ValueError("the heavy step failed")
        if state.end == "term":
            os.kill(os.getpid(), signal.SIGTERM)

    def counted(real):
        def wrapper(*args, **options):
            with taking:
                if state.copies != "taking":
                    state.seen += 1
                    if state.seen == state.kill_at:
                        os.kill(os.getpid(), signal.SIGKILL)
                    if state.copies:
                        to, state.copies = state.copies, "taking"
                        copy_tree(os.getcwd(), f"{to}/{state.seen:05d}")
                        state.copies = to
            return real(*args, **options)

        return wrapper

    os.fsync = lambda fd: None  # a kill loses nothing that was handed to the system
    for name in CALLS:
        setattr(os, name, counted(getattr(os, name)))
    files._exchange = counted(files._exchange)
    stand_in(world, which.name, heavy)

    def one(cwd, argv, end, said, copies=None, kill_at=0) -> int:
        state.end, state.kill_at, state.copies, state.seen, code = end, kill_at, copies, 0, 70
        signal.alarm(600 if copies else 60)
        os.chdir(cwd)
        fd = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(fd, 1), os.dup2(fd, 2), os.close(fd)
        sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
        try:
            code = _main(world, which, argv, heavy)
        except BaseException:
            traceback.print_exc()
        finally:
            state.kill_at, state.copies = 0, None
            with suppress(Exception):
                sys.stdout.flush(), sys.stderr.flush()
            os.write(2, b"\n@calls %d\n" % state.seen)
            signal.alarm(0)
        return code

    return one


def _main(world, which, argv, heavy) -> int:
    "The command line, or what stands for it where a command is a function."
    if which.name == "evidence":
        from attrood.evidence import store

        cli.app = lambda: store.add_evidence_to_files(argv[1], world.text, argv[-1])
    sys.argv = ["attrood", *argv]
    try:
        cli.main()
    except SystemExit as e:
        return int(e.code or 0)
    return 0


def fresh(world: SimpleNamespace, tmp_path: Path, name: str) -> Path:
    "A folder with all inputs in it."
    folder = tmp_path / name
    shutil.copytree(world.base, folder)
    return folder


def made(world: SimpleNamespace, tmp_path: Path, which: Command) -> Path:
    "A folder in which the command has been run once, with the output `out`."
    if which.needs:
        pytest.importorskip(which.needs)
        tiny_model(world)
    if which.name not in world.made:
        folder = fresh(world, tmp_path, "made")
        done = call(world, folder, which, which.argv("out" + which.suffix))
        assert done.code == 0, done.said
        world.made[which.name] = world.base.parent / f"made {which.name}"
        shutil.move(folder, world.made[which.name])
    return world.made[which.name]


# ---- the kinds of output path: each makes it and says what is to happen


def copy_tree(folder: str | Path, to: str | Path) -> None:
    "A folder as it is, with links, pipes and times."
    os.makedirs(to)
    for place, folders, names in os.walk(folder):
        there = os.path.join(to, os.path.relpath(place, folder))
        for entry, other in ((os.path.join(place, n), os.path.join(there, n)) for n in [*folders, *names]):
            if os.path.islink(entry):
                os.symlink(os.readlink(entry), other)
            elif os.path.isdir(entry):
                os.mkdir(other)
            elif stat.S_ISFIFO(os.stat(entry).st_mode):
                os.mkfifo(other)
            else:
                shutil.copy2(entry, other)


def theirs(path: Path, text: str = "theirs") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def like_ours(path: Path) -> None:
    "A folder of the user with names that we would choose, at depth one and two."
    for name in (
        "paper/main.tex",
        "figures/mine.png",
        "scores/a.csv",
        "axes.json",
        "log.parquet",
        "part-00000.parquet",
        "run.json",
        "table.csv",
        "summary.txt",
    ):
        theirs(path / name)


def world_output(world: SimpleNamespace, which: Command) -> Path:
    "An output that the command has written."
    return world.made[which.name] / ("out" + which.suffix)


def placed(world: SimpleNamespace, which: Command, folder: Path, kind: str) -> tuple[str, str, set[str]]:
    "Make an output path of a kind: its name, what has to happen (done, refused, any), and which entries are attrood's own from before."
    out, single, again = "out" + which.suffix, which.single, "again" in which.name
    infer = which.name.startswith("infer")
    path, inside = folder / out, lambda p: {x for x in tree(folder) if x == p or x.startswith(p + "/")}
    ours = lambda: {x for x in tree(folder) if x.split("/")[0].startswith("out")}
    if kind == "nothing":
        return out, "done", set()
    if kind == "in a new folder":
        return f"new/{out}", "any", set()
    if kind == "a name that is no text":
        return os.fsdecode(b"caf\xe9-") + out, "refused", set()
    if kind == "a name of another format":
        return out + ".csv", "refused", set()
    if kind in ("a file", "an empty file"):
        theirs(path, "theirs" if kind == "a file" else "")
        return out, "refused", set()
    if kind == "a file of that format":
        {".json": lambda: path.write_text('{"mine": 1}'), ".html": lambda: path.write_text("<html>mine</html>")}.get(
            which.suffix, lambda: pd.DataFrame({"mine": [1]}).to_parquet(path)
        )()
        return out, "refused", set()
    if kind == "a log where none is written":
        write_log(bundled_log().select(np.arange(3)), folder / "a log.parquet").rename(path)
        return out, "refused", set()
    if kind in ("part of a run", "among the shards of a log"):
        run = kind == "part of a run"
        with files.atomic_folder(folder / "whole", "results" if run else "log of a run") as part:
            copied = world_output(world, which)
            (shutil.copytree if copied.is_dir() else shutil.copy)(copied, part / (out if run else "part-00000"))
        return f"whole/{out}", "refused", set()
    if kind == "in a file":
        theirs(folder / "taken")
        return f"taken/{out}", "refused", set()
    if kind == "a pipe":
        os.mkfifo(path)
        return out, "refused", set()
    if kind == "an empty folder":
        path.mkdir()
        return out, "refused" if single else "done", set()
    if kind == "a folder of theirs":
        theirs(path / "thesis.tex")
        return out, "refused", set()
    if kind == "a folder with names like ours":
        like_ours(path)
        return out, "refused", set()
    if kind == "a folder of folders":
        (path / "deep/er").mkdir(parents=True)
        return out, "refused", set()
    if kind == "where they are":
        return ".", "refused", set()
    if kind == "a link to nothing":
        os.symlink("target" + which.suffix, path)
        return out, "done", set()
    if kind == "a link to itself":
        os.symlink(out, path)
        return out, "refused", set()
    if kind == "a link to a file":
        theirs(folder / "target")
        os.symlink("target", path)
        return out, "refused", set()
    if kind == "a link to an empty folder":
        (folder / "target").mkdir()
        os.symlink("target", path)
        return out, "refused" if single else "done", set()
    if kind == "a link to a folder of theirs":
        like_ours(folder / "target")
        os.symlink("target", path)
        return out, "refused", set()
    if kind == "names beside it that look like ours":
        theirs(folder / f".{out}.attrood-part-abcdefgh/mine")
        theirs(folder / f".{out}.attrood-part-notes")
        theirs(folder / f".{out}.attrood-part1234")
        return out, "done", set()
    if kind == "ours":
        return out, "done", ours()
    if kind == "a link to ours":
        os.rename(path, folder / f"target{which.suffix}")
        os.symlink(f"target{which.suffix}", path)
        return out, "done", (ours() | inside(f"target{which.suffix}")) - {out}
    if kind == "ours, edited":
        target = (
            path
            if single
            else path / ("run.json" if infer else next(p for p in sorted(os.listdir(path)) if p != RECORD))
        )
        target = path.with_suffix(".rejects.csv") if single and infer else target
        own = ours() - {target.relative_to(folder).as_posix()}
        target.write_bytes(b"edited by hand")
        return out, "any" if infer and not again else "refused", own | ({out} if single and infer else set())
    if kind == "ours, with a word of theirs":  # a change that keeps the mark
        target = path if single else path / next(p for p in sorted(os.listdir(path)) if (path / p).suffix in WORDS)
        WORDS[target.suffix](target)
        return (
            out,
            "any" if infer and not again else "refused",
            ours() - {target.relative_to(folder).as_posix()},
        )
    if kind == "ours, looked at":
        own, where = ours(), path if not single else folder / "out.scores"
        for name in (".DS_Store", "._axes.json", "figures/Thumbs.db", "empty/deep/desktop.ini"):
            theirs(where / name, "of a file manager")
        return out, "done", own
    if kind == "a folder that was looked at":
        theirs(path / ".DS_Store", "of a file manager")
        return out, "refused" if single else "done", set()
    if kind.startswith("ours, with theirs"):
        own, where = ours(), path if not single else folder / "out.scores"
        name = {
            "ours, with theirs": "notes.txt",
            "ours, with theirs below": "figures/deep/notes.txt",
            "ours, with theirs like ours": "part-99999.parquet",
            "ours, with theirs in scores": "scores/a.csv",
        }[kind]
        theirs(where / name)
        return (
            out,
            "done"
            if infer
            and not again
            and name != "part-99999.parquet"
            and not (name.startswith("scores/") and not single)
            and not single
            else "any"
            if infer and not again
            else "refused",
            own,
        )
    if kind == "ours, with an empty folder":
        own = ours()
        ((folder / "out.scores" if single else path) / "empty").mkdir()
        return out, "any" if infer and not again else "refused", own
    if kind == "ours, with a link for a file":
        target = path / next(p for p in sorted(os.listdir(path)) if p != RECORD and (path / p).is_file())
        own = ours() - {target.relative_to(folder).as_posix()}
        shutil.copy(target, folder / "elsewhere")
        target.unlink()
        os.symlink(folder / "elsewhere", target)
        return out, "any" if infer and not again else "refused", own
    if kind == "ours, of an earlier version":
        own = ours()
        for record in [p for p in folder.glob("out*/**/*") if p.name == RECORD]:
            record.unlink()
        return (
            out,
            "any" if infer and not again else "refused",
            set() if not infer or again else own - {x for x in own if x.endswith(RECORD)},
        )
    if kind == "ours, of another command":
        other = folder / "other"
        with files.atomic_folder(other, "evaluation" if which.kind != "evaluation" else "results") as part:
            (part / "axes.json").write_text("{}")
        os.rename(other, path)
        return out, "refused", set()
    raise ValueError(kind)


def column_of_theirs(path: Path) -> None:
    "A column more in Parquet, its metadata kept."
    table = pq.read_table(path)
    pq.write_table(table.append_column("mine", [list(range(len(table)))]), path)


WORDS = {  # suffix → a small change as a user would make it
    ".json": lambda path: path.write_text(path.read_text().replace("{", '{\n "remark": "mine",', 1)),
    ".html": lambda path: path.write_text(path.read_text().replace("<head>", "<head><!-- mine -->")),
    ".parquet": column_of_theirs,
    ".csv": lambda path: path.write_text(path.read_text() + "mine,1\n"),
    ".safetensors": lambda path: path.write_bytes(path.read_bytes()[:-4] + b"mine"),
}
KINDS = [
    "nothing",
    "in a new folder",
    "a file",
    "an empty file",
    "a file of that format",
    "a log where none is written",
    "part of a run",
    "among the shards of a log",
    "in a file",
    "a pipe",
    "an empty folder",
    "a folder of theirs",
    "a folder with names like ours",
    "a folder of folders",
    "where they are",
    "a link to nothing",
    "a link to itself",
    "a link to a file",
    "a link to an empty folder",
    "a link to a folder of theirs",
    "names beside it that look like ours",
    "ours",
    "a link to ours",
    "ours, edited",
    "ours, with a word of theirs",
    "ours, looked at",
    "a folder that was looked at",
    "ours, with theirs",
    "ours, with theirs below",
    "ours, with theirs like ours",
    "ours, with theirs in scores",
    "ours, with an empty folder",
    "ours, with a link for a file",
    "ours, of an earlier version",
    "ours, of another command",
    "a name that is no text",
    "a name of another format",
]


def applies(which: Command, kind: str) -> bool:
    "Whether a command can meet a kind of path."
    within = kind.startswith(("ours, with ", "ours, of")) and kind != "ours, with a word of theirs"
    if kind == "a name of another format":
        return which.single and not which.name.startswith("infer")
    if kind == "ours, looked at" and which.single and not which.name.startswith("infer"):
        return False
    if which.single:
        return (
            not within
            or which.name.startswith("infer")
            and kind != "ours, with a link for a file"
            and kind != "ours, of another command"
        )
    return kind not in ("a log where none is written", "part of a run")


def check(
    world: SimpleNamespace, tmp_path: Path, which: Command, kind: str, end: str, kill_at: int = 0
) -> SimpleNamespace:
    "One case: what is not attrood's is the same before and after; a refusal changes nothing at all and comes before the work."
    source = (
        made(world, tmp_path, which)
        if kind.startswith(("ours", "a link to ours")) and kind != "ours, of another command"
        else world.base
    )
    folder = tmp_path / "case"
    shutil.copytree(source, folder)
    try:
        out, due, own = placed(world, which, folder, kind)
        before = tree(folder)
        done = call(world, folder, which, which.argv(out), end, kill_at)
        COUNTS[which.name, kind, "kill" if kill_at else end] += 1
        after, name = tree(folder), (which.name, kind, end, kill_at, done.said)
        assert {k: after.get(k) for k in before if k not in own} == {k: v for k, v in before.items() if k not in own}, (
            name
        )
        assert "Traceback" not in done.said and done.code != 70, name
        if due == "refused":
            assert (
                done.code == 2 and not done.worked and done.said.strip().startswith("attrood: ") and after == before
            ), name
        elif due == "done" and not kill_at:
            wanted = {"done": 0, "error": 1, "term": 143}[end]
            assert done.code == (wanted if done.worked else 0), name
        if not kill_at:
            assert [k for k in after if ".attrood-part-" in k and k not in before] == [], name
        if kill_at and done.code == -signal.SIGKILL:
            again = call(world, folder, which, which.argv(out))
            last = tree(folder)
            assert again.code == 0 or due == "any", (name, again.said)
            assert due != "done" or (folder / out).exists(), (name, "taken up without its output")
            assert {k: last.get(k) for k in before if k not in own} == {
                k: v for k, v in before.items() if k not in own
            }, name
            assert [k for k in last if ".attrood-part-" in k and k not in before] == [], (name, "left behind")
        return SimpleNamespace(due=due, calls=done.calls, done=done)
    finally:
        shutil.rmtree(folder)


def check_kills(world: SimpleNamespace, tmp_path: Path, which: Command, kind: str) -> None:
    "All moments of a kill on one path: before each call that changes a name, what is there is copied; each copy holds what is theirs, and is taken up."
    source = (
        made(world, tmp_path, which)
        if kind.startswith(("ours", "a link to ours")) and kind != "ours, of another command"
        else world.base
    )
    folder, copies = tmp_path / "case", tmp_path / "copies"
    copy_tree(source, folder), copies.mkdir()
    out, due, own = placed(world, which, folder, kind)
    before = tree(folder)
    kept = {k: v for k, v in before.items() if k not in own}
    call(world, folder, which, which.argv(out), copies=str(copies))
    shutil.rmtree(folder)
    last, reds = None, []
    for copy in sorted(copies.iterdir()):
        found, name = tree(copy), (which.name, kind, "kill", int(copy.name))
        COUNTS[which.name, kind, "kill" if found != last else "kill, nothing changed since the one before"] += 1
        if {k: found.get(k) for k in kept} != kept:
            reds.append((*name, "lost"))
        if found != last:
            copy.rename(folder)  # links and records may hold the place
            again = call(world, folder, which, which.argv(out))
            after = tree(folder)
            if (again.code and due != "any") or "Traceback" in again.said or {k: after.get(k) for k in kept} != kept:
                reds.append((*name, "taken up", again.code, again.said))
            if due == "done" and not os.path.exists(folder / out):
                reds.append((*name, "taken up without its output"))
            if left := [k for k in after if ".attrood-part-" in k and k not in before]:
                reds.append((*name, "left behind", left))
            shutil.rmtree(folder)
        last = found
    shutil.rmtree(copies)
    assert not reds, reds


RELATIONS = ["is", "is a link to", "is a hard link to", "lies in", "lies in, by a link,", "holds"]


def check_inputs(world: SimpleNamespace, tmp_path: Path, which: Command) -> None:
    "An output that is, lies in or holds one of the inputs is refused, and nothing changes."
    for flag, given in which.inputs.items():
        label, _, place = given.rpartition("=")
        for relation in RELATIONS:
            folder = fresh(world, tmp_path, "case")
            source, is_file = folder / place, (folder / place).is_file()
            moved, out = place, "out" + which.suffix
            if relation == "is":
                out = moved = f"in{which.suffix}" if which.name.startswith("infer") else place
                os.rename(source, folder / moved)
            elif relation == "is a link to":
                os.symlink(place, folder / out)
            elif relation == "is a hard link to" and is_file:
                os.link(source, folder / out)
            elif relation.startswith("lies in") and not is_file:
                os.symlink(place, folder / "way")
                out = f"{place if relation == 'lies in' else 'way'}/{out}"
            elif relation == "holds":
                (folder / out).mkdir()
                moved = f"{out}/{place}"
                os.rename(source, folder / moved)
            else:
                shutil.rmtree(folder)
                continue
            before = tree(folder)
            for end, kill_at in (("done", 0), ("error", 0), ("term", 0), ("done", 1)) if FULL else (("done", 0),):
                done = call(
                    world,
                    folder,
                    which,
                    which.argv(out, **{flag: f"{label}={moved}" if label else moved}),
                    end,
                    kill_at,
                )
                COUNTS[which.name, f"{relation} --{flag}", "kill" if kill_at else end] += 1
                about = (which.name, flag, relation, done.said)
                if (
                    which.name == "report" and flag == "folder" and relation.startswith("lies in")
                ):  # its report belongs there
                    assert (
                        done.code in (0, 1, 2, 143, -9)
                        and {k: v for k, v in tree(folder).items() if k in before} == before
                    ), about
                    continue
                assert done.code == 2 and not done.worked and tree(folder) == before, about
                assert done.said.strip().startswith("attrood: ") and len(done.said.strip().splitlines()) == 1, about
            shutil.rmtree(folder)


def is_tried(which: Command, kind: str) -> bool:
    "Whether a command is failed, stopped and killed on a kind of path: on the two that matter most always, on the others in turn."
    return kind in ("nothing", "ours") or (KINDS.index(kind) + COMMANDS.index(which)) % 4 == 0


@pytest.mark.parametrize("name", BY_NAME)
def test_every_output_path(world, tmp_path, name):
    which, reds = BY_NAME[name], []
    made(world, tmp_path, which)
    check_inputs(world, tmp_path, which)

    def one(tried, *case) -> SimpleNamespace | None:
        try:
            return tried(world, tmp_path, which, *case)
        except AssertionError as e:  # the others are tried all the same
            reds.append(str(e).split("\nassert")[0])

    for kind in (k for k in KINDS if applies(which, k)):
        if not (first := one(check, kind, "done")):
            continue
        works = first.due != "refused"  # after a refusal no work begins that could fail
        ends, n = FULL or works and is_tried(which, kind), first.calls
        for end in ("error", "term") if ends else ():
            one(check, kind, end)
        some = (
            {n // 2, n - 4, n} if kind != "ours" else {*range(1, n, max(1, n // 6)), *range(n - 11, n + 1)}
        )  # the output changes in the last ones
        for k in sorted(k for k in (some if works else {1}) if k > 0) if ends else ():
            one(check, kind, "done", k)
        if FULL and works:
            one(check_kills, kind)
    _dismiss(world)
    assert not reds, f"{len(reds)} reds:\n" + "\n".join(reds)


# ---- a few of them end to end, as processes


def alive(marker: str) -> list[int]:
    "Processes with a text in their environment."
    found = []
    for p in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (
                marker.encode() in (p / "environ").read_bytes()
                and (p / "stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
            ):
                found.append(int(p.name))
    return found


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_is_ended_leaves_no_process(tmp_path, number):
    "Figures are drawn in a process of its own; whoever starts it may be killed."
    write_log(bundled_log(), tmp_path / "log.parquet")
    marker = f"SACRED_{os.getpid()}_{number}"
    run = subprocess.Popen(
        command("run", "log.parquet", "-o", "out"),
        cwd=tmp_path,
        env=environment(**{marker: "1"}),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    end = time.monotonic() + 120
    while len(alive(marker)) < 3 and run.poll() is None and time.monotonic() < end:  # the run, a tracker, a worker
        time.sleep(0.1)
    assert run.poll() is None
    time.sleep(1)
    run.send_signal(number)
    said = run.communicate(timeout=60)[1]
    end = time.monotonic() + 20
    while alive(marker) and time.monotonic() < end:
        time.sleep(0.1)
    assert alive(marker) == []
    if number == signal.SIGTERM:
        assert (
            run.returncode == 143
            and said.rstrip().endswith("attrood: stopped; earlier output is as it was")
            and sorted(os.listdir(tmp_path)) == ["log.parquet"]
        )


def test_the_same_process_number_again(tmp_path):
    "In a container the next process often has the number of the killed one: a lock goes by the process, not by its number."
    code = (
        "import os, signal; from pathlib import Path; from attrood.ground.files import atomic_folder, atomic_path, locked; from attrood.inference.folder import RunFolder; os.getpid = lambda: 7\n"
        "r = RunFolder('log')\nwith r.lock(), atomic_folder('out', 'results') as part, atomic_path('one.json', 'axis card') as file:\n"
        "    r.start({'a': 1}); (part / 'a').touch(); file.write_text('{\"card_version\": 1}')\n    if not Path('second').exists(): signal.raise_signal(signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment()).returncode == -signal.SIGKILL
    (tmp_path / "second").touch()
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert sorted(os.listdir(tmp_path)) == ["log", "one.json", "out", "second"]


@pytest.mark.parametrize(
    "args", [("retake",), ("diff", "kept"), ("factors", "--axes", "card.json"), ("explain", "--axes", "card.json")]
)
def test_what_only_reads_writes_nothing(world, tmp_path, forked, args):
    "Neither where it is, nor beside its log, whether it has something to say or not."
    shutil.copytree(world.base, tmp_path / "here")
    for log in ("here/log.parquet", "here/kept", "here/names.txt"):
        given = [f"here/{a}" if a in ("kept", "card.json") else a for a in args]
        before = tree(tmp_path)
        done = forked(given[0], log, *given[1:])
        assert tree(tmp_path) == before and "Traceback" not in done.stderr and done.returncode in (0, 2), done.stderr


LONG_CARD = (
    "import attrood.entrance.job as p; from attrood.entrance import analysis as q, summary as t; import pandas as d; from types import SimpleNamespace as S; from attrood.axes.card import card_from_weights; "  # in place of a fit: axes with a note of 200 kB
    "c = card_from_weights([[1.0]], ['a'], ['other'], d.DataFrame({'conf': [0.0, 1.0]})).with_parts(notes=('x' * 200_000,)); "
    "p.analyse = q.analyse = lambda *a, **k: S(card=c); t.summary = lambda d: 'summary'; p.write_analysis = lambda a, log, folder, *more: a.card.write(folder / 'axes.json'); "
)


@pytest.mark.parametrize("shell", ["{} >&-", "{} | true", "{} 2>&- >/dev/null", "{} >/dev/full"])
def test_closed_standard_streams(tmp_path, shell):
    "No traceback; without a reader there is nobody to tell, on a full device the one line says so. No file of ours takes the number of a closed stream."
    write_log(bundled_log().select(np.arange(0, 1400, 10)), tmp_path / "log.parquet")
    program = f'{sys.executable} -c "{LONG_CARD}from attrood.entrance.cli import main; main()" fit log.parquet -o axes.json --json'
    done = subprocess.run(
        ["bash", "-c", "set -o pipefail; " + shell.format(program)],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert "Traceback" not in done.stderr and "Exception" not in done.stderr, done.stderr
    assert done.returncode == {"{} >&-": 0, "{} | true": 1, "{} 2>&- >/dev/null": 0, "{} >/dev/full": 2}[shell], (
        done.returncode,
        done.stderr,
    )
    assert json.loads((tmp_path / "axes.json").read_text())["card_version"] == 1


@pytest.mark.parametrize(
    "args", [("fit", "log.parquet", "-o", "axes.json"), ("run", "log.parquet", "--mode", "paper", "-o", "out")]
)
def test_a_full_disk_leaves_what_was_there(tmp_path, args):
    "The largest size of a file stands for the end of the disk."
    write_log(bundled_log().select(np.arange(0, 1400, 10)), tmp_path / "log.parquet")
    files.write_json({"card_version": 1}, tmp_path / "axes.json", "axis card")
    before = tree(tmp_path)
    program = f'ulimit -f 64; exec {sys.executable} -c "{LONG_CARD}from attrood.entrance.cli import main; main()" {" ".join(args)}'
    done = subprocess.run(["bash", "-c", program], cwd=tmp_path, env=environment(), capture_output=True, text=True)
    assert (
        done.returncode == 2 and done.stderr.rstrip().endswith("File too large") and "Traceback" not in done.stderr
    ), done.stderr
    assert tree(tmp_path) == before


def test_the_real_commands(attrood, tmp_path):
    "What was seen to go wrong, with nothing replaced by a stand-in."
    log = bundled_log().select(np.arange(0, 1400, 5))
    write_log(log, tmp_path / "scores.parquet")
    write_log(log, tmp_path / "m/log.parquet")
    for name in ("proj/paper/main.tex", "proj/figures/plan.png", "spark/part-00000.parquet", "spark/scores/a.csv"):
        theirs(tmp_path / name)
    (tmp_path / "target").mkdir()
    os.symlink("target", tmp_path / "LINK")
    assert attrood("fit", "scores.parquet", "-o", "axes.json").returncode == 0
    shutil.copytree(tmp_path / "m", tmp_path / "prod")
    shutil.copy(tmp_path / "axes.json", tmp_path / "prod/axes.json")
    before = tree(tmp_path)
    for args in (
        ("score", "scores.parquet"),
        ("score", "scores.parquet", "-o", "scores.parquet"),
        ("fit", "scores.parquet", "-o", "scores.parquet"),
        ("run", "scores.parquet", "-o", "proj"),
        ("run", "scores.parquet", "-o", "prod"),
        ("run", "m", "-o", "m"),
        ("score", "scores.parquet", "-o", "."),
        ("evaluate", "scores.parquet", "-o", "proj"),
    ):
        done = attrood(*args)
        assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1) and done.stderr.startswith(
            "attrood: "
        ), (args, done.stderr)
        assert tree(tmp_path) == before, args
    assert attrood("run", "scores.parquet", "--mode", "default", "-o", "LINK").returncode == 0
    after = tree(tmp_path)
    assert {k: after.get(k) for k in before} == before and "target/axes.json" in after
    assert attrood("report", "LINK").returncode == 0  # its report is ours to replace, and the folder still is
    theirs(tmp_path / "target/figures/mine.png")
    before = tree(tmp_path)
    done = attrood("run", "scores.parquet", "--mode", "default", "-o", "LINK")
    assert done.returncode == 2 and "figures/mine.png" in done.stderr and tree(tmp_path) == before


@pytest.fixture(scope="module", autouse=True)
def count():
    "The number of cases; with ATTROOD_CASES=FILE.csv by command, kind of path and end, in a table."
    yield
    ends = Counter()
    for (_, _, end), n in COUNTS.items():
        ends[end] += n
    print("\ncases:", dict(ends), "together", ends.total())
    if table := os.environ.get("ATTROOD_CASES"):
        rows = [(*key, n) for key, n in sorted(COUNTS.items())]
        pd.DataFrame(rows, columns=["command", "path", "end", "cases"]).to_csv(table, index=False)
