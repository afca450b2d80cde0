"""Factors of a log: planted ones are found and noise is not, the files of pictures speak, and a share that passes its limit ends with status 3."""

import json
import sys

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from PIL import Image
from typer.testing import CliRunner

from attrood.act import factors
from attrood.act.columns import read_columns
from attrood.axes import fit_axes
from attrood.detect.evaluation import fit_decision
from attrood.entrance.cli import app
from attrood.log import write_log

sys.path.insert(0, str(ROOT / "benchmarks"))
import study_factors  # noqa: E402

REPEATS = 12  # of a hundred in benchmarks/study_factors.txt


@pytest.mark.parametrize("kind", study_factors.KINDS)
def test_the_planted_factor_is_found_among_nine(kind):
    hits, false = 0, 0
    for seed in range(REPEATS):
        rng = np.random.default_rng([seed, len(kind)])
        table, cause = study_factors.KINDS[kind](rng, 600)
        found = factors.find_factors(table, study_factors.targets(rng, cause, 0.35, 0.05)).found
        hits += "causal" in found
        false += any(f != "causal" for f in found)
    assert hits >= REPEATS - 1 and false <= 2, (hits, false)


def test_a_set_with_other_files_is_told_apart_by_them(small_log, tmp_path):
    "The file size alone gives the OoD rows away; the files are asked, and a table beside the log."
    rng, role = np.random.default_rng(0), small_log.array("role")
    for i, r in zip(small_log.array("id"), role, strict=True):
        noise = rng.integers(0, 256, (24, 24, 3)).astype(np.uint8)
        (tmp_path / "all").mkdir(exist_ok=True)
        Image.fromarray(noise).save(tmp_path / "all" / f"{i.replace('/', '-')}.jpg", quality=95 if r == "id" else 20)
    table = pd.DataFrame(
        {
            "id": small_log.array("id"),
            "camera": rng.choice(["a", "b", "c"], len(role)),
            "hour": rng.integers(0, 24, len(role)),
        }
    )
    table["site"] = np.where(role == "id", "north", rng.choice(["north", "south"], len(role)))
    table.to_csv(tmp_path / "mine.csv", index=False)
    log = small_log.__class__(
        small_log.table.set_column(0, "id", [[f"all/{i.replace('/', '-')}.jpg" for i in small_log.array("id")]]),
        small_log.manifest,
    )
    write_log(log, tmp_path / "log.parquet")
    table.assign(id=log.array("id")).to_csv(tmp_path / "mine.csv", index=False)
    done = CliRunner().invoke(
        app,
        [
            "factors",
            str(tmp_path / "log.parquet"),
            "--table",
            str(tmp_path / "mine.csv"),
            "--images",
            str(tmp_path / "all"),
            "--json",
        ]
        + [x for c in ("bytes", "camera", "hour", "site") for x in ("--column", c)],
    )
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert "bytes" in found["found"] and not {"camera", "hour"} & set(found["found"])
    assert any("told apart by its bytes alone" in w for w in found["warnings"])
    site = next(f for f in found["factors"] if f["factor"] == "site")
    assert site["found"] and "role: OoD" in {p["target"] for p in found["pairs"] if p["factor"] == "site"}


def test_a_share_that_passes_its_limit_ends_with_status_3(small_log, tmp_path, attrood):
    card = fit_axes(small_log)
    card.with_parts(decision=fit_decision(card, small_log)).write(tmp_path / "axes.json")
    card.write(tmp_path / "undecided.json")
    write_log(small_log, tmp_path / "log.parquet")
    score = ("score", "log.parquet", "--axes", "axes.json", "--fail-if")
    done = attrood(*score, "ood>5%", "--json")
    assert done.returncode == 3 and json.loads(done.stdout)["rows"] == len(small_log)
    assert [x for x in done.stderr.splitlines() if x.startswith("attrood: ")][0].startswith("attrood: alarm: ood is ")
    assert (tmp_path / "scores.parquet").exists()
    runner = CliRunner()
    full = [str(tmp_path / x) for x in ("log.parquet", "axes.json", "out.parquet")]

    def run(expression, card=full[1]):
        return runner.invoke(app, ["score", full[0], "--axes", card, "-o", full[2], "--fail-if", expression])

    assert run("ood>=99.9%").exit_code == 0
    for wrong, said in (
        ("ood", "must look like ood>5%"),
        ("odd>5%", "fail-if counts ood"),
        ("ood>5", "write 5% or 0.05"),
        ("ood@x>5%", "names domain 'x'"),
    ):
        error = run(wrong).exception
        assert isinstance(error, ValueError) and said in str(error), (wrong, error)
    assert "needs a card with a decision" in str(run("ood>5%", str(tmp_path / "undecided.json")).exception)


def test_ids_of_a_table_are_taken_as_they_are(tmp_path, small_log):
    "Numbers with zeros in front, NA and 1e5 are ids like others; what is no id, no row or no UTF-8 is one line."
    ids = ["007", "7", "NA", "1e5", "TRUE", "nan", "null", "-", *(f"{i:03d}" for i in range(100, 132))]
    (tmp_path / "t.csv").write_text("\ufeffid,site\r\n" + "".join(f"{i},s{i}\r\n" for i in ids))
    assert read_columns(tmp_path / "t.csv")["site"].to_dict() == {i: f"s{i}" for i in ids}
    (tmp_path / "t.tsv").write_text("key\tid\n007\t1\n")
    assert read_columns(tmp_path / "t.tsv").index.tolist() == ["1"]
    for text, said in {
        "id,site\n": "has no rows",
        "id,site\n,a\n": "row 0 has no id",
        "id,site\na,b\na,c\n": "row 1 has the id 'a'",
        "": "No columns to parse",
    }.items():
        (tmp_path / "bad.csv").write_text(text)
        with pytest.raises(ValueError, match=said):
            read_columns(tmp_path / "bad.csv")
    (tmp_path / "bad.csv").write_text("id,site\na,b\n", encoding="utf-16")
    with pytest.raises(ValueError, match="save it as UTF-8"):
        read_columns(tmp_path / "bad.csv")
