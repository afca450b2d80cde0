"""Texts of anybody: wherever a name of the user reaches a page, a figure, a table or a terminal, it is shown and never obeyed.

Every payload is a class, a domain, an id, a word, a column, a cause, a file name and the name of a model. What comes out is parsed: a page or a figure
has the elements and attributes that it has with harmless names, no cell is a formula, nothing that a terminal obeys is left. Neither LaTeX nor Markdown
is written from names; that is checked too.
"""

import csv
import io
import json
import re
import xml.etree.ElementTree as ET
from collections import Counter
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from attrood.axes.card import card_from_weights
from attrood.axes.figures import plot_plane
from attrood.entrance.cli_common import emit, say
from attrood.entrance.report import render_report
from attrood.ground import outputs, style
from attrood.log.make import bare_log
from attrood.why import score_log

HTML = [
    "<script>pwned()</script>",
    "</script><script>pwned()</script>",
    "\"'><img src=x onerror=pwned()>.jpg",
    "'><svg onload=pwned()>",
    "<img src=x onerror=pwned()//",
    "javascript:pwned()",
    "&lt;b&gt;&amp;#60;b>",
    "<!-- open",
    "--> ]]> <![CDATA[x",
    "</style><style>*{display:none}</style>",
    "</title></head><body onload=pwned()>",
    "<iframe src=//example.invalid></iframe>",
    "<a href=javascript:pwned()>x</a>",
    "{{ 7*7 }}{% raw %}{# x",
    "${pwned()}`",
    "\\u003cscript\\u003e",
    "<base href=//example.invalid>",
    "<meta http-equiv=refresh content=0>",
    '" autofocus onfocus=pwned() x="',
    "<math><mi xlink:href='data:x'>",
    "<details open ontoggle=pwned()>",
    "<form action=//example.invalid><input name=x></form>",
    "\u202egpj.exe\u2066",
    "<x:script xmlns:x='http://www.w3.org/1999/xhtml'>pwned()</x:script>",
]
CELLS = ["=1+1", "+1", "-1+2", "@SUM(A1)", "\t=1", "\r=1", "'=1", "=cmd|' /C calc'!A0"]
TERMINAL = [
    "\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07",
    "\x9b31m",
    "over\rwritten",
    "\x08\x08",
    "nul\x00x",
    "\x7f",
    "line\u2028separator",
]
SET = [
    "$\\frac{$",
    "$x$",
    "_hidden",
    "\\input{/etc/passwd}",
    "% comment",
    "**bold** [x](javascript:pwned())",
    "| a | b |",
]
ALL = HTML + CELLS + TERMINAL + SET
PLAIN = [f"name {i}" for i in range(len(ALL))]


class Page(HTMLParser):
    "Elements with the names of their attributes, and what a script would be given."

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: Counter = Counter()
        self.feed(text), self.close()

    def handle_starttag(self, tag, attrs):
        self.found[tag, *sorted(k for k, _ in attrs)] += 1
        for k, v in attrs:
            assert not k.startswith("on") and not str(v).strip().lower().startswith(("javascript:", "http:", "//")), (
                tag,
                k,
                v,
            )

    def handle_comment(self, data):
        self.found["comment"] += 1

    def unknown_decl(self, data):
        self.found["declaration"] += 1


