"""The command line as a process: wrong input, interruption, and the same bytes for the same input."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import command, environment, start
from typer.testing import CliRunner

from attrood.axes.card import card_from_weights, origin
from attrood.entrance.cli import app
from attrood.evidence import evidence_frame
from attrood.log import Log, write_log


def set_column(log: Log, name: str, values: np.ndarray) -> Log:
    "A log with one column replaced, unchecked."
    return replace(log, table=log.table.set_column(log.table.column_names.index(name), name, pa.array(values)))


def spoil(folder: Path, log: Log) -> dict[str, tuple[list[str], str]]:
    "Every kind of wrong input: name -> arguments, and what the one line must say."
    energy = log.array("energy").copy()
    energy[7] = np.nan
    infinite = log.array("conf").copy()
    infinite[9] = np.inf
    write_log(log, folder / "good.parquet")
    write_log(replace(log, table=log.table.drop_columns(["energy"])), folder / "column.parquet")
    write_log(replace(log, manifest=replace(log.manifest, schema_version=2)), folder / "version.parquet")
    write_log(log.select(~log.is_id), folder / "noid.parquet")
    write_log(log.select(log.is_id), folder / "oneset.parquet")
    write_log(set_column(log, "energy", energy), folder / "nan.parquet")
    write_log(set_column(log, "conf", infinite), folder / "inf.parquet")
    few = np.r_[np.flatnonzero(log.is_id)[:2], np.flatnonzero(~log.is_id)[:2]]
    write_log(log.select(few), folder / "few.parquet")
    (folder / "empty").mkdir()
    (folder / "text.parquet").write_text("not parquet")
    pq.write_table(pa.table({"a": [1]}), folder / "other.parquet")
    whole = (folder / "good.parquet").read_bytes()
    (folder / "cut.parquet").write_bytes(whole[: len(whole) // 2])
    (folder / "card.json").write_text("{}")
    (folder / "file").write_text("in the way")
    return {
        "missing file": (["run", "nowhere.parquet"], "nowhere.parquet: no such file"),
        "folder without Parquet": (["run", "empty"], "empty holds no .parquet file"),
        "no Parquet": (["run", "text.parquet"], "text.parquet is no readable Parquet file"),
        "no log": (["run", "other.parquet"], "other.parquet is Parquet but no attrood log"),
        "truncated": (["run", "cut.parquet"], "cut.parquet is no readable Parquet file, or is cut off"),
        "missing column": (["run", "column.parquet"], "column.parquet lacks column 'energy'"),
        "schema version": (["run", "version.parquet"], "version.parquet: the manifest has log schema version 2"),
        "no ID rows": (["run", "noid.parquet"], "noid.parquet has no ID rows"),
        "one domain": (
            ["run", "oneset.parquet", "--mode", "paper"],
            "oneset.parquet has rows of one domain only ('animal_photos')",
        ),
        "few ID rows": (["run", "few.parquet"], "few.parquet must have at least 30 ID rows"),
        "NaN": (["run", "nan.parquet"], f"'energy' holds nan in row 7 (id '{log.array('id')[7]}')"),
        "infinity": (["run", "inf.parquet"], f"'conf' holds inf in row 9 (id '{log.array('id')[9]}')"),
        "fewer rows than folds": (["run", "few.parquet", "--mode", "paper"], "n_folds = 5"),
        "fewer rows than folds, fit": (["fit", "few.parquet", "--mode", "paper", "-o", "a.json"], "n_folds = 5"),
        "card that is none": (["score", "good.parquet", "--axes", "card.json"], "card.json is JSON but no axis card"),
        "card that is missing": (["score", "good.parquet", "--axes", "no.json"], "no.json: no axis card can be read"),
        "output is a file": (["run", "good.parquet", "-o", "file"], "is a file"),
        "output in a file": (["run", "good.parquet", "-o", "file/out"], "cannot write to"),
        "unknown option": (["run", "--nonsense"], "No such option"),
        "unknown mode": (["run", "--mode", "papre"], "papre"),
    }


def test_wrong_input_gets_one_line_status_2_and_no_file(attrood, forked, tmp_path, small_log):
    for name, (args, say) in spoil(tmp_path, small_log).items():
        before = sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*"))
        done = (attrood if name == "NaN" else forked)(*args)  # one of them as a process with a start of its own
        assert done.returncode == 2, (name, done.stderr)
        assert say in done.stderr, (name, done.stderr)
        assert done.stdout == "", name
        assert "Traceback" not in done.stderr, name
        if "unknown" not in name:
            assert done.stderr.splitlines()[-1].startswith("attrood: "), (name, done.stderr)
        assert sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*")) == before, name


def test_card_that_needs_more_than_the_log_has(attrood, tmp_path, small_log):
    write_log(small_log, tmp_path / "log.parquet")
    assert (
        attrood(
            "fit",
            "log.parquet",
            "-o",
            "axes.json",
            "--evidence",
            "conf",
            "--evidence",
            "energy",
            "--evidence",
            "entropy",
        ).returncode
        == 0
    )
    card = json.loads((tmp_path / "axes.json").read_text())
    card["evidence"][1]["name"] = "knn50"
    for axis in card["axes"]:
        axis["weights"] = {"knn50" if name == "energy" else name: w for name, w in axis["weights"].items()}
    (tmp_path / "axes.json").write_text(json.dumps(card))
    done = attrood("score", "log.parquet", "--axes", "axes.json")
    assert (done.returncode, (tmp_path / "scores.parquet").exists()) == (2, False)
    assert "log.parquet lacks the evidence 'knn50'" in done.stderr


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs users")
def test_folder_without_permission(small_log):
    "Of a file, of a folder, and of a log that may not be read; root, who may do anything, becomes somebody else."
    import attrood.entrance.job
    import attrood.entrance.report
    import attrood.why  # noqa: F401 - somebody else may not be able to load what is needed

    place = Path(tempfile.mkdtemp())
    place.chmod(0o777)
    write_log(small_log, place / "log.parquet")
    write_log(small_log, place / "secret.parquet")
    (place / "secret.parquet").chmod(0)
    (place / "locked").mkdir(mode=0o555)
    card_from_weights([[1.0]], ["a"], ["other"], evidence_frame(small_log, ["conf"])).write(place / "axes.json")
    before = sorted(place.rglob("*"))
    for first in (["run"], ["score", "--axes", str(place / "axes.json")]):  # loads what a command needs
        assert CliRunner().invoke(app, [*first, str(place / "nothing.parquet")]).exit_code
    try:
        for args, said in (
            (("run", "log.parquet", "-o", "locked/out"), "cannot write to"),
            (("score", "log.parquet", "--axes", "axes.json", "-o", "locked/s.parquet"), "cannot write"),
            (("score", "secret.parquet", "--axes", "axes.json", "-o", "s.parquet"), "secret.parquet cannot be opened"),
        ):
            pid, _, err = start(place, *args, prepare=lambda: os.geteuid() or os.setuid(65534))
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            text = err.seek(0) or err.read().decode()
            assert code == 2 and said in text and "Traceback" not in text, (args, text)
            assert sorted(place.rglob("*")) == before
    finally:
        shutil.rmtree(place)


def results(folder: Path) -> dict[str, bytes]:
    "Every file below a folder."
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_same_input_same_bytes(attrood, tmp_path, small_log):
    "Whatever the division into files and the number of threads; in another order of rows, all that does not list or draw them."
    order = np.random.default_rng(0).permutation(len(small_log))
    mixed = replace(small_log, table=small_log.table.take(pa.array(order)))
    write_log(small_log, tmp_path / "one/all.parquet")
    write_log(small_log.select(np.arange(200)), tmp_path / "two/a.parquet")
    write_log(small_log.select(np.arange(200, len(small_log))), tmp_path / "two/b.parquet")
    write_log(mixed, tmp_path / "mixed.parquet")
    assert attrood("run", "one", "-o", "out1", OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1").returncode == 0
    assert attrood("run", "two", "-o", "out2", OMP_NUM_THREADS="2", OPENBLAS_NUM_THREADS="2").returncode == 0
    one, two = results(tmp_path / "out1"), results(tmp_path / "out2")
    assert one.keys() == two.keys() and "axes.json" in one and "paper/axes.json" in one
    assert [name for name in one if one[name] != two[name]] == []
    assert attrood("run", "mixed.parquet", "--mode", "default", "-o", "out3").returncode == 0
    three = results(tmp_path / "out3")
    follow = (".attrood.jsonl", "scores.parquet", "report.html", "figures/fig1_plane", "figures/fig2_density")
    assert {name for name in one if not name.startswith("paper/")} == three.keys()
    assert [name for name in three if one[name] != three[name] and not name.startswith(follow)] == []
    scores = [pd.read_parquet(tmp_path / out / "scores.parquet").set_index("id") for out in ("out1", "out3")]
    pd.testing.assert_frame_equal(scores[0], scores[1].loc[scores[0].index], check_exact=True)
    assert list(scores[1].index) == list(mixed.array("id"))


def test_pictures_for_the_report(attrood, tmp_path, small_log):
    "From a folder, when the log is run or when its report is written again; a broken file is left out."
    from PIL import Image

    write_log(small_log, tmp_path / "log.parquet")
    (tmp_path / "pictures/a").mkdir(parents=True)
    names = small_log.array("id")[:20]
    for i, name in enumerate(names):
        Image.new("RGB", (200, 150), (10 * i, 90, 30)).save(tmp_path / f"pictures/a/{name}.png")
    (tmp_path / f"pictures/a/{small_log.array('id')[20]}.png").write_bytes(b"broken")
    done = attrood("run", "log.parquet", "--mode", "paper", "--images", "pictures/a", "-o", "out")
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "out/report.html").read_text()
    embedded = json.loads(page.split('<script type="application/json" id="data">')[1].split("</script>")[0])["thumbs"]
    assert sorted(embedded) == sorted(names)
    assert (
        attrood("report", "out", "-o", "bare.html").returncode == 0
        and "data:image/jpeg" not in (tmp_path / "bare.html").read_text()
    )
    assert attrood("report", "out", "--images", "pictures/a", "-o", "again.html").returncode == 0
    assert (tmp_path / "again.html").read_text() == page


def test_killed_at_any_moment_leaves_old_or_new(forked, tmp_path, small_log):
    "Reading, card, scores and report are the real ones, fits and figures were made before; kills at every single step are in test_sacred_files.py."
    from attrood.entrance import job

    half = small_log.select(np.arange(0, len(small_log), 2))
    write_log(small_log, tmp_path / "log.parquet")
    write_log(half, tmp_path / "half.parquet")
    fits = {len(log): job.analyse(log, "paper") for log in (small_log, half)}

    def prepare() -> None:
        job.analyse = lambda log, *args, **options: fits[len(log)]
        job.write_figures = lambda analysis, log, folder: (
            folder.mkdir(),
            (folder / "fig.svg").write_bytes(b"x" * 10**6),
        )

    args = ("-o", "out", "--mode", "paper")
    begin = time.perf_counter()
    assert forked("run", "log.parquet", *args, prepare=prepare).returncode == 0
    took = time.perf_counter() - begin
    new = results(tmp_path / "out")
    assert forked("run", "half.parquet", *args, prepare=prepare).returncode == 0
    old = results(tmp_path / "out")
    assert old != new
    ends = set()
    for share in np.random.default_rng(1).uniform(0.1, 1.0, 8):
        pid, *_ = start(tmp_path, "run", "log.parquet", *args, prepare=prepare)
        time.sleep(share * took)
        os.kill(pid, signal.SIGKILL)
        ends.add(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        assert results(tmp_path / "out") in (old, new)
    assert -signal.SIGKILL in ends
    assert forked("run", "log.parquet", *args, prepare=prepare).returncode == 0
    assert results(tmp_path / "out") == new
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".out")] == []  # parts of killed runs are swept


def test_run_imports_no_torch_and_no_nbdev(tmp_path, small_log):
    write_log(small_log, tmp_path / "log.parquet")
    code = (
        "import sys; sys.argv = ['attrood', 'run', 'log.parquet', '--mode', 'paper']\n"
        "from attrood.entrance.cli import main\ntry: main()\nexcept SystemExit: pass\n"
        "print([m for m in ('torch', 'open_clip', 'nbdev', 'fastcore', 'execnb', 'ray', 'tensorflow') if m in sys.modules])"
    )
    done = subprocess.run([*command()[:2], code], capture_output=True, text=True, cwd=tmp_path, env=environment())
    assert done.stdout.strip() == "[]", done.stderr


@pytest.fixture
def here(tmp_path, monkeypatch, capsys):
    "Run `attrood ARGS` in this process: its status and what it said."
    from attrood.entrance import cli

    def call(*args: str) -> tuple[int, str, str]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr("sys.argv", ["attrood", *map(str, args)])
        old = signal.getsignal(signal.SIGTERM)
        try:
            cli.main()
        except SystemExit as e:
            return int(e.code or 0), *capsys.readouterr()
        finally:
            signal.signal(signal.SIGTERM, old)
        return 0, *capsys.readouterr()

    return call


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda m: {"model": dict(m.model) | {"name": "ViT-H-14"}}, "its model is 'ViT-H-14'"),
        (lambda m: {"templates": ["a toy of a {}"]}, "its prompts are ['a toy of a {}']"),
        (lambda m: {"class_names": [f"{c} toy" for c in m.class_names]}, "it has other classes, though as many"),
        (lambda m: {"class_names": [*m.class_names, "unicorn"]}, "classes, the axes are of"),
    ],
)
def test_a_card_of_another_model_or_other_texts_is_refused(here, tmp_path, small_log, change, said):
    "One line, no file; a flag is for those who know."
    card_from_weights([[1.0]], ["a"], ["other"], evidence_frame(small_log, ["conf"])).with_parts(
        provenance=origin(small_log)
    ).write(tmp_path / "axes.json")
    write_log(small_log, tmp_path / "same.parquet")
    write_log(
        replace(small_log, manifest=replace(small_log.manifest, **change(small_log.manifest))),
        tmp_path / "other.parquet",
    )
    row = ["--id", small_log.array("id")[0]]
    commands = [("score",), ("explain",), ("explain", *row), ("evaluate", "-o", "evaluation")]
    for name, *more in commands:
        code, out, err = here(name, "other.parquet", "--axes", "axes.json", *more)
        assert (
            (code, out, len(err.splitlines())) == (2, "", 1)
            and err.startswith("attrood: other.parquet cannot be scored on these axes")
            and said in err
            and "--any-model" in err
        ), (name, err)
    assert sorted(os.listdir(tmp_path)) == ["axes.json", "other.parquet", "same.parquet"]
    for name, *more in commands[:3]:
        results = [
            here(name, log, "--axes", "axes.json", "--any-model", "--json", *more)
            for log in ("same.parquet", "other.parquet")
        ]
        assert results[0][:2] == results[1][:2] and results[0][0] == 0, (name, results)


@pytest.mark.parametrize(
    "accident",
    [
        lambda: {}["x"],
        lambda: int("x"),
        lambda: len(None),
        lambda: np.ones(2).reshape(3),
        lambda: (_ for _ in ()).throw(RuntimeError("deep\ndown")),
        lambda: 1 / 0,
        lambda: json.loads("[" * 200_000),
    ],
)
def test_an_accident_is_called_a_fault_of_attrood(here, tmp_path, small_log, monkeypatch, accident):
    "One line that does not blame the input, status 1, and the traceback for whoever asks for it."
    write_log(small_log, tmp_path / "log.parquet")
    monkeypatch.setattr("attrood.entrance.analysis.analyse", lambda *args, **options: accident())
    code, out, err = here("fit", "log.parquet")
    assert (
        (code, out, len(err.splitlines())) == (1, "", 1)
        and err.startswith("attrood: this is a fault of attrood")
        and "ATTROOD_DEBUG=1" in err
        and "Traceback" not in err
    ), err
    assert os.listdir(tmp_path) == ["log.parquet"]
    monkeypatch.setenv("ATTROOD_DEBUG", "1")
    with pytest.raises(Exception) as raised:
        here("fit", "log.parquet")
    assert type(raised.value).__name__ in err
