"""Reasons in words: summary, its JSON and the report say one and the same; a row gets the same words whenever it is asked."""

import html
import json
import re

import numpy as np
import pandas as pd
import pytest

from attrood.axes import AxisCard, fit_axes
from attrood.detect.evaluation import fit_decision
from attrood.entrance.analysis import Analysis
from attrood.entrance.results import report_folder, write_analysis
from attrood.log import bundled_log
from attrood.why import explain, log_reasons, score_log


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    "The log, its card, and a folder of results of paper mode with fixed axes."
    log, folder = bundled_log(), tmp_path_factory.mktemp("out")
    card = fit_axes(log, "paper", n_components=3, alpha=2.0)
    card = log_reasons.with_reasons(card.with_parts(decision=fit_decision(card, log)), log)
    write_analysis(Analysis(card, score_log(card, log), []), log, folder, figures=lambda *a: None)
    report_folder(folder, folder / "report.html")
    return log, card, folder


def test_summary_json_and_report_say_the_same(told):
    folder = told[2]
    text = (folder / "summary.txt").read_text(encoding="utf-8")
    sets = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    page = html.unescape((folder / "report.html").read_text(encoding="utf-8"))
    assert sets["headline"]["en"] in text and all(h in page for h in sets["headline"].values())
    for s in sets["sets"]:
        assert f"{s['set']} ({s['images']:,}): {s['sentence']['en']}" in text
        if s["role"] != "id":
            assert all(action in page for action in s["action"].values()) and f"→ {s['action']['en']}" in text
        share = next(iter(s["reasons"].values()))
        said = re.search(r"^\S+ %", s["sentence"]["en"])[0]
        assert f'<span class="big">{said}</span>' in page and abs(float(said.strip("<>% ")) - 100 * share) <= 0.5
    known = pd.read_parquet(folder / "scores.parquet").groupby("domain")["reason"].value_counts(normalize=True)
    shares = {s["set"]: s["reasons"].get("not_in_list", 0) for s in sets["sets"]}
    assert all(known.get((name, "not_in_list"), 0) == pytest.approx(share) for name, share in shares.items())


def test_the_same_row_gets_the_same_words(told):
    log, card, folder = told
    again = AxisCard.read(folder / "axes.json")
    scores = pd.read_parquet(folder / "scores.parquet")
    columns = ["reason", "reason_name", "reason_probability", "action"]
    order = np.random.default_rng(0).permutation(len(log))[:200]
    mixed = score_log(again, log.select(order))[columns]
    pd.testing.assert_frame_equal(mixed, scores[columns].iloc[order].reset_index(drop=True))
    for row in (0, 700, 1000, 1300):
        one, alone = (explain(again, part, scores["id"][row]) for part in (log, log.select([row])))
        assert one.text == alone.text and one.text == explain(card, log, scores["id"][row]).text
        assert (one.reasons[0]["kind"], one.reasons[0]["name"], one.action) == tuple(
            scores.loc[row, ["reason", "reason_name", "action"]]
        )


def test_a_broken_part_of_a_card_is_said_in_one_line(told, attrood, tmp_path):
    log, card, folder = told
    raw = json.loads((folder / "axes.json").read_text())
    raw["reasons"] = {"version": 1}
    (tmp_path / "axes.json").write_text(json.dumps(raw))
    done = attrood("score", "animals", "--axes", "axes.json")
    assert done.returncode == 2 and "the reasons of the axis card are broken" in done.stderr, done.stderr
    assert not (tmp_path / "scores.parquet").exists()


def test_another_look_is_said_alike_and_in_the_language_asked_for(told, tmp_path):
    log, card, _ = told
    scores = score_log(card, log)
    far = (scores["domain"] == "animals_32px").to_numpy()
    for column, value in {"reason": "picture", "reason_name": "another look", "action": "adapt"}.items():
        scores[column] = np.where(far, value, scores[column])
    scores["reason_look"] = np.where(far, np.where(np.arange(len(far)) % 2, "grey, bright", "grey"), "")
    write_analysis(Analysis(card, scores, []), log, tmp_path, figures=lambda *a: None)
    report_folder(tmp_path, tmp_path / "report.html", code="ja")
    sets = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))["sets"]
    found = next(s for s in sets if s["set"] == "animals_32px")
    assert [n for n, _ in found["names"]["look"]] == ["grey", "bright"] and found["names"]["look"][0][1] == 1
    assert (
        "familiar images (grey 100 %, bright 4" in found["sentence"]["en"] and "白黒 100 %" in found["sentence"]["ja"]
    )
    assert found["sentence"]["en"] in (tmp_path / "summary.txt").read_text(encoding="utf-8")
    page = html.unescape((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert '<html lang="ja" data-lang="ja">' in page and '<bdi lang="ja">白黒</bdi>' in page
    for s in sets:  # card and table of domains
        for code, action in s["action"].items():
            assert page.count(f'<bdi lang="{code}">{action}</bdi>') >= 2, action
    report_folder(tmp_path, tmp_path / "en.html")
    assert '<html lang="en">' in (tmp_path / "en.html").read_text(encoding="utf-8")
    with pytest.raises(ValueError, match="language must be one of en, ja"):
        report_folder(tmp_path, tmp_path / "fr.html", code="fr")
