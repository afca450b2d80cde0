"""Words and pictures of a run: asked for, there; killed, taken up; kept, applied to new images by the same fit."""

import io
import json
import os
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest

pytest.importorskip("open_clip")
from PIL import Image, ImageFilter  # noqa: E402

from attrood.evidence import EmbeddingScores, evidence_frame, extras, picture, vocabulary  # noqa: E402
from attrood.inference import infer, load_vlm  # noqa: E402
from attrood.inference.encoder import word_vectors  # noqa: E402
from attrood.log import read_log  # noqa: E402
from attrood.log.rows import evaluation_rows

WORDS = {
    "thing": ["bicycle", "castle", "guitar", "flower"],
    "medium": {"drawing": "a drawing."},
    "condition": {"blurred": "a blurred photo."},
}
USUAL = {"batch_size": 16, "shard_rows": 48, "progress": False, "max_rejects": 0.5}


def scene(seed: int) -> Image.Image:
    "A made photograph: soft light, a few hard edges, some grain."
    rng = np.random.default_rng(seed)
    soft = np.asarray(
        Image.fromarray(rng.integers(40, 216, (5, 6, 3), np.uint8)).resize((120, 100), Image.Resampling.BICUBIC)
    ).astype(float)
    for _ in range(6):
        x, y = rng.integers(0, 90, 2)
        soft[y : y + 25, x : x + 25] += rng.integers(-60, 60, 3)
    return Image.fromarray(np.clip(soft + rng.normal(0, 3, soft.shape), 0, 255).astype(np.uint8))


def save(image: Image.Image, file) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    image.save(file, **({"quality": 90} if file.suffix == ".jpg" else {}))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    "Familiar scenes of two classes, blurred ones, and a file that is no picture; a list of words."
    root = tmp_path_factory.mktemp("words")
    os.environ["ATTROOD_CACHE"] = str(root / "cache")
    for i in range(180):
        save(scene(i), root / "known" / ("ramen", "pizza")[i % 2] / f"{i:03d}.{'jpg' if i % 3 else 'png'}")
    for i in range(24):
        save(scene(500 + i).filter(ImageFilter.GaussianBlur(4)), root / "blurred" / f"{i:03d}.jpg")
    (root / "blurred/broken.jpg").write_bytes(b"\xff\xd8 not much")
    (root / "words.json").write_text(json.dumps(WORDS))
    return root


@pytest.fixture(scope="module")
def model(folder):
    from attrood.inference import pocket

    if not (pocket.DATA / "pocket.safetensors").exists():
        pytest.skip("this installation has no pocket weights")
    return load_vlm("pocket", device="cpu")


def run(folder, model, out, **more):
    return infer(
        str(folder / "known"),
        str(folder / "blurred"),
        model,
        out=out,
        **USUAL | {"words": str(folder / "words.json"), "picture": True} | more,
    )


@pytest.fixture(scope="module")
def done(folder, model):
    "A whole run with both."
    summary = run(folder, model, folder / "log")
    return summary, read_log(folder / "log")


def test_columns_are_there_and_say_what_they_are(folder, model, done):
    summary, log = done
    assert (summary.images, summary.rejects) == (204, 1) and summary.times["measure"] > 0 and "measure" in str(summary)
    about, named = log.manifest.evidence, [n for n in log.manifest.evidence if n.startswith(("word_", "picture"))]
    assert {n for n in named if n.startswith("picture")} == {"picture", *(f"picture_{m}" for m in picture.MEASURES)}
    assert {"word_margin", "word_lead", "word_mass", "word_margin_thing", "word_mass_medium"} <= set(named)
    assert (about["picture"]["group"], about["picture"]["needs"]) == ("picture", ["pixels", "reference"])
    assert (about["word_margin"]["group"], about["word_margin"]["needs"]) == ("words", ["reference", "words"])
    assert set(log.manifest.columns) >= {
        "word",
        "word_kind",
        "word_probability",
        "words",
        "measure_sharpness",
        "measure_file_quality",
    }
    assert log.array("words").shape == (204, 6) and set(log.array("word_kind")) <= {"thing", "medium", "condition"}
    assert "image_embedding" not in log.table.column_names and {"knn", "vim"} <= set(about)
    assert set(named) <= set(evidence_frame(log))
    rejected = (folder / "log/rejects.csv").read_text()
    assert rejected.count("\n") == 2 and "broken.jpg" in rejected


