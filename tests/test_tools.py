"""The tools that make the site and the README: what they turn into what, and what they refuse."""

import ast
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import ClassVar, NamedTuple

import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]

import build_docs  # noqa: E402
import check_site  # noqa: E402
import readme  # noqa: E402
import reference  # noqa: E402
from nbkit import NBS, Notebook, folders, on_path, page_of, split_directives  # noqa: E402
from quarto_to_myst import Book, DocError, Page, led_in, prose_left, slug  # noqa: E402


def energy(
    logits: list[float],  # (n,) one per class
    temperature: float = 1.0,  # T > 0
) -> float:  # rises with OoD
    "Free energy."
    return temperature


def page(tmp_path: Path, *cells: tuple[str, str]) -> Page:
    "A page of a book that documents one function, from (kind, source) pairs."
    raw = [
        dict(
            cell_type=k,
            id=f"c{i}",
            metadata={},
            source=s,
            **({"outputs": [], "execution_count": None} if k == "code" else {}),
        )
        for i, (k, s) in enumerate(cells)
    ]
    path = tmp_path / "04_scores.ipynb"
    path.write_text(json.dumps(dict(cells=raw, metadata={}, nbformat=4, nbformat_minor=5)))
    book = object.__new__(Book)
    book.package, book.anchors, book.tables, book.named = "attrood", set(), 0, set()
    book.symbols = {"scores.energy": ("scores", energy), "energy": ("scores", energy)}
    made = Page(Notebook(path), book)
    book.pages = [made]
    made.plan()
    return made


def converted(tmp_path: Path, *cells: tuple[str, str]) -> str:
    "All markdown of the converted page."
    return "\n".join(c["source"] for c in page(tmp_path, *cells).convert()["cells"] if c["cell_type"] == "markdown")


def test_equations_figures_tables_and_sections(tmp_path):
    text = converted(
        tmp_path,
        (
            "markdown",
            "# T\n\n> Lead.\n\n## S {#sec-s}\n\n$$ a < b $$ {#eq-a}\n\nSee @eq-a, @fig-f, @tbl-t, @sec-s, `@eq-a`.",
        ),
        ("code", '#| label: fig-f\n#| fig-cap: "The $\\\\cos$"\n1'),
        ("code", "#| label: tbl-t\n#| tbl-cap: Numbers\n1"),
    )
    assert (
        "$$\na \\lt  b\n$$ (scores-eq-a)" in text
        and "{eq}`scores-eq-a`, [Figure 1](#scores-fig-f), [Table 1](#scores-tbl-t), {ref}`scores-sec-s`, `@eq-a`"
        in text
    )
    assert "{.lead}\nLead." in text and "(scores-sec-s)=\n## S" in text and "**Table 1.** Numbers" in text


def test_links_between_notebooks(tmp_path):
    text = converted(
        tmp_path,
        (
            "markdown",
            "# T\n\n## S {#own}\n\n[a](#own) [b](04_scores.ipynb#own) [c](03_log.ipynb#why) [d](03_log.ipynb) [e](https://x.y/z)",
        ),
    )
    assert "[a](#scores-own) [b](#scores-own) [c](log.ipynb#why) [d](log.ipynb) [e](https://x.y/z)" in text


def test_callouts(tmp_path):
    text = converted(
        tmp_path,
        (
            "markdown",
            '# T\n\n:::{.callout-note collapse="true"}\n## Title\nBody `energy`\n:::\n\n::: {.callout-tip}\nShort\n:::',
        ),
    )
    assert "{admonition} Title\n:class: note\n:collapsible: closed\n\nBody" in text and "{tip}\n" in text


def test_names_link_to_their_entry_but_not_in_code_or_headings(tmp_path):
    text = converted(
        tmp_path,
        ("markdown", "# T `energy`\n\n`energy`, `scores.energy` and `other`\n\n```\n`energy`\n```"),
        ("code", "#| export\ndef energy(): pass"),
    )
    assert (
        "# T `energy`\n" in text
        and "[`energy`](#api-scores-energy), [`scores.energy`](#api-scores-energy) and `other`" in text
    )
    assert "```\n`energy`\n```" in text and "### `energy`" in text.replace("## `energy`", "### `energy`")


