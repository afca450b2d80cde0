"""The front door: `import attrood as at`, as a new user meets it."""

import ast
import inspect
import subprocess
import sys
from dataclasses import fields
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("torch", "numpy", "pandas", "sklearn", "pyarrow", "scipy", "matplotlib")

import attrood as at  # noqa: E402

WITHOUT_TORCH = """import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in ('torch', 'open_clip'): raise ModuleNotFoundError('No module named ' + name, name=name)
sys.meta_path.insert(0, Absent())
"""


def python(code: str) -> str:
    "What a fresh interpreter prints."
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def arrays(n: int = 240, classes: int = 8, d: int = 32, seed: int = 0):
    "Images of known classes near their class text, and others; integer labels, -1 where there is none."
    rng = np.random.default_rng(seed)
    text, label, known = rng.normal(size=(classes, d)), rng.integers(classes, size=n), np.arange(n) % 3 > 0
    images = rng.normal(size=(n, d)) + np.where(known, 1.5, 0.0)[:, None] * text[label]
    return images, text, np.where(known, label, -1), np.where(known, "id", "ood")


def test_opens_in_half_a_second_and_loads_nothing():
    code = f"import sys, time; t = time.perf_counter(); import attrood; print(time.perf_counter() - t, *[m for m in {HEAVY!r} if m in sys.modules])"
    seconds, *loaded = python(code).split()
    assert float(seconds) < 0.5 and not loaded


def test_every_name_is_there_typed_and_in_the_map():
    assert 12 <= len(at._DOOR) <= 20
    tree = ast.parse(Path(at.__file__).read_text(encoding="utf-8"))
    typed = {
        a.name: node.module.split(".", 1)[1]
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("attrood.")
        for a in node.names
    }
    assert typed == {name: room for name, (room, _) in at._DOOR.items()}, (
        "a name of the door stands in the table and among the imports for type checkers"
    )
    for name, (room, what) in at._DOOR.items():
        assert getattr(at, name) is getattr(import_module(f"attrood.{room}"), name) and name in dir(at)
        assert f"{name:<21}{what}" in at.__doc__
    with pytest.raises(AttributeError, match="module 'attrood' has no attribute 'fitaxes'"):
        at.fitaxes  # noqa: B018


def test_help_is_one_screen_and_needs_no_torch():
    text = python(WITHOUT_TORCH + "import pydoc, attrood; print(pydoc.render_doc(attrood, renderer=pydoc.plaintext))")
    assert text.count("\n") < 80 and max(map(len, text.splitlines()[:-4])) <= 90
    assert "log_from_embeddings" in text and "attrood.why" in text


def test_inference_opens_without_torch():
    assert python(WITHOUT_TORCH + "import attrood as at; print(at.infer.__name__, at.Encoder.__name__)").split() == [
        "infer",
        "Encoder",
    ]


def test_the_callers_rows_stay_where_they_are():
    images, text, label, role = arrays()
    names = [f"class {c}" for c in range(len(text))]
    log = at.log_from_embeddings(images, text, names, 20.0, roles=role, labels=label)
    assert (
        log.array("label").tolist() == [names[c] if c >= 0 else None for c in label]
        and log.array("role").tolist() == role.tolist()
    )
    assert log.array("reference").sum() > 16 and {"knn", "vim", "mahalanobis"} <= set(log.manifest.evidence)
    mixed = np.random.default_rng(1).permutation(len(images))
    other = at.log_from_embeddings(
        images[mixed], text, names, 20.0, ids=log.array("id")[mixed], roles=role[mixed], labels=label[mixed]
    )
    assert other.table.equals(log.select(mixed).table), "the same bits in every column, in the caller's order"


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("mode", ["default", "many", "paper"])
def test_any_order_of_rows_gives_the_same_axes(mode):
    log = at.bundled_log()
    mixed = log.select(np.random.default_rng(2).permutation(len(log)))
    one, two = at.fit_axes(log, mode), at.fit_axes(mixed, mode)
    assert one.to_dict() == two.to_dict()
    assert at.score_log(two, mixed)["id"].tolist() == mixed.array("id").tolist()


