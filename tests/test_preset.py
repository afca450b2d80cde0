"""`attrood run --preset paper` from images to report, on TFDS sets of the real names and features made of other images."""

import json
from importlib.util import find_spec

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import ROOT, SHARED
from sklearn.metrics import roc_auc_score

from attrood.log import read_log
from attrood.log.rows import split_rows

IMAGES = SHARED / "data/images"
WEIGHTS = [] if (ROOT / "attrood/assets/pocket.safetensors").exists() else ["--pretrained", "random:0"]
pytestmark = [
    pytest.mark.skipif(
        not all(map(find_spec, ("open_clip", "tensorflow_datasets", "array_record"))),
        reason="attrood[vlm] is not installed",
    ),
    pytest.mark.skipif(not IMAGES.is_dir(), reason="the images are not here"),
]


@pytest.fixture
def tfds_set(tmp_path, monkeypatch):
    "Write n images from all over a file as a TFDS set, with one label for all if one is given."
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    from make_food101_pocket_log import prepare_tfds

    def write(name, n, label=None, **splits):
        files = {}
        for split, file in splits.items():
            table = pq.read_table(IMAGES / f"{file}.parquet")
            table = table.append_column("file_name", table["id"])
            table = (
                table.set_column(table.column_names.index("label"), "label", pa.array([label] * len(table)))
                if label
                else table
            )
            files[split] = tmp_path / f"{name}-{split}.parquet"
            pq.write_table(table.take(np.linspace(0, len(table) - 1, n).astype(int)), files[split])
        prepare_tfds(name, files, tmp_path / "sets")
        for file in files.values():
            file.unlink()

    return write


def test_images_to_comparison_in_one_command(attrood, tmp_path, tfds_set):
    tfds_set("food101", 101, train="food101_64_test")
    tfds_set("cifar100", 60, train="cifar100_32")
    tfds_set("imagenet_r", 60, "n01443537", test="pacs_art_painting")
    args = [
        "run",
        "--preset",
        "paper",
        "--model",
        "pocket",
        *WEIGHTS,
        "--no-evidence",
        "--data-dir",
        "sets",
        "-o",
        "results",
        "--json",
    ]  # too few images for the reference, train[10000:12000]
    done = attrood(*args)
    assert done.returncode == 0, done.stderr
    assert "written 221 in" in done.stderr and "published results" in done.stderr

    log, table = read_log(tmp_path / "paper-log"), json.loads((tmp_path / "results/comparison.json").read_text())
    assert json.loads(done.stdout)["comparison"] == table
    row = {(r["source"], r["quantity"]): r for r in table}
    conf = log.array("conf")[log.is_id].astype(float)
    mean = row["paper (48)", "ID mean of conf"]
    assert mean["published"] == 0.8259888770 and mean["here"] == pytest.approx(conf.mean(), abs=1e-12)
    assert mean["tolerance"] == pytest.approx(3 * conf.std() * np.sqrt(1 / 101 + 1 / 10_000))
    assert mean["verdict"] == ("agrees" if abs(mean["here"] - mean["published"]) <= mean["tolerance"] else "differs")
    held = split_rows(log.array("id").astype(str), (0.7, 0.3), "published", ("train", "test")) == "test"
    auroc = row["follow-up", "AUROC of energy alone"]
    assert auroc["here"] == pytest.approx(roc_auc_score(~log.is_id[held], log.array("energy")[held]), abs=1e-12)
    assert (
        row["paper, follow-up", "model"]["verdict"] == "differs" and row["follow-up", "sources"]["verdict"] == "agrees"
    )
    assert row["paper (50), (51)", "chosen alpha"]["verdict"] == "cannot be compared"

    for report in ("results/report.html", "results/paper/report.html"):
        page = (tmp_path / report).read_text()
        assert "#beside-the-published-numbers" in page and page.count("data:image/jpeg;base64,") > 100
    shards = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "paper-log").glob("*.parquet")}
    results = {p.name: p.read_bytes() for p in (tmp_path / "results").glob("*.*")}
    again = attrood(*args)
    assert again.returncode == 0 and "complete already, nothing was done" in again.stderr
    assert {p.name: p.stat().st_mtime_ns for p in (tmp_path / "paper-log").glob("*.parquet")} == shards
    assert {p.name: p.read_bytes() for p in (tmp_path / "results").glob("*.*")} == results


def test_a_preset_without_published_numbers_has_no_comparison(attrood, tmp_path, tfds_set):
    tfds_set("cifar100", 100, test="cifar100_32", train="cifar100_32")
    tfds_set("svhn_cropped", 40, "7", test="dtd")
    tfds_set("cifar10", 40, test="cifar10_32")
    done = attrood(
        "run",
        "my-log.parquet",
        "--preset",
        "cifar",
        "--model",
        "pocket",
        *WEIGHTS,
        "--data-dir",
        "sets",
        "-o",
        "results",
        "--mode",
        "default",
    )
    assert done.returncode == 0, done.stderr
    assert "published" not in done.stderr and not (tmp_path / "results/comparison.json").exists()
    assert (
        "#beside-the-published-numbers" not in (tmp_path / "results/report.html").read_text()
        and (tmp_path / "my-log.parquet").exists()
    )


def test_wrong_presets_are_refused(attrood, tmp_path):
    for args, said in (
        (["--preset", "papre"], "preset must be one of paper"),
        (["--model", "pocket"], "need --preset"),
        (["--preset", "paper", "--data-dir", "empty"], "food101"),
    ):
        done = attrood("run", *args)
        assert done.returncode == 2 and said in done.stderr and not list(tmp_path.iterdir()), done.stderr