@pytest.mark.parametrize(
    "bad, message",
    [("@fig-gone", "@fig-gone is not defined"), (":::{.callout-danger}\nx\n:::", "unknown kind 'danger'")],
)
def test_what_the_site_cannot_show_is_refused(tmp_path, bad, message):
    with pytest.raises(DocError, match=message):
        converted(tmp_path, ("markdown", f"# T\n\n{bad}"))


def test_an_entry_has_signature_types_and_comments():
    text = reference.entry("energy", "scores", energy, lambda s: s)
    assert "energy(logits, temperature=1.0)" in text and "| `temperature` | `float` | `1.0` | T > 0 |" in text
    assert "| **returns** | `float` |  | rises with OoD |" in text


class Colour(Enum):
    "Of a wall."

    red = "rot"


class Pair(NamedTuple):
    "Two numbers."

    first: int  # the one


@dataclass
class Kinded:
    "With a class variable."

    kind: ClassVar[str] = "pair"  # of all
    value: int = 3


def open_call(a: int, *rest: str, b: int = 2, **more: float) -> dict:
    "Lines of parameters are read on their own; this has one line, whose comment is of what comes back."  # not this


def lined(
    a: int,  # first
    *rest: str,  # others
    b: tuple = (1,),  # last line counts
    **more: float,  # by name
) -> dict:  # all of it
    "Lines."


def test_comments_are_those_of_their_line():
    assert reference.comments(lined) == {
        "a": "first",
        "rest": "others",
        "b": "last line counts",
        "more": "by name",
        "return": "all of it",
    }
    assert reference.comments(open_call) == {} and reference.comments(Pair) == {"first": "the one"}
    text = reference.table(lined, lambda s: s)
    assert (
        "| `**more` | `float` |  | by name |" in text
        and "| `*rest` |" in text
        and "| **returns** | `dict` |  | all of it |" in text
    )
    assert reference.signature("Kinded", Kinded) == "Kinded(value=3)"


def test_commands_show_what_is_typed_and_choices_their_values():
    from attrood.entrance.cli_axes import fit_command

    text = reference.entry("fit_command", "entrance.cli_axes", fit_command, lambda s: s)
    assert (
        "attrood fit [OPTIONS] LOG\n\n$ attrood fit animals" in text
        and "| `-o, --out` | `Path` | `axes.json` |" in text
        and "| `--mode` | `default, many or paper` | `default` |" in text
    )
    text = reference.entry("Colour", "entrance.cli", Colour, lambda s: s)
    assert "```" not in text and "| `red` | `'rot'` |" in text


def test_words_before_code_that_is_not_shown():
    kinds = {"m": "markdown", "c": "code"}
    cells = [("m", "## A\n\nAs it is:"), ("m", "Its parts:"), ("m", "## B"), ("m", "Shown:"), ("c", "1"), ("m", "One:")]
    kept = [c["source"] for c in led_in([{"cell_type": kinds[k], "source": s} for k, s in cells])]
    assert kept == ["## A\n\nAs it is.", "## B", "Shown:", "1"]


class Base:
    "Takes one."

    def __init__(
        self,
        most: int,  # rows of each group
    ) -> None:
        self.most = most


class Between(Base):
    "The same."


class Last(Between):
    "The same once more."


def test_what_is_inherited_keeps_its_comments():
    assert [(p["name"], p["note"]) for p in reference.parameters(Last)[0]] == [("most", "rows of each group")]
    from attrood.inference.run import Run

    lost = [p["name"] for p in reference.parameters(Run)[0] if not p["note"]]
    assert not lost
    from attrood.axes import AttributionAxes

    found = {p["name"]: p for p in reference.parameters(AttributionAxes)[0]}
    assert found["alpha"]["star"] == "" and found["mode"]["star"] == "kw"  # those given by name alone are listed too
    assert not [name for name, p in found.items() if not p["note"]]


def test_a_room_lists_its_chapters():
    found = build_docs.trees()["01_data/data"]
    chapters = folders()["01_data"][1:]
    assert found.count("\n- [") == len(chapters) and all(
        f"]({Notebook(p).page[8:]}.ipynb): " in found for p in chapters
    )