def test_measures_are_those_of_the_original_pixels_and_file(folder, done):
    _, log = done
    from attrood.data.pictures import decode_pixels, read_encoded

    table, ids = extras.measures_of(log), log.array("id").tolist()
    for name in ("known/pizza/001.jpg", "known/ramen/000.png", "blurred/003.jpg"):
        data = read_encoded(folder / name)
        by_hand = picture.picture_measures(np.asarray(decode_pixels(data)), data)
        np.testing.assert_allclose(
            table.iloc[ids.index(name)], [by_hand[m] for m in picture.MEASURES], rtol=1e-6, atol=1e-6
        )
    png = np.array([i.endswith(".png") for i in ids])
    assert np.isnan(table["file_quality"][png]).all() and table["file_quality"][~png].notna().all()


def test_the_reference_alone_says_what_is_usual(folder, model, done):
    _, log = done
    held, own = evaluation_rows(log), log.array("reference").astype(bool)
    table = extras.measures_of(log)
    order = np.flatnonzero(own)[np.argsort(log.array("id")[own], kind="stable")]
    scores = EmbeddingScores.load(folder / "log/scores")
    assert scores.extras.picture.rows == own.sum() >= 20 and len(scores.extras.words.words) == 6
    again = extras.fit_extras(np.empty((0, 1)), np.empty((0, 1)), [], measures=table.iloc[order])
    np.testing.assert_allclose(again.picture.score(table), log.array("picture"), rtol=1e-4)
    blurred = log.array("picture")[~log.is_id]
    assert (blurred > np.quantile(log.array("picture")[held & log.is_id], 0.95)).mean() > 0.9
    assert np.median(log.array("picture_sharpness")[~log.is_id]) > 2


def test_words_are_embedded_as_the_classes_are(folder, model, done):
    _, log = done
    words = EmbeddingScores.load(folder / "log/scores").extras.words
    v = word_vectors(model, vocabulary.read_vocabulary(folder / "words.json"), log.manifest.templates)
    np.testing.assert_allclose(words.vectors, v, atol=1e-6)
    np.testing.assert_allclose(
        words.classes, model.text_embeddings(log.manifest.class_names, log.manifest.templates), atol=1e-6
    )


@pytest.mark.parametrize("lost", [(1,), (0, 3)])
def test_a_run_that_lost_shards_ends_the_same(folder, model, done, tmp_path, lost):
    "Lost before the evidence was fitted, and after."
    shutil.copytree(folder / "log", tmp_path / "log")
    for shard in lost:
        os.unlink(tmp_path / f"log/part-{shard:05d}.parquet")
    os.unlink(tmp_path / "log/rejects.csv")
    assert run(folder, model, tmp_path / "log").status == "resumed"
    assert read_log(tmp_path / "log").fingerprint() == done[1].fingerprint()
    assert run(folder, model, tmp_path / "log").status == "complete"


@pytest.mark.parametrize("stop", ["before", "while"])
def test_a_run_that_ends_before_or_among_its_evidence_is_completed(folder, model, done, tmp_path, monkeypatch, stop):
    from attrood.inference import finish, plan

    class Stop(Exception):
        pass

    calls = []

    def fail(*args, **more):
        calls.append(1)
        if stop == "before" or len(calls) > 2:
            raise Stop
        return add(*args, **more)

    add = finish.add_evidence
    monkeypatch.setattr(*(plan, "add_run_evidence", fail) if stop == "before" else (finish, "add_evidence", fail))
    with pytest.raises(Stop):
        run(folder, model, tmp_path / "log")
    part = pq.read_schema(tmp_path / "log/part-00004.parquet").names
    assert "measure_sharpness" in part and "picture" not in part and "image_embedding" in part
    monkeypatch.undo()
    assert run(folder, model, tmp_path / "log").status == "resumed"
    assert read_log(tmp_path / "log").fingerprint() == done[1].fingerprint()


