"Camera faults of one's own pictures, made at the end of a run: kept whatever ends the process, and thrown away with the run."

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import CliRunner

from attrood.entrance.cli import app
from attrood.entrance.own_faults import OwnFaults
from attrood.evidence import picture_causes
from attrood.ground import outputs
from attrood.inference import finish, folder, infer
from attrood.log import read_log
from attrood.log.files import merge_logs

CALL = "--model pocket --classes pizza,sushi --device cpu --workers 0 --template".split() + ["a photo of {}."]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    place, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for i in range(225):
        patches = np.kron(rng.integers(60, 190, (5, 5, 3)), np.ones((8, 8, 1))).astype(np.uint8)
        file = place / ("pizza", "sushi")[i % 2] / f"{i:03d}.png"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(patches).save(file)
    return place


def call(*words):
    done = CliRunner().invoke(app, [str(w) for w in words])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def run(photos, out, learn=None, **more):
    return infer(
        str(photos), model="pocket", out=out, classes="pizza,sushi", picture=True, learn=learn, workers=0,
        progress=False, batch_size=25, shard_rows=75, **more,
    )  # fmt: skip


def same_rows(a, b):
    "Whether two logs have the same rows, nan beside nan, whatever faults they know."
    return len({replace(x, manifest=replace(x.manifest, causes={})).fingerprint() for x in (a, b)}) == 1


def never(log, sources):
    raise AssertionError("faults are known and must not be made again")


@pytest.fixture(scope="module")
def learnt(photos, tmp_path_factory):
    out = tmp_path_factory.mktemp("learnt") / "log"
    return out, run(photos, out, OwnFaults())


def test_one_file_keeps_them_and_fit_finds_them(photos, tmp_path):
    out, card = tmp_path / "log.parquet", tmp_path / "axes.json"
    done = call("infer", photos, *CALL, "--causes", "-o", out, "--json")
    told = json.loads(done.stdout.splitlines()[-1])
    assert "blur" in told["faults"] and "none" not in told["faults"] and len(told["faults"]) == 8
    assert "camera faults: 8 kinds made on 4" in done.output  # some forty reference pictures
    assert outputs.is_marked(out, folder.KIND) and sorted(p.name for p in tmp_path.iterdir()) == [
        "log.parquet", "log.rejects.csv", "log.scores",
    ]  # fmt: skip
    own = read_log(out).manifest.causes
    call("fit", out, "-o", card)
    kept = json.loads(card.read_text())["reasons"]["causes"]
    assert np.array_equal(kept["weights"], own["weights"])
    assert not np.allclose(kept["weights"], picture_causes.packaged_causes().weights)
    again = call("infer", photos, *CALL, "--causes", "-o", out)
    assert "nothing was done" in again.output and "8 kinds are known to the log already" in again.output


@pytest.mark.parametrize("at", [0, 1, 2])
def test_an_end_between_two_files_loses_nothing(photos, tmp_path, monkeypatch, at):
    out, number = tmp_path / "log", iter(range(99))
    run(photos, out)
    rows = read_log(out)

    def ends(*given):
        if next(number) == at:
            raise KeyboardInterrupt
        return folder.change_manifest(*given)

    monkeypatch.setattr(finish, "change_manifest", ends)
    with pytest.raises(KeyboardInterrupt):
        run(photos, out, OwnFaults())
    monkeypatch.undo()
    half = read_log(out)  # readable meanwhile
    assert same_rows(half, rows) and bool(half.manifest.causes) == (at > 0)
    done = run(photos, out, never)
    whole = read_log(out)
    files = sorted(out.glob("part-*.parquet"))
    told = {json.dumps(json.loads(pq.read_schema(f).metadata[b"attrood"])["causes"]) for f in files}
    assert done.status == "complete" and len(files) == 3 and len(told) == 1
    assert same_rows(whole, rows) and len(whole.manifest.causes["causes"]) == 9
    assert next(outputs.strangers(out, folder.KIND), "scores").startswith("scores")


def test_an_end_while_they_are_made(photos, tmp_path):
    out = tmp_path / "log"

    def ends(log, sources):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(photos, out, ends)
    assert not read_log(out).manifest.causes and not (out / "scores" / "causes.npz").exists()
    assert run(photos, out, OwnFaults()).faults


def test_restart_throws_them_away(photos, learnt, tmp_path):
    out = tmp_path / "log"
    shutil.copytree(learnt[0], out)
    assert (out / "scores" / "causes.npz").exists()
    done = run(photos, out, restart=True)
    assert done.status == "written" and not done.faults
    assert not read_log(out).manifest.causes and not (out / "scores" / "causes.npz").exists()


def test_a_later_run_takes_them_over(photos, learnt, tmp_path):
    first = read_log(learnt[0]).manifest.causes
    done = infer(
        f"more={photos}[:30]", model="pocket", out=tmp_path / "log", scores=learnt[0], workers=0, progress=False
    )
    assert done.images == 30 and read_log(tmp_path / "log").manifest.causes == first


def test_a_file_that_was_changed_is_kept(photos, learnt, tmp_path):
    out = tmp_path / "log"
    shutil.copytree(learnt[0], out)
    (out / "scores" / "causes.npz").unlink()
    file = out / "part-00001.parquet"
    table = pq.read_table(file)
    pq.write_table(table.append_column("camera", [["mine"] * len(table)]), file)
    before = file.read_bytes()
    with pytest.raises(ValueError, match=r"part-00001.parquet was changed since attrood wrote it"):
        run(photos, out, never)
    assert file.read_bytes() == before


def test_logs_with_other_faults_merge_without(learnt):
    log = read_log(learnt[0])
    a, b = log.select(np.arange(100)), log.select(np.arange(100, len(log)))
    none, other = replace(b.manifest, causes={}), replace(b.manifest, causes={**b.manifest.causes, "usual": "blur"})
    assert merge_logs([a, b]).manifest.causes == log.manifest.causes
    assert merge_logs([replace(b, manifest=none), a]).manifest.causes == log.manifest.causes
    assert merge_logs([a, replace(b, manifest=other)]).manifest.causes == {}


def test_wrong_calls_are_refused_before_the_work(photos, learnt, tmp_path):
    out = tmp_path / "log"
    with pytest.raises(ValueError, match="needs at least 40 reference pictures.* about 20 will be at hand"):
        call("infer", f"{photos}[:100]", *CALL, "--causes", "-o", out)
    with pytest.raises(ValueError, match="--causes learns from reference images"):
        call("infer", photos, "--model", "pocket", "--scores", learnt[0], "--causes", "-o", out)
    assert list(Path(tmp_path).iterdir()) == []
