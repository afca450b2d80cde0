"""Build the documentation without Quarto, and check it: the offline preview, and the test of every link.

    python tools/build_docs.py [OUTDIR]        default _site/html

Fails on a warning, a reference that resolves to nothing, a directive left as text, a link to nowhere, a formula that cannot be read, and
on a notebook out of step with its module.
"""

import argparse
import inspect
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import check_site
import reference
import sync
from nbkit import MARK, NBS, PLACES, ROOT, Notebook, folders, notebook_paths, on_path, settings
from quarto_to_myst import Book, DocError

SOURCE = ROOT / "_proc" / "sphinx"
KATEX = "katex@0.16.22"  # the version whose script sphinxcontrib-katex carries
CONF = """project = {title!r}
author = {author!r}
copyright = {copyright!r}
release = {version!r}
extensions = ["myst_nb", "sphinxcontrib.katex", "sphinx_copybutton"]
nb_execution_mode = "off"
nb_merge_streams = True
math_numfig = False
math_eqref_format = "Equation {{number}}"
myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence", "attrs_inline", "attrs_block", "deflist"]
myst_heading_anchors = 4
myst_heading_slug_func = "quarto_to_myst.slug"
myst_dmath_double_inline = True
copybutton_exclude = ".linenos, .gp, .go"
add_module_names = False
smartquotes_action = "e"  # a double hyphen is an option, not a dash, and quotes may be code
toc_object_entries_show_parents = "hide"
html_theme = "furo"
html_title = {title!r}
html_static_path = ["_static"]
html_css_files = ["extra.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {{"source_repository": {git_url!r}, "source_branch": {branch!r}, "source_directory": "nbs/", "top_of_page_buttons": []}}
{katex}
"""


def katex(static: Path) -> str:
    "KaTeX's style and fonts, so that pages need no network. Where npm cannot bring them, browsers draw the formulas as MathML."
    with tempfile.TemporaryDirectory() as tmp:
        packed = None
        if npm := shutil.which("npm"):
            packed = subprocess.run([npm, "pack", "--silent", KATEX], cwd=tmp, capture_output=True, text=True)
        if packed is None or packed.returncode:
            print("build_docs: npm brings no KaTeX fonts here, formulas are MathML", file=sys.stderr)
            (static / "katex.css").write_text("")
            return 'katex_css_path = "katex.css"\nkatex_options = "{output: \'mathml\'}"'
        shutil.unpack_archive(Path(tmp, packed.stdout.split()[-1]), tmp, "gztar")
        dist, to = Path(tmp, "package", "dist"), static / "katex"
        to.mkdir()
        shutil.copy(dist / "katex.min.css", to)
        shutil.copytree(dist / "fonts", to / "fonts", ignore=shutil.ignore_patterns("*.ttf", "*.woff"))
    return 'katex_css_path = "katex/katex.min.css"'


def toctree(caption: str, pages: list[str]) -> str:
    "A part of the sidebar."
    head = f":caption: {caption}\n" if caption else ""
    return f"```{{toctree}}\n:hidden:\n{head}\n" + "\n".join(pages) + "\n```\n" if pages else ""


def entry(path: Path, folder: str = "") -> str:
    "A line of the sidebar; chapters of the first reading are marked."
    nb = Notebook(path)
    page = nb.page.removeprefix(f"{folder}/") if folder else nb.page
    return f"{nb.title} {MARK} <{page}>" if on_path(path) else page


def trees() -> dict[str, str]:
    "What each front page ends with: the home page shows its rooms in the sidebar, a room lists its chapters there and in words."
    found = folders()
    fronts = {name: paths[0] for name, paths in found.items() if name}
    made = {}
    for name, front in fronts.items():
        rest = found[name][1:]
        listed = chapters(name, rest) if rest and name not in PLACES else ""
        made[Notebook(front).page] = listed + toctree("", [entry(p, name) for p in rest])
    top = [entry(p) for p in found[""] if p.stem != "index"]
    rooms = [entry(front) for name, front in fronts.items() if name not in PLACES]
    made["index"] = toctree(f"The book ({MARK} first reading)", top + rooms) + toctree(
        "Beside the book", [entry(fronts[name]) for name in PLACES if name in fronts]
    )
    return made


def chapters(folder: str, paths: list[Path]) -> str:
    "What a room's front page says of the others: each chapter and its sentence, so that none is left out."
    rows = [(nb.page.removeprefix(f"{folder}/"), nb.title, nb.sentence) for nb in map(Notebook, paths)]
    return "## All chapters\n\n" + "".join(f"- [{title}]({page}.ipynb): {said}\n" for page, title, said in rows) + "\n"