@pytest.mark.parametrize("how", [{"workers": 0}, {"workers": 3, "shard_rows": 16}, {"processes": True, "workers": 1}])
def test_workers_and_shards_change_nothing(folder, model, done, tmp_path, how):
    run(folder, model, tmp_path / "log.parquet", **how)
    one, two = read_log(tmp_path / "log.parquet"), done[1]
    assert one.table.column_names == two.table.column_names
    for name in [*one.manifest.evidence, "measure_sharpness", "measure_file_quality"]:
        np.testing.assert_allclose(one.array(name), two.array(name), rtol=2e-3, atol=2e-3)
    assert (one.array("word") == two.array("word")).mean() > 0.99
    assert sorted(p.name for p in (tmp_path / "log.scores").glob("*.npz") if p.stem in ("words", "picture")) == [
        "picture.npz",
        "words.npz",
    ]


def test_a_later_log_is_scored_with_the_same_fit(folder, model, done, tmp_path):
    later = infer((), str(folder / "blurred"), model, out=tmp_path / "later", scores=folder / "log", **USUAL)
    new, old = read_log(tmp_path / "later"), done[1]
    rows = old.array("domain") == "blurred"
    assert later.images == rows.sum() and list(new.manifest.evidence) == list(old.manifest.evidence)
    for name in new.manifest.evidence:
        np.testing.assert_allclose(new.array(name), old.array(name)[rows], rtol=1e-4, atol=1e-4, err_msg=name)
    assert (
        new.array("word").tolist() == old.array("word")[rows].tolist()
        and new.array("words").tolist() == old.array("words")[rows].tolist()
    )
    third = infer(
        (),
        str(folder / "blurred"),
        model,
        out=tmp_path / "third",
        scores=tmp_path / "later",
        words=True,
        picture=True,
        **USUAL,
    )
    assert third.images == 24 and read_log(tmp_path / "third").fingerprint() == new.fingerprint(), (
        "a fit is handed on from run to run"
    )


def evidence_of(path):
    "Which of the two a log has."
    log = read_log(path)
    has = {"words": "word" in log.table.column_names, "picture": "measure_size" in log.table.column_names}
    known = {n.split("_")[0] for n in log.manifest.evidence}
    assert {"words": "word" in known, "picture": "picture" in known} == has
    return {n for n, yes in has.items() if yes}


def test_on_by_default_and_each_alone(folder, model, tmp_path):
    asked = {
        "both": ({}, {"words", "picture"}),
        "same": ({"words": True, "picture": True}, {"words", "picture"}),
        "none": ({"words": False, "picture": False}, set()),
        "words": ({"picture": False}, {"words"}),
        "picture": ({"words": False}, {"picture"}),
        "bare": ({"evidence": False}, set()),
    }
    for out, (settings, wanted) in asked.items():
        done = infer(str(folder / "known"), (), model, out=tmp_path / out, **USUAL | settings)
        assert evidence_of(tmp_path / out) == wanted and done.notes == (), out
    assert read_log(tmp_path / "both").fingerprint() == read_log(tmp_path / "same").fingerprint()
    kinds = EmbeddingScores.load(tmp_path / "both/scores").extras.words
    names = set(read_log(tmp_path / "both").manifest.evidence)
    assert len(kinds.words) > 2000 and {"word_margin_scene", "word_margin_condition"} <= names, (
        "by itself it is the packaged vocabulary"
    )
    with pytest.raises(ValueError, match="was run without picture: leave picture out"):
        infer(str(folder / "known"), (), model, out=tmp_path / "x", scores=tmp_path / "none", picture=True, **USUAL)
    later = {"scores": tmp_path / "words", **USUAL}  # as the log has them whose scores are taken over, or less
    done = infer((), str(folder / "blurred"), model, out=tmp_path / "later", **later)
    assert evidence_of(tmp_path / "later") == {"words"}
    assert done.notes == (f"picture is left out: {tmp_path / 'words'} was run without",)
    infer((), str(folder / "blurred"), model, out=tmp_path / "less", words=False, **later)
    assert evidence_of(tmp_path / "less") == set()
    with pytest.raises(ValueError, match="holds another run .*left_out: was .*words"):
        infer((), str(folder / "blurred"), model, out=tmp_path / "less", **later)


