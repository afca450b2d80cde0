"`attrood causes` as a user types it, on a folder of pictures, with a model of random weights."

import json

import numpy as np
import pytest
from PIL import Image

from attrood.axes import AxisCard
from attrood.log import read_log

pytest.importorskip("open_clip")
pytest.importorskip("timm")


@pytest.fixture
def pictures(tmp_path):
    "Six classes of ten pictures: stripes of a width that is the class's own."
    rng = np.random.default_rng(0)
    for c, name in enumerate(("oak", "elm", "ash", "fir", "yew", "box")):
        (tmp_path / "in" / name).mkdir(parents=True)
        for i in range(10):
            stripes = (
                60 * np.sin(np.arange(80) / (c + 1))[:, None, None]
                + rng.integers(60, 180, (1, 1, 3))
                + rng.normal(0, 8, (80, 80, 3))
            )
            Image.fromarray(np.clip(stripes, 0, 255).astype(np.uint8)).save(tmp_path / "in" / name / f"{i}.png")
    (tmp_path / "noise").mkdir()
    for i in range(6):
        Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(tmp_path / "noise" / f"{i}.png")
    return tmp_path


def test_all_kinds_of_causes(attrood, pictures, tmp_path):
    "Camera, instability, semantic and text causes are rows of the log and of the tables."
    out = tmp_path / "out"
    done = attrood(
        "causes",
        pictures / "in",
        "--pretrained",
        "random:0",
        "--hold-out",
        2,
        "--far",
        f"static={pictures / 'noise'}",
        "--synonym",
        "oak=quercus",
        "--synonym",
        "elm=ulmus",
        "--synonym",
        "ash=fraxinus",
        "--synonym",
        "fir=abies",
        "--synonym",
        "yew=taxus",
        "--synonym",
        "box=buxus",
        "-o",
        out,
        "--json",
    )
    assert done.returncode == 0, done.stderr
    tables, log = json.loads(done.stdout), read_log(out / "log.parquet")
    causes = set(log.array("cause"))
    assert {"none", "blur", "translation", "near", "static", "missing_class", "wrong_template", "synonyms"} <= causes
    assert {row["cause"] for row in tables["effects"]} == causes - {"none"}
    assert set(log.array("domain")[log.is_id]) == {"none"} and len(AxisCard.read(out / "axes.json").names) >= 2
    near, missing = (set(log.array("label")[log.array("cause") == c]) for c in ("near", "missing_class"))
    assert (
        near == {None}
        and len(missing) == 1
        and not missing & set(log.manifest.class_names)
        and len(log.manifest.class_names) == 4
    )


@pytest.mark.parametrize(
    "options, said",
    [
        (["--far", "static=nowhere"], "nowhere is neither a file or folder"),
        (["--synonym", "pine=pinus"], "got 'pine'"),
    ],
)
def test_wrong_input_is_one_line(attrood, pictures, options, said):
    "Status 2 and what is wrong."
    done = attrood("causes", pictures / "in", "--pretrained", "random:0", *options)
    assert done.returncode == 2 and said in done.stderr and len(done.stderr.strip().splitlines()) == 1
