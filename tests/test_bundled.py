"""The logs that ship with the package: small, with their sources' terms, and good for the whole job."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from attrood.log import bundled_log
from attrood.log.files import BUNDLED
from attrood.log.indicators import conf, energy
from attrood.log.rows import evaluation_rows

ROOT = Path(__file__).parents[1]
DATA = ROOT / "attrood" / "assets"
bundled = pytest.mark.parametrize("name", BUNDLED)


@bundled
def test_a_bundled_log_is_small_and_says_where_it_comes_from(name):
    log = bundled_log(name)
    assert (DATA / BUNDLED[name]).stat().st_size <= 3_000_000
    assert "image_embedding" not in log.table.column_names
    sources = log.manifest.sources
    assert sum(s["rows"] for s in sources) == len(log) and all(s["license"] for s in sources)
    assert not re.search(r"\.parquet|(?<!/)/(?:work|home|tmp|root)/", log.manifest.to_json())


def test_every_shipped_file_of_others_is_in_the_notice():
    notice = (ROOT / "NOTICE.md").read_text(encoding="utf-8")
    own = {"pocket.json", "report.html.j2"}
    assert not [p.name for p in DATA.iterdir() if p.name not in own and f"`{p.name}`" not in notice]


def test_the_food_log_is_the_experiment():
    log = bundled_log("food101-pocket")
    frame = log.frame()[evaluation_rows(log)]
    assert frame.groupby("role").size().to_dict() == {"id": 10_000, "ood": 10_000}
    assert (
        frame.loc[frame["role"] == "id", "domain"].unique().tolist() == ["food101"]
        and frame.loc[frame["role"] == "ood", "domain"].nunique() == 9
    )
    assert set(frame["shift"]) == {"none", "objects", "renditions", "textures"}
    assert frame.loc[frame["food"] == "same", "label"].nunique() == 3


def test_the_columns_of_the_food_log_agree_with_each_other():
    log = bundled_log("food101-pocket")
    scale = log.manifest.logit_scale
    top = log.array("top_cosine").astype(float)
    assert (np.diff(top, axis=1) <= 0).all() and (
        np.asarray(log.manifest.class_names, object)[log.array("top_index")[:, 0]] == log.array("prediction")
    ).all()
    np.testing.assert_allclose(log.array("conf"), np.exp(scale * top[:, 0] + log.array("energy")), rtol=1e-4)
    assert (conf(scale * top) >= log.array("conf") - 1e-5).all() and (
        energy(scale * top) >= log.array("energy") - 1e-4
    ).all()  # ten classes of 101


def test_the_whole_job_on_the_food_log(attrood, tmp_path):
    done = attrood("run", "food101-pocket", "--json")
    assert done.returncode == 0, done.stderr
    assert "22000 images, 12000 ID, 101 classes, pocket" in done.stderr
    cards = json.loads(done.stdout)["modes"]
    assert {m: c["provenance"]["rows"] for m, c in cards.items()} == {"default": 10_000, "paper": 20_000}
    assert {"axes.json", "scores.parquet", "summary.txt", "report.html", "figures", "paper"} <= {
        p.name for p in (tmp_path / "attrood-out").iterdir()
    }