@pytest.mark.parametrize("lost", [0, 2])
def test_a_run_begun_without_goes_on_without(folder, model, tmp_path, lost):
    "One of a version that had both off by default: nothing is thrown away, and a line says what to do."
    infer(str(folder / "known"), (), model, out=tmp_path / "log", words=False, picture=False, **USUAL)
    whole = read_log(tmp_path / "log").fingerprint()
    record = json.loads((tmp_path / "log/run.json").read_text())
    assert "words" not in record and "picture" not in record, "as it was before these settings"
    for shard in range(lost):
        os.unlink(tmp_path / f"log/part-{shard:05d}.parquet")
    if lost:
        os.unlink(tmp_path / "log/rejects.csv")
    done = infer(str(folder / "known"), (), model, out=tmp_path / "log", **USUAL)
    assert done.status == ("resumed" if lost else "complete")
    note = "words and picture are left out: this run was begun without; --restart, or another output, has them"
    assert done.notes == (note,) and str(done).endswith(f"note: {note}")
    assert read_log(tmp_path / "log").fingerprint() == whole
    with pytest.raises(ValueError, match="holds another run .*words: was null"):
        infer(str(folder / "known"), (), model, out=tmp_path / "log", words=True, **USUAL)
    infer(str(folder / "known"), (), model, out=tmp_path / "log", restart=True, **USUAL)
    assert evidence_of(tmp_path / "log") == {"words", "picture"}
    again = infer(str(folder / "known"), (), model, out=tmp_path / "log", **USUAL)
    assert (again.status, again.notes) == ("complete", ())


def test_too_few_images_and_models_without_other_words(folder, model, tmp_path):
    "What is left out is said in a line, and the run goes on; asked for, it is refused as ever."
    few = infer(f"{folder / 'known'}[:40]", (), model, out=tmp_path / "few", **USUAL)
    assert evidence_of(tmp_path / "few") == set() and len(few.notes) == 1
    assert few.notes[0].startswith("words and picture are left out: at least 30 ID reference images are needed")

    small = infer(f"{folder / 'known'}[:110]", (), model, out=tmp_path / "small", **USUAL)  # a fifth would be 22
    log = read_log(tmp_path / "small")
    assert evidence_of(tmp_path / "small") == {"words", "picture"} and not small.notes
    assert 20 <= log.array("reference").sum() <= 40
    os.unlink(tmp_path / "small/part-00001.parquet")
    os.unlink(tmp_path / "small/rejects.csv")
    infer(f"{folder / 'known'}[:110]", (), model, out=tmp_path / "small", **USUAL)
    assert read_log(tmp_path / "small").fingerprint() == log.fingerprint()

    for i in range(110):  # most of them prove to be no pictures
        f = tmp_path / "bad" / f"{i:03d}.jpg"
        save(scene(i), f) if i % 4 == 0 else (f.parent.mkdir(exist_ok=True), f.write_bytes(b"no picture"))
    bad = infer(
        str(tmp_path / "bad"), (), model, out=tmp_path / "badlog", **USUAL | {"classes": "a,b", "max_rejects": 99}
    )
    names = set(read_log(tmp_path / "badlog").manifest.evidence)
    assert "too few to learn words or pictures from" in bad.notes[-1] and not names & {"picture", "word_margin"}

    class Classes:
        "A model that knows its class names and nothing else."

        def __init__(self):
            for name in ("name", "preprocessing", "logit_scale", "logit_bias", "encode_images"):
                setattr(self, name, getattr(model, name))
            self.weights_sha256 = ""

        def encode_texts(self, texts):
            if any("ramen" not in t and "pizza" not in t and t != "a photo" for t in texts):
                raise KeyError("no such name")
            return model.encode_texts(list(texts))

    done = infer(str(folder / "known"), (), Classes(), out=tmp_path / "own", **USUAL)
    assert evidence_of(tmp_path / "own") == {"picture"}
    assert done.notes == ("words are left out: pocket gives no vectors for them (KeyError: 'no such name')",)
    again = infer(str(folder / "known"), (), Classes(), out=tmp_path / "own", **USUAL)
    assert again.status == "complete" and again.notes[0].startswith("words are left out: this run was begun without")
    with pytest.raises(KeyError):
        infer(str(folder / "known"), (), Classes(), out=tmp_path / "x", words=True, **USUAL)


