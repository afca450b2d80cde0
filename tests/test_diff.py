"""What differs between two runs is named: eight deliberate differences, each made for real with the pocket model."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("open_clip")
from PIL import Image, ImageDraw  # noqa: E402
from typer.testing import CliRunner  # noqa: E402

from attrood.entrance.cli import app  # noqa: E402
from attrood.inference import infer, load_vlm, pocket  # noqa: E402
from attrood.log import read_log  # noqa: E402

CLASSES = ["pizza", "sushi", "ice cream", "hamburger", "french fries", "apple pie"]
CAUSES = ("prompt", "class renamed", "class order", "precision", "preprocessing", "activation", "weights", "batch")


def picture(i: int) -> Image.Image:
    "A plate of a kind: discs and bars of few colours, none like another."
    rng = np.random.default_rng(i)
    ground, *colours = (tuple(int(v) for v in rng.integers(0, 256, 3)) for _ in range(4))
    image = Image.new("RGB", (int(rng.integers(80, 160)), int(rng.integers(80, 160))), ground)
    draw = ImageDraw.Draw(image)
    for colour in colours:
        x, y, r = (int(v) for v in rng.integers(5, 70, 3))
        (draw.ellipse if rng.random() < 0.5 else draw.rectangle)((x, y, x + r + 20, y + r), fill=colour)
    return image


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for i in range(60):
        (folder / CLASSES[i % 6]).mkdir(exist_ok=True)
        picture(i).save(folder / CLASSES[i % 6] / f"{i:03d}.jpg", quality=90)
    return folder


def other_weights(folder: Path) -> str:
    "The pocket model's weights, each a little off."
    from safetensors.numpy import load_file, save_file

    rng, weights = np.random.default_rng(0), load_file(pocket.pocket_weights())
    moved = {
        k: (v * (1 + 0.02 * rng.normal(size=v.shape))).astype(v.dtype) if v.ndim > 1 else v for k, v in weights.items()
    }
    save_file(moved, folder / "other.safetensors")
    return str(folder / "other.safetensors")


def other_activation(folder: Path) -> str:
    "A configuration like the pocket model's, with another activation in its text tower."
    pocket.register_pocket()
    config = pocket.pocket_config((pocket.DATA / "pocket_bpe.txt.gz").resolve()) | {"quick_gelu": True}
    (folder / "pocket-quickgelu.json").write_text(json.dumps(config))
    return str(folder / "pocket-quickgelu.json")


@pytest.fixture(scope="module")
def runs(photos, tmp_path_factory) -> dict[str, Path]:
    "A log as it was, and one for each deliberate difference; `.parquet` and folder in turn."
    folder = tmp_path_factory.mktemp("runs")
    os.environ["ATTROOD_CACHE"] = str(folder / "cache")
    vlm = load_vlm("pocket", device="cpu")
    bilinear = load_vlm("pocket", device="cpu")
    bilinear.preprocessing = replace(bilinear.preprocessing, interpolation="bilinear")
    usual = {
        "id": str(photos),
        "model": vlm,
        "classes": CLASSES,
        "templates": ["a photo of {}, a type of food."],
        "batch_size": 16,
        "embeddings": True,
    }
    changed = {
        "before": {},
        "again": {},
        "prompt": {"templates": ["{}"]},
        "class renamed": {"classes": ["pizza", "sushi", "gelato", *CLASSES[3:]]},
        "class order": {"classes": CLASSES[::-1]},
        "precision": {"model": "pocket", "precision": "bf16", "device": "cpu"},
        "preprocessing": {"model": bilinear},
        "activation": {"model": other_activation(folder), "pretrained": str(pocket.pocket_weights()), "device": "cpu"},
        "weights": {"model": "pocket", "pretrained": other_weights(folder), "device": "cpu"},
        "batch": {"batch_size": 7},
    }
    paths = {}
    for k, (name, other) in enumerate(changed.items()):
        paths[name] = folder / (name.replace(" ", "-") + (".parquet" if k % 2 else ""))
        infer(**usual | other, out=paths[name], progress=False)
    return paths


@pytest.mark.parametrize("name", CAUSES)
def test_the_one_difference_is_named(runs, name):
    done = CliRunner().invoke(app, ["diff", str(runs["before"]), str(runs[name]), "--fail", "--json"])
    assert done.exit_code == 3, done.stderr
    found = json.loads(done.stdout)
    caused = [d["name"] for d in found["differences"] if d["name"] != "names"]
    assert caused == [name], done.stderr
    assert f"differ in: {name}\n" in done.stderr
    assert found["rows"]["both"] == 60 and not found["rows"]["only_a"]
    if found["changed"]:
        assert found["differences"][0]["explains"] == 1.0
    if name in ("prompt", "class renamed", "preprocessing", "weights"):
        assert found["changed"] and found["moved"], done.stderr


def test_the_same_run_again_does_not_differ(runs, attrood):
    done = attrood("diff", runs["before"], runs["again"], "--fail")
    assert done.returncode == 0 and "no difference" in done.stderr, done.stderr


def test_without_embeddings_the_one_difference_is_still_named(runs):
    from attrood.act import diff

    logs = {n: read_log(p) for n, p in runs.items()}
    bare = {n: replace(x, table=x.table.drop_columns(["image_embedding"])) for n, x in logs.items()}
    for name in CAUSES:
        found = diff.diff_logs(bare["before"], bare[name])
        assert [d.name for d in found.causes if d.name != "names"] == [name]


def test_two_differences_are_told_apart(runs, tmp_path, photos):
    from attrood.act import diff

    names = ["pizza", "sushi", "gelato", *CLASSES[3:]]
    infer(
        str(photos),
        model="pocket",
        classes=names,
        templates=["{}"],
        device="cpu",
        batch_size=16,
        embeddings=True,
        out=tmp_path / "two",
        progress=False,
    )
    found = diff.diff_logs(read_log(runs["before"]), read_log(tmp_path / "two"))
    alone = {d.name: d.explains for d in found.causes}
    assert set(alone) == {"prompt", "class renamed"} and min(alone.values()) < 1, alone


def test_wrong_input_is_one_line_and_status_2(runs, attrood, tmp_path):
    (tmp_path / "text.parquet").write_text("none")
    for args, said in (
        (("nowhere", runs["before"]), "no such file"),
        ((runs["before"], "text.parquet"), "no readable Parquet"),
    ):
        done = attrood("diff", *args)
        assert done.returncode == 2 and said in done.stderr and done.stderr.count("\n") == 1, done.stderr