def test_studies_and_tools_import_what_exists():
    for path in [*(ROOT / "benchmarks").glob("*.py"), *(ROOT / "tools").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "attrood":
                module = importlib.import_module(node.module)
                for name in (a.name for a in node.names):
                    assert hasattr(module, name) or importlib.util.find_spec(f"{node.module}.{name}"), (path.name, name)


def test_a_door_lists_its_names():
    from attrood import act, axes

    assert reference.at_door("whatif", act.whatif) == f"- `whatif`: {act.whatif.__doc__.splitlines()[0]}"
    assert reference.at_door("moments", axes.moments) == f"- `moments`: {axes.moments.__doc__.splitlines()[0]}"
    home = reference.taken_from("axes")
    assert home["Mode"] == "axes.card_file"
    assert reference.at_door("Mode", axes.Mode, home["Mode"]).startswith("- `Mode`: How axes are made: ")  # its comment
    assert reference.at_door("Mode", axes.Mode) == "- `Mode`"  # a value has no other words


def test_prose_in_a_data_frame_stands_at_the_left():
    table = pd.DataFrame({"n": [1.5, 2.5], "why": ["a column that is prose", "short"], "name": ["x1", "x2"]}).to_html()
    marked = prose_left(table)
    assert re.findall(r'class="words"[^>]*>(.*?)<', marked) == ["why", "a column that is prose", "short"]
    assert marked.replace(' class="words"', "") == table
    assert 'class="whole">0.9 [0.8, 1.0]<' in prose_left(pd.DataFrame({"a": ["0.9 [0.8, 1.0]"]}).to_html())
    assert prose_left("<p>no table</p>") == "<p>no table</p>"


def test_hidden_cells_and_warnings_stay_out(tmp_path):
    made = page(tmp_path, ("markdown", "# T"), ("code", "#| hide\nx"), ("code", "#| echo: false\ny")).convert()["cells"]
    assert len(made) == 1


def test_slugs_are_those_of_pandoc():
    assert [slug(h) for h in ("2. What `energy` says!", "日本語 terms", "A & B")] == [
        "what-energy-says",
        "日本語-terms",
        "a-b",
    ]


def test_directives_keep_quoted_values():
    assert split_directives('#| label: fig-a\n#| fig-cap: "A: $\\\\tau$"\nx = 1') == (
        {"label": "fig-a", "fig-cap": "A: $\\tau$"},
        "x = 1",
    )


def test_pages_keep_their_room_and_lose_their_number():
    assert [page_of(Path(p)) for p in ("00_problem.ipynb", "02_log/03_files.ipynb", "index.ipynb")] == [
        "problem",
        "02_log/files",
        "index",
    ]


def test_every_folder_has_a_front_page_and_the_reading_path_exists():
    found = folders()
    assert all(paths[0].stem.startswith("00_") for name, paths in found.items() if name)
    assert sum(on_path(p) for paths in found.values() for p in paths) == 13
    assert {p for paths in found.values() for p in paths} == {
        p for p in NBS.rglob("*.ipynb") if not p.parent.name.startswith(".")
    }


@pytest.mark.parametrize(
    "body, fault",
    [
        ('<a href="gone.html">x</a>', "leads nowhere"),
        ('<a href="#gone">x</a>', "no such anchor"),
        ('<img src="gone.png">', "leads nowhere"),
        ('<script src="https://cdn.example/x.js"></script>', "loads https"),
        ("<p>:::{.callout-note}</p>", "raw ':::'"),
        ("<p>see @fig-x</p>", "raw '@fig-x"),
        ("<p>{#eq-x}</p>", "raw '{#eq-"),
        ('<div class="cell_input"><pre>#| hide</pre></div>', "raw directive"),
    ],
)
def test_the_checker_finds(tmp_path, body, fault):
    (tmp_path / "index.html").write_text(f"<html><body>{body}</body></html>")
    assert any(
        fault in line for line in check_site.link_problems(*site(tmp_path)) + check_site.raw_problems(*site(tmp_path))
    )


def site(folder: Path):
    "What the checker's functions take."
    root = folder.resolve()
    return root, {p: check_site.Reader(p.read_text()) for p in root.rglob("*.html")}


def test_the_checker_accepts_a_good_page(tmp_path):
    (tmp_path / "index.html").write_text(
        '<a href="#here">x</a><p id="here">say <code>:::</code> or <code>@fig-x</code>, a@b.c</p>'
    )
    assert check_site.link_problems(*site(tmp_path)) + check_site.raw_problems(*site(tmp_path)) == []


def test_readme_dialect():
    text = readme.markdown(
        "![p](images/a.svg){width=50%}\n[q](02_log/01_indicators.ipynb#energy)\n\n:::{.callout-note}\nMind\n:::",
        "https://x/y",
    )
    assert text == "![p](nbs/images/a.svg)\n[q](https://x/y/02_log/indicators.html#energy)\n\n> [!NOTE]\n> Mind"


# the whole build, on a small book


def cells(*sources: tuple[str, str]) -> str:
    "A notebook as nbdev_clean leaves it."
    made = [
        dict(
            cell_type=k,
            **({"execution_count": None} if k == "code" else {}),
            id=f"cell{i}",
            metadata={},
            **({"outputs": []} if k == "code" else {}),
            source=s.splitlines(keepends=True),
        )
        for i, (k, s) in enumerate(sources)
    ]
    kernel = {"kernelspec": {"display_name": "python3", "language": "python", "name": "python3"}}
    return json.dumps(dict(cells=made, metadata=kernel, nbformat=4, nbformat_minor=5), indent=1) + "\n"


@pytest.fixture(scope="module")
def book(tmp_path_factory) -> Path:
    "A tree with the tools, one chapter of ours and a home page."
    root = tmp_path_factory.mktemp("book")
    shutil.copytree(ROOT / "tools", root / "tools", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("settings.ini", "setup.py", "pyproject.toml", "attrood/__init__.py", "nbs/_quarto.yml"):
        (root / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    for name in ("attrood/ground", "nbs/00_ground"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"))
    for page in (root / "nbs/00_ground").glob("*.ipynb"):  # chapters that it points to are not in this tree
        page.write_text(re.sub(r"\[([^\[\]]+)\]\(\.\./[^)]+\)", r"\1", page.read_text()))
    (root / "nbs/index.ipynb").write_text(
        cells(("markdown", "# attrood\n\n> Why."), ("markdown", "## Start\n\nSee [sums](00_ground/01_arrays.ipynb)."))
    )
    subprocess.run([sys.executable, "tools/readme.py"], cwd=root, check=True)
    return root


@pytest.mark.parametrize(
    "add, module, fault",
    [
        ("", "", "every link, anchor, image and formula good"),
        ("See @fig-gone.", "", "@fig-gone is not defined"),
        ("::: {.panel-tabset}\nx\n:::", "", "Unknown directive type"),
        ("Left over: {#eq-lost}.", "", "raw '{#eq-"),
        ("{nosuchrole}`x`", "", "WARNING"),
        ("[x](99_gone.ipynb)", "", "gone"),
        ("", "x = 1\n", "attrood/ground/arrays.py: differs from its notebook"),
    ],
    ids=["good", "reference", "directive", "raw", "warning", "link", "module"],
)
def test_the_build_fails_on(book, tmp_path, add, module, fault):
    root = tmp_path / "book"
    shutil.copytree(book, root)
    if add:
        page = root / "nbs/index.ipynb"
        page.write_text(page.read_text().replace("See [sums]", json.dumps(add)[1:-1] + "\\n\\nSee [sums]"))
    with (root / "attrood/ground/arrays.py").open("a") as f:
        f.write(module)
    call = [sys.executable, "tools/build_docs.py", *([] if module else ["--no-sync"])]
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(call, cwd=root, env=env, capture_output=True, text=True)
    assert fault in done.stdout + done.stderr and (done.returncode == 0) == (not add and not module), (
        done.stdout + done.stderr
    )


def test_the_build_leaves_a_folder_of_others_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("x")
    done = subprocess.run([sys.executable, ROOT / "tools/build_docs.py", tmp_path], capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and (tmp_path / "mine.txt").read_text() == "x"