def test_another_list_is_another_run(folder, model, done, tmp_path):
    (tmp_path / "words.txt").write_text("bicycle\ncastle  # with towers\n")
    with pytest.raises(ValueError, match="holds another run .*words: was"):
        run(folder, model, folder / "log", words=str(tmp_path / "words.txt"))
    with pytest.raises(ValueError, match="holds another run .*picture: "):
        run(folder, model, folder / "log", picture=False)
    shutil.copy(folder / "words.json", tmp_path / "same.json")
    assert run(folder, model, folder / "log", words=str(tmp_path / "same.json")).status == "complete", (
        "the words count, not the name of the file"
    )
    (tmp_path / "classes.txt").write_text("ramen\npizzas\n")
    with pytest.raises(ValueError, match="words must hold one that means no class, got 2 that all do"):
        run(folder, model, tmp_path / "x", words=str(tmp_path / "classes.txt"))
    with pytest.raises(ValueError, match="path must be a readable list of words"):
        run(folder, model, tmp_path / "x", words=str(tmp_path / "none.txt"))
    (tmp_path / "mine").mkdir()
    shutil.copy(folder / "words.json", tmp_path / "mine/words.json")
    with pytest.raises(ValueError):
        run(folder, model, tmp_path / "mine", words=str(tmp_path / "mine/words.json"))
    assert json.loads((tmp_path / "mine/words.json").read_text()) == WORDS, "an output costs no list"
    assert not (tmp_path / "x").exists()


def test_odd_pictures_are_measured_or_rejected(folder, model, done, tmp_path):
    from attrood.data.sources import MemorySource

    def encoded(image, fmt="PNG", **more):
        f = io.BytesIO()
        image.save(f, fmt, **more)
        return f.getvalue()

    odd = [
        encoded(Image.new(mode, size))
        for mode, size in (
            ("RGB", (1, 1)),
            ("L", (3, 90)),
            ("I;16", (40, 40)),
            ("RGBA", (9, 7)),
            ("P", (20, 20)),
            ("1", (8, 8)),
        )
    ]
    odd += [
        encoded(Image.new("CMYK", (30, 30)), "JPEG"),
        encoded(scene(1), "WEBP"),
        encoded(scene(2), "GIF"),
        b"",
        b"no",
    ]
    later = infer(
        (), MemorySource(odd, domain="odd", role="ood"), model, out=tmp_path / "odd", scores=folder / "log", **USUAL
    )
    log = read_log(tmp_path / "odd")
    assert (later.images, later.rejects) == (9, 2) and np.isfinite(evidence_frame(log).to_numpy()).all()


def test_the_command_line_has_both(folder, model, tmp_path):
    from typer.testing import CliRunner

    from attrood.entrance.cli import app

    said = CliRunner().invoke(
        app,
        [
            "infer",
            "--id",
            str(folder / "known"),
            "--model",
            "pocket",
            "--words",
            str(folder / "words.json"),
            "--picture",
            "-o",
            str(tmp_path / "log"),
        ],
    )
    assert said.exit_code == 0, said.output
    assert {"word_margin_medium", "picture_noise"} <= set(read_log(tmp_path / "log").manifest.evidence)
    wide = CliRunner().invoke(app, ["infer", "--help"], env={"COLUMNS": "160", "TERM": "dumb"}).output
    for option in ("--words", "[FILE]", "--no-words", "--picture", "--no-picture"):
        assert option in wide, option
    plain = ["infer", "--id", str(folder / "known"), "--model", "pocket", "-o", str(tmp_path / "plain")]
    said = CliRunner().invoke(app, plain)
    assert said.exit_code == 0, said.output
    assert evidence_of(tmp_path / "plain") == {"words", "picture"}
    said = CliRunner().invoke(app, [*plain[:-1], str(tmp_path / "less"), "--no-words", "--no-picture"])
    assert said.exit_code == 0 and evidence_of(tmp_path / "less") == set()