def test_files_keep_the_order_and_logs_their_names(tmp_path):
    log = at.bundled_log()
    mixed = log.select(np.random.default_rng(3).permutation(len(log)))
    read = at.read_log(at.write_log(mixed, tmp_path / "mine.parquet"))
    assert read.table.equals(mixed.table) and read.name == str(tmp_path / "mine.parquet") and log.name == "animals"
    with pytest.raises(ValueError, match=r"mine\.parquet has no column 'nope'"):
        read.array("nope")


def test_probabilities_are_no_logits():
    p = np.random.default_rng(0).dirichlet(np.ones(5), 8)
    with pytest.raises(ValueError, match="got probabilities"):
        at.log_from_logits(p, list("abcde"))
    with pytest.warns(UserWarning, match="logarithms of probabilities"):
        at.log_from_logits(np.log(p), list("abcde"))
    with pytest.warns(UserWarning, match=r"all lie in \[-1, 1\]"):
        at.log_from_logits(p - 0.5, list("abcde"))


def test_names_have_one_unicode_form():
    log = at.log_from_logits(np.eye(2) * 9, ["cafe\u0301", "tea"], labels=["caf\u00e9", "te\u0301"])
    assert log.manifest.class_names[0] == "caf\u00e9" and log.array("label").tolist() == ["caf\u00e9", "t\u00e9"]


def test_infer_settings_are_written_once():
    "The command line has every setting that a terminal can give, with the same default and sentence."
    from attrood.entrance.cli_infer import infer_command

    options = inspect.signature(infer_command).parameters
    for f in fields(at.InferOptions):
        assert (f.name in options) == (f.metadata["cli"] is not False) and f.metadata["text"]
        if f.name in options:
            p = options[f.name]
            assert p.annotation.__metadata__[0].help == f.metadata["text"] and p.default == (
                None if f.metadata["bare"] or f.default in (None, ()) else f.default
            )


def test_an_encoder_of_ones_own(tmp_path):
    "A model without torch: images to a log to axes."
    from PIL import Image

    from attrood.data import Preprocessing

    class Histogram:
        name, weights_sha256, preprocessing, logit_scale, logit_bias = (
            "histogram",
            "1",
            Preprocessing((16, 16)),
            10.0,
            0.0,
        )

        def encode_images(self, pixels):
            return (
                np.stack([np.histogram(p[..., c], 8, (0, 256))[0] for p in pixels for c in range(3)]).reshape(
                    len(pixels), -1
                )
                + 0.1
            )

        def encode_texts(self, texts):
            return np.stack([np.random.default_rng(len(t)).random(24) for t in texts])

    rng = np.random.default_rng(0)
    for k in range(12):
        file = tmp_path / ("known" if k < 8 else "other") / ("cat", "horse")[k % 2] / f"{k}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8)).save(file)
    done = at.infer(
        str(tmp_path / "known"), str(tmp_path / "other"), Histogram(), out=tmp_path / "log", progress=False, cache=False
    )
    log = at.read_log(tmp_path / "log")
    assert (
        done.images == 12
        and log.manifest.model == {"name": "histogram", "pretrained": "", "weights_sha256": "1"}
        and log.manifest.class_names == ["cat", "horse"]
    )
    with pytest.raises(
        ValueError, match="patches need an OpenCLIP vision transformer: model histogram has no encode_patches"
    ):
        at.infer(
            str(tmp_path / "known"), (), Histogram(), out=tmp_path / "x", patches=True, progress=False, cache=False
        )
    with pytest.raises(TypeError, match="infer has no setting 'batchsize'"):
        at.infer(str(tmp_path / "known"), (), Histogram(), out=tmp_path / "x", batchsize=3)
