"A run in Japanese says no sentence in English: summary, terminal and page, values of tables included."

import re

import pytest
from typer.testing import CliRunner

from attrood.entrance import phrases, run
from attrood.entrance.cli import app
from attrood.entrance.phrases import said
from attrood.log import bundled_log, write_log

SENTENCE = re.compile(r"[A-Za-z]{2,} [a-z]{2,} [a-z]{2,}")  # three English words with nothing between them


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out, told = tmp_path_factory.mktemp("ja") / "out", []
    run(bundled_log(), out, "both", told.append, language="ja")
    return out, told


def english(text):
    return [line for line in text.splitlines() if SENTENCE.search(line)]


def test_summary_and_steps(made):
    out, told = made
    for file in (out / "summary.txt", out / "paper" / "summary.txt"):
        text = file.read_text(encoding="utf-8")
        assert english(text) == []
        assert "選択：k = " in text and "を OoD と判定" in text
    assert told and all(re.search("[ぁ-ん]", t) for t in told) and english("\n".join(told)) == []


def test_page(made):
    page = (made[0] / "report.html").read_text(encoding="utf-8")
    body = page[page.index("<body") :]  # the root has a language too
    body = re.sub(r"<(script|style)\b.*?</\1>", " ", body, flags=re.S)
    body = re.sub(r'<(\w+)[^>]* lang="en"[^>]*>.*?</\1>', " ", body, flags=re.S)
    cells = [
        re.sub(r"<[^>]+>", " ", c)
        for c in re.split(r"</?(?:td|th|p|h\d|div|summary|span|bdi|li|option|button)\b[^>]*>", body)
    ]
    left = [c.strip() for c in cells if SENTENCE.search(c)]
    known = re.compile(
        r"https?://|github|licence|CIFAR|@[0-9a-f]{6}|“|a photo of|a \{"
    )  # the user's own sources and labels
    assert [c for c in left if not known.search(c)] == []
    for value in ("距離 100 %", "z_c 高", "クラスを追加する：", "固定"):
        assert value in page, value


def test_gaps_of_numbers_hold_no_words():
    assert said("high: unsure of the class, spread over many classes").startswith("高い側：")
    assert said("a street in many images") == "a street in many images"
    assert said("3 images") == "画像 3 枚" and said("no images") == "no images"
    assert said("  fixed") == "  固定" and phrases.phrases_of(["photo-0007", ""]) == {}


def test_score(made, tmp_path):
    write_log(bundled_log(), tmp_path / "log.parquet")
    line = ["score", str(tmp_path / "log.parquet"), "--axes", str(made[0] / "axes.json"), "--language", "ja"]
    told = CliRunner().invoke(app, [*line, "-o", str(tmp_path / "scores.parquet")])
    assert told.exit_code == 0, told.output
    assert english(told.stderr) == []
    assert "見慣れた" in told.stderr and "1467 行を" in told.stderr


def test_english_stays_as_it_was(tmp_path):
    with pytest.raises(ValueError, match="language must be one of en, ja, got 'fr'"):
        run(bundled_log(), tmp_path / "out", language="fr")
    assert not (tmp_path / "out").exists()
    for line in ("chosen: k = 3, alpha = 0.5", "fixed", ""):
        assert said(line, "en") == line
