"""Acting on a log: tuned vectors go into a run, the room needs no torch, broken inputs end with one line."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import attrood as at
from attrood.act import adapt, suggest_classes, whatif
from attrood.act.suggest import Wins, greedy_cover
from attrood.act.tuning import Weights, tune
from attrood.data import Preprocessing
from attrood.evidence import log_from_embeddings
from attrood.inference import infer, vectors

ROOT = Path(__file__).resolve().parents[1]
WITHOUT_TORCH = """import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in ('torch', 'open_clip'): raise ModuleNotFoundError('No module named ' + name, name=name)
sys.meta_path.insert(0, Absent())
"""


class MeanColour:
    name, weights_sha256, preprocessing, logit_scale, logit_bias = "mean colour", "", Preprocessing((32, 32)), 10.0, 0.0

    def encode_images(self, pixels):
        return pixels.reshape(len(pixels), -1, 3).mean(1) - 128.0

    def encode_texts(self, texts):
        return np.array([(1.0, -1, -1) if "red" in t else (-1.0, -1, 1) for t in texts])


@pytest.fixture
def photos(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, colour in {"red/a": (200, 60, 60), "red/b": (220, 90, 40), "blue/c": (50, 60, 190)}.items():
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 40), colour).save(tmp_path / f"photos/{name}.png")
    return tmp_path


def test_a_run_asks_with_the_vectors_of_a_file(photos):
    swapped = vectors.ClassVectors(["blue", "red"], MeanColour().encode_texts(["red", "blue"]), {"templates": ["a {}"]})
    swapped.write("swapped.safetensors")
    infer("photos", model=MeanColour(), out="log", vectors="swapped.safetensors", progress=False)
    log = at.read_log("log")
    assert log.manifest.class_names == ["blue", "red"] and log.manifest.templates == ["a {}"]
    assert log.manifest.asks_with(vectors.read_class_vectors("swapped.safetensors").vectors)
    names = dict(zip(log.array("label"), log.array("prediction"), strict=True))
    assert names == {"red": "blue", "blue": "red"}  # the file wins over the prompts
    with pytest.raises(ValueError, match="another run|other settings|differ"):
        infer("photos", model=MeanColour(), out="log", progress=False)


def test_vectors_of_another_model_are_refused(photos):
    about = {"model": {"weights_sha256": "f" * 64}}
    vectors.ClassVectors(["a", "b"], np.eye(4)[:2], about).write("wide.safetensors")
    with pytest.raises(ValueError, match="are of another model than mean colour"):
        infer("photos", model=MeanColour(), out="log", vectors="wide.safetensors", progress=False)
    assert not Path("log").exists()


def made(n: int = 200, classes: int = 6, d: int = 24, seed: int = 0):
    "A log of noisy copies of class vectors, and these; a fifth of the rows show what is no class."
    rng = np.random.default_rng(seed)
    t, other = rng.normal(size=(classes, d)), rng.normal(size=d)
    y = rng.integers(classes + 1, size=n)
    x = np.r_[t, other[None]][y] + 0.4 * rng.normal(size=(n, d))
    names = [f"class {i}" for i in range(classes)]
    label = [names[c] if c < classes else "other" for c in y]
    log = log_from_embeddings(
        x,
        t,
        names,
        20.0,
        labels=label,
        roles=np.where(y < classes, "id", "ood"),
        domains=np.where(y < classes, "known", "other"),
        keep_embeddings=True,
        evidence=False,
    )
    return log, t, other


def test_what_if_equals_a_log_made_anew():
    log, t, other = made()
    words = at.evidence.vocabulary.Vocabulary.of(["other thing", "nothing"])
    given = {"text": t, "words": (words, np.stack([other, -other])), "tower": False}
    done = whatif(log, add=["other thing"], drop=["class 2"], rename={"class 1": "nothing"}, **given)
    assert done.after.manifest.class_names == ["class 0", "nothing", "class 3", "class 4", "class 5", "other thing"]
    x = log.array("image_embedding").astype(np.float64)
    unit = [v / np.linalg.norm(v) for v in (t[0], -other, t[3], t[4], t[5], other)]
    s = x / np.linalg.norm(x, axis=1, keepdims=True) @ np.array(unit).T
    want = np.array(done.after.manifest.class_names)[s.argmax(axis=1)]
    assert done.after.array("prediction").tolist() == want.tolist()
    assert done.after.array("id").tolist() == log.array("id").tolist()


def test_no_called_out_row_is_no_error():
    log, t, other = made()
    words = at.evidence.vocabulary.Vocabulary.of(["other thing", "nothing"])
    found = suggest_classes(log.select(log.is_id), 2, text=t, words=(words, np.stack([other, -other])))
    assert set(found.to_dict()) == {"words", "called_out", "rows", "null", "exact"} and found.summary()


def test_cover_never_exceeds_what_may_change():
    from scipy.sparse import csc_array

    rng = np.random.default_rng(0)
    gain = csc_array(np.where(rng.uniform(size=(300, 40)) < 0.2, rng.uniform(size=(300, 40)), 0))
    wins = Wins([f"w{i}" for i in range(40)], gain, gain, np.arange(300) < 150, np.arange(300) >= 150)
    for most in (0.0, 0.1, 0.3, 0.5):
        taken = greedy_cover(wins, 5, most)
        hit = (gain[:, taken].toarray() > 0).any(axis=1) if taken else np.zeros(300, bool)
        assert hit[150:].sum() <= most * 150


def test_tuning_is_the_same_twice_and_never_worse_on_what_stops_it():
    rng = np.random.default_rng(1)
    t = rng.normal(size=(5, 16))
    y = np.repeat(np.arange(5), 12)
    x = t[y] + rng.normal(size=(60, 16))
    one, two = (tune(x, y, t, 10.0, Weights(), steps=40) for _ in range(2))
    assert one.vectors.tobytes() == two.vectors.tobytes()
    assert min(one.validation) <= one.validation[0] and one.validation[one.steps] == min(one.validation)


def test_tuning_runs_in_one_thread(monkeypatch):
    from threadpoolctl import threadpool_info, threadpool_limits

    from attrood.act import tuning

    seen, own = [], tuning.minimize

    def watched(*given, **more):
        seen.extend(p["num_threads"] for p in threadpool_info() if p["user_api"] == "blas")
        return own(*given, **more)

    monkeypatch.setattr(tuning, "minimize", watched)
    rng = np.random.default_rng(1)
    t = rng.normal(size=(5, 16))
    with threadpool_limits(2):
        tune(t[np.arange(20) % 5] + rng.normal(size=(20, 16)), np.arange(20) % 5, t, 10.0, steps=3)
    assert seen and set(seen) == {1}


def test_the_room_needs_no_torch():
    code = (
        "import numpy as np, attrood as at\n"
        "rng = np.random.default_rng(0); t = rng.normal(size=(3, 16)); y = np.arange(90) % 3\n"
        "log = at.log_from_embeddings(t[y] + rng.normal(size=(90, 16)), t, list('abc'), labels=y, keep_embeddings=True, evidence=False)\n"
        "print(at.adapt(log, 4, text=t, axes=False).tuned.rows, at.whatif(log, drop=['a'], text=t).table['changed'].gt(0).all())"
    )
    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCH + code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.split("\n")[0] == "(9, 3) True", done.stderr


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"add": ["no such word"]}, "no text vector for 'no such word'"),
        ({"drop": ["class 9"]}, "'class 9' is no class of the log"),
        ({"add": ["Class_1"]}, "'Class_1' is a class already: 'class 1'"),
        ({"templates": ["a {}"]}, "templates need the model's text tower"),
        ({}, "say what is to be tried"),
        ({"add": [""]}, "class_names must be names, got '' at 6"),
        ({"templates": ["photo"]}, "template must hold {} once"),
    ],
)
def test_wrong_input_is_one_line(how, said):
    log, t, _ = made(60)
    with pytest.raises(ValueError, match=said) as caught:
        whatif(log, text=t, tower=False, **how)
    assert "\n" not in str(caught.value)


def test_classes_that_no_image_tells_apart_are_named():
    log, t, _ = made(60)
    names = log.manifest.class_names
    tuned = vectors.ClassVectors(names, np.r_[t[:1], t[:1], t[2:]])
    assert whatif(log, tuned=tuned, text=t, tower=False).notes == (
        "classes 'class 0' and 'class 1' have one text vector: no image tells them apart",
    )
    assert whatif(log, drop=["class 0"], text=t, tower=False).notes == ()


def test_one_class_is_none_to_tune():
    log, t, _ = made(60, classes=1)
    with pytest.raises(ValueError, match="has one class, and tuning needs two or more"):
        adapt(log, 4, text=t, axes=False)


def test_a_written_log_says_its_reasons_or_that_it_has_none(tmp_path):
    from typer.testing import CliRunner

    from attrood.entrance.cli import app
    from attrood.why import log_reasons

    def call(*words):
        done = CliRunner().invoke(app, [*map(str, words)])
        assert done.exit_code == 0, done.output
        return done.output

    few = call("whatif", "animals", "--add-class", "bicycle", "-o", tmp_path / "few.parquet")
    assert "keeps no words of its rows" in few and "infer --embeddings" in few
    with pytest.warns(UserWarning, match="no reasons in words"):
        assert log_reasons.learn_reasons(at.read_log(tmp_path / "few.parquet")) is None
    bank, rows, _ = at.evidence.vocabulary.bundled_bank()
    rng, names = np.random.default_rng(0), ["cat", "dog", "horse"]
    shown = np.repeat([*names, "bicycle"], 90)
    x = np.stack([rows[bank.names.index(w)] for w in shown]).astype(float)
    known, t = shown != "bicycle", np.stack([rows[bank.names.index(c)] for c in names]).astype(float)
    log = at.log_from_embeddings(
        x + 0.05 * rng.normal(size=x.shape),
        t,
        names,
        labels=shown,
        domains=np.where(known, "animals", "bicycles"),
        roles=np.where(known, "id", "ood"),
        words=bank,
        word_embeddings=rows,
        picture=pd.DataFrame({"sharpness": rng.normal(size=len(shown)), "noise": rng.normal(size=len(shown))}),
        keep_embeddings=True,
        model={"name": "ViT-B-32-quickgelu", "pretrained": "openai"},
    )
    at.write_log(log, tmp_path / "log.parquet")
    said = call("whatif", tmp_path / "log.parquet", "--drop-class", "horse", "-o", tmp_path / "new.parquet")
    assert "keeps no words" not in said
    new = at.read_log(tmp_path / "new.parquet")
    assert {"word_margin", "word_lead", "picture", "picture_noise", "knn"} <= set(new.manifest.evidence)
    np.testing.assert_array_equal(new.array("picture"), log.array("picture"))  # no class has part in it
    np.testing.assert_array_equal(new.array("knn"), log.array("knn"))
    table = log_reasons.reason_table(new)
    strange = table[shown == "bicycle"]
    assert (strange["reason"] == "not_in_list").mean() > 0.5 and "horse" in set(table["reason_name"][shown == "horse"])