def write_reference(book: Book, package: str) -> None:
    "One page per module, and a page that lists them."
    folder = SOURCE / "reference"
    folder.mkdir()
    modules = sorted({module for module, _ in book.symbols.values()}, key=module_order())
    rows, room = [], ""
    for module in modules:
        if (door := module.split(".")[0]) != room:
            room = door
            rows.append(reference.door(package, room, book))
        (folder / f"{module}.md").write_text(
            reference.page(package, module, book.anchors, book.prose(module)), encoding="utf-8"
        )
        doc = inspect.getdoc(sys.modules[f"{package}.{module}"]) or ""
        names = reference.public_names(sys.modules[f"{package}.{module}"])
        links = ", ".join(f"[`{n}`](#{reference.label(module, n, 'ref')})" for n in names)
        rows.append(f"### [`{package}.{module}`]({module}.md)\n\n{book.prose(module)(doc)}\n\n{links}\n")
    head = (
        "# API by module\n\n{.lead}\nEvery public name, by module. The chapters of the book show each one at work.\n\n"
    )
    tree = "```{toctree}\n:hidden:\n\n" + "\n".join(modules) + "\n```\n"
    (folder / "index.md").write_text(head + "\n".join(rows) + tree, encoding="utf-8")


def module_order():
    "Modules in the order of their notebooks."
    order = [nb.module for nb in map(Notebook, notebook_paths()) if nb.module]
    return lambda m: (order.index(m) if m in order else len(order), m)


def write_source(package: str) -> None:
    "Everything that Sphinx reads, in `_proc/sphinx`."
    cfg = settings()
    shutil.rmtree(SOURCE, ignore_errors=True)
    static = SOURCE / "_static"
    static.mkdir(parents=True)
    shutil.copy(Path(__file__).parent / "site" / "extra.css", static)
    (SOURCE / "conf.py").write_text(CONF.format(**cfg, katex=katex(static)), encoding="utf-8")
    if (NBS / "images").exists():
        shutil.copytree(NBS / "images", SOURCE / "images")
    paths = notebook_paths()
    book = Book([Notebook(p) for p in paths], package)
    write_reference(book, package)
    about = []
    for name in ("CHANGELOG.md", "CONTRIBUTING.md"):
        if (ROOT / name).exists():
            (SOURCE / name.lower()).write_text((ROOT / name).read_text(encoding="utf-8"), encoding="utf-8")
            about.append(name.lower())
    book.write(SOURCE)
    last = toctree("Reference", ["reference/index"]) + toctree("Project", about)
    for page, tree in trees().items():
        file = SOURCE / f"{page}.ipynb"
        file.write_text(
            with_cell(file.read_text(encoding="utf-8"), tree + (last if page == "index" else "")), encoding="utf-8"
        )


def with_cell(notebook: str, source: str) -> str:
    "A notebook with one more markdown cell."
    import json

    nb = json.loads(notebook)
    nb["cells"].append(dict(cell_type="markdown", id="toctree", metadata={}, source=source))
    return json.dumps(nb, ensure_ascii=False, indent=1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", nargs="?", type=Path, default=ROOT / "_site" / "html")
    parser.add_argument(
        "--no-sync", action="store_true", help="do not compare notebooks with modules (for a preview while writing)"
    )
    args = parser.parse_args()
    if (
        args.out.exists()
        and not (args.out / ".buildinfo").is_file()
        and (args.out.is_file() or any(args.out.iterdir()))
    ):
        sys.exit(f"{args.out} holds something else than a site that Sphinx built: give a new or an empty folder")
    sys.path.insert(0, str(ROOT))
    if not args.no_sync and (lines := sync.problems()):
        sys.exit("\n".join(lines))
    try:
        write_source(settings()["lib_path"])
    except DocError as e:
        sys.exit(str(e))
    shutil.rmtree(args.out, ignore_errors=True)
    call = [
        sys.executable,
        "-m",
        "sphinx",
        "-q",
        "-n",
        "-W",
        "--keep-going",
        "-E",
        "-b",
        "html",
        "-d",
        SOURCE.parent / "doctrees",
        SOURCE,
        args.out,
    ]
    here = os.pathsep.join([str(Path(__file__).parent), str(ROOT)])
    done = subprocess.run(call, env={**os.environ, "PYTHONPATH": here})
    if done.returncode:
        sys.exit(done.returncode)
    if lines := check_site.problems(args.out):
        sys.exit("\n".join(lines))
    print(
        f"site built in {args.out}: {sum(1 for _ in args.out.rglob('*.html'))} pages, every link, anchor, image and formula good"
    )


if __name__ == "__main__":
    main()