def made(names: list[str], shift: int = 0) -> tuple:
    "A card and the scores of a log in which every text is one of some names; another shift, other names in each place."
    n, rng = 120, np.random.default_rng(0)
    text, label, kind = rng.normal(size=(len(names), 16)), rng.integers(len(names), size=n), np.arange(n) % 4
    at = lambda i: names[(i + shift) % len(names)]
    log = bare_log(
        rng.normal(size=(n, 16)) + np.where(kind < 2, 1.5, 0.0)[:, None] * text[label],
        text,
        names,
        20.0,
        ids=[names[i] if i < len(names) else f"{i}/{at(i)}" for i in range(n)],
        domains=np.array([at(0), at(0), at(1), at(2)])[kind],
        roles=np.where(kind < 2, "id", "ood"),
        labels=np.where(kind < 2, label, -1),
        columns={at(3): rng.normal(size=n), at(4): [at(i) for i in range(n)]},
        templates=["a {}."],
        model={"name": at(5), "pretrained": at(6)},
        sources=[{"domain": at(0), "role": "id", "rows": n // 2, "source": at(7), "license": at(8)}],
        notes=at(9),
    )
    x = pd.DataFrame({"conf": log.array("conf"), "entropy": log.array("entropy")})
    weights = [[0.8, 0.6], [0.6, -0.8]]
    card = card_from_weights(weights, [at(10), at(11)], ["other", "other"], x)
    return log, card.with_parts(notes=(at(12),)), score_log(card, log, any_model=True)


@pytest.fixture(scope="module")
def plain():
    _, card, scores = made(PLAIN)
    return Page(page(card, scores, PLAIN)).found


def page(card, scores, names) -> str:
    detectors = pd.DataFrame({"detector": names[:5], "auroc": 0.5})
    pictures = {i: b"\xff\xd8\xff" for i in scores["id"]}
    return render_report(card, scores, detectors, pictures, title=names[0])


@pytest.mark.parametrize("shift", range(0, len(ALL), 3))
def test_a_page_has_the_elements_it_has_with_harmless_names(plain, shift):
    "Each payload is each of the texts in turn; the others stand elsewhere on the same page."
    _, card, scores = made(ALL, shift)
    text = page(card, scores, ALL[shift:] + ALL[:shift])
    assert Page(text).found == plain
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text)
    data = text.split('<script type="application/json" id="data">')[1].split("</script>")[0]
    assert not re.search("[<>&]", data) and json.loads(data)["domains"]


def test_a_figure_is_one_file_of_known_elements_with_every_name_in_its_legend(tmp_path):
    def elements(names: list[str], file: str) -> tuple[set, str]:
        ax = plot_plane(
            np.random.default_rng(0).normal(size=(3 * len(names), 2)),
            np.repeat(names, 3),
            np.arange(3 * len(names)) < 3,
        )
        ax.set_xticks(range(3), names[:3])
        root = ET.fromstring(style.save_figure(ax, tmp_path / file)[1].read_bytes())
        attributes = {k.split("}")[-1] for e in root.iter() for k in e.attrib}
        return ({e.tag.split("}")[-1] for e in root.iter()}, attributes), " ".join(
            t for e in root.iter() if (t := e.text)
        )

    found, texts = elements(ALL, "hostile")
    assert found == elements(PLAIN, "plain")[0] and not any(a.startswith("on") for a in found[1])
    for name in ALL:
        assert style.shown(name).strip() in texts, name


@pytest.mark.parametrize("name", ALL)
def test_a_table_and_a_terminal_only_show(tmp_path, capsys, name):
    "Column names, cells and index; lines for people, and the same as JSON for programs, which gives the name back."
    table = pd.DataFrame({name: [name, "x"], "n": [1, 2]}, index=[name, "y"])
    outputs.write_csv(table, tmp_path / "t.csv", index=True)
    for cell in (
        c for row in csv.reader(io.StringIO((tmp_path / "t.csv").read_bytes().decode(), newline="")) for c in row
    ):
        assert not re.match(r"[=+\-@\t\r]", cell), cell
    say(f"{name}: 3 rows\n{table.to_string()}")
    emit({name: [name]}, True)
    out, err = capsys.readouterr()
    for text in (out, err):
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u202a-\u202e\u2066-\u2069]", text), text
    assert json.loads(out) == {name: [name]}


def test_commands_say_names_and_obey_none(tmp_path, forked):
    "What is printed of a log that is full of them, on both streams and in every file of text."
    from attrood.log import write_log

    log, card, _ = made(TERMINAL + CELLS + SET)
    write_log(log, tmp_path / "<img src=x onerror=pwned()>.parquet")
    card.write(tmp_path / "axes.json")
    for args in (
        ("score",),
        ("explain",),
        ("explain", "--id", log.array("id")[0]),
        ("factors",),
        ("score", "--axes", "\x1b[31m.json"),
    ):
        more = () if "--axes" in args else ("--axes", "axes.json")
        done = forked(args[0], "<img src=x onerror=pwned()>.parquet", *args[1:], *more)
        assert "Traceback" not in done.stderr and done.returncode in (0, 2), done.stderr
        assert not re.search("[\x00-\x08\x0b-\x0c\x0e-\x1f\x7f-\x9f]", done.stderr + done.stdout), (args, done.stderr)
