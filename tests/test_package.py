"""What no notebook can check of itself: the package as installed, and that the tree is one piece."""

import ast
import importlib
import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]

import sync  # noqa: E402
from nbkit import NBS, Notebook, notebook_paths, rooms, settings, split_directives, text  # noqa: E402

PACKAGE = settings()["lib_path"]
MODULES = sorted(
    ".".join(p.relative_to(ROOT / PACKAGE).with_suffix("").parts) for p in (ROOT / PACKAGE).glob("*/[!_]*.py")
)
ROOMS = rooms()
NOTEBOOKS = notebook_paths()
FLAGS = set(settings()["tst_flags"].split())
HEAVY = ("torch", "torchvision", "open_clip", "tensorflow_datasets", "array_record", "webdataset", "ray")
DEV = ("nbdev", "fastcore", "execnb")
MAX_MODULE, MAX_FUNCTION, MAX_CELL, MAX_LINE = 400, 40, 40, 120  # lines, lines below the signature, lines, columns
MAX_BYTES = 500_000  # of a notebook

notebooks = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: str(p.relative_to(NBS)))
modules = pytest.mark.parametrize("name", MODULES)


def python(code: str) -> str:
    "What a fresh interpreter prints when it runs `code` from the root of the tree."
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def module_path(name: str) -> Path:
    "The file of a module, `room.module`."
    return ROOT / PACKAGE / f"{name.replace('.', '/')}.py"


def code_cells(path: Path):
    "Number, directives, code and outputs of each code cell."
    for i, c in enumerate(Notebook(path).cells):
        if c["cell_type"] == "code":
            yield i, *split_directives(c["source"]), c["outputs"]


def said(outputs: list[dict]) -> str:
    "All that outputs say in words."
    return "\n".join(
        text(o.get("text", "")) + "".join(text(v) for k, v in o.get("data", {}).items() if k.startswith("text/"))
        for o in outputs
    )


# the package


def test_modules_import_without_development_tools():
    python(
        f"import sys; sys.modules.update(dict.fromkeys({DEV!r}))\nfor m in {MODULES!r}: __import__('{PACKAGE}.' + m)"
    )


def test_modules_without_extras_import_or_say_what_to_install():
    code = f"""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in {HEAVY + DEV!r}: raise ModuleNotFoundError('No module named ' + name, name=name)
sys.meta_path.insert(0, Absent())
for m in {MODULES!r}:
    try: __import__('{PACKAGE}.' + m)
    except ImportError as e:
        if "pip install '{PACKAGE}[" not in str(e): print(m, e)
"""
    assert python(code) == ""


def test_the_command_line_loads_nothing_heavy():
    loaded = python(
        f"import sys, {PACKAGE}.entrance.cli; print(*sorted({{m.split('.')[0] for m in sys.modules}}))"
    ).split()
    assert not set(loaded) & {*HEAVY, *DEV}


@modules
def test_all_names_exist(name):
    module = importlib.import_module(f"{PACKAGE}.{name}")
    assert module.__all__ and not [n for n in module.__all__ if not hasattr(module, n)]
    assert module.__doc__, "a module's docstring is the `> sentence` under its notebook's title"


def tabled(node: ast.stmt) -> bool:
    "Whether a statement is a table of data."
    return isinstance(getattr(node, "value", None), (ast.Dict, ast.Tuple, ast.List))


@modules
def test_a_module_is_short_and_plain(name):
    source = module_path(name).read_text(encoding="utf-8")
    tree = ast.parse(source)
    tables = sum(n.end_lineno - n.lineno + 1 for n in tree.body if tabled(n))
    assert source.count("\n") - tables <= MAX_MODULE
    for node in ast.walk(tree):
        assert not isinstance(node, ast.Assert), f"line {node.lineno}: assert is no check of input"
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = (
                [a.name for a in node.names]
                if isinstance(node, ast.Import)
                else [node.module or "", *(a.name for a in node.names)]
            )
            assert "*" not in names, f"line {node.lineno}: wildcard import"
            roots = {n.split(".")[0] for n in names}
            serial = (
                set() if name == "inference.ray" else {"pickle", "dill", "cloudpickle"}
            )  # between Ray's own workers, never in a file
            assert not roots & {*serial, *DEV}, f"line {node.lineno}: {roots}"
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            assert ast.unparse(node.exc.func) != "Exception", f"line {node.lineno}: bare Exception"


@modules
def test_public_functions_are_typed_and_documented(name):
    module = importlib.import_module(f"{PACKAGE}.{name}")
    tree = ast.parse(module_path(name).read_text(encoding="utf-8"))
    owners = [(tree, module)] + [
        (n, getattr(module, n.name)) for n in tree.body if isinstance(n, ast.ClassDef) and n.name[0] != "_"
    ]
    for owner, obj in owners:
        for f in owner.body:
            if isinstance(f, ast.FunctionDef) and not f.name.startswith("_"):
                where = f"{getattr(obj, '__qualname__', name)}.{f.name}"
                assert inspect.getdoc(getattr(obj, f.name)), f"{where} has no docstring"
                args = f.args.posonlyargs + f.args.args + f.args.kwonlyargs
                untyped = [a.arg for a in args if a.annotation is None and a.arg not in ("self", "cls")]
                assert not untyped, f"{where}: no type for {untyped}"
                assert f.returns is not None or "setter" in map(ast.unparse, f.decorator_list), (
                    f"{where}: what does it return?"
                )


# notebooks and what is made from them


def test_notebooks_modules_and_readme_agree():
    assert sync.problems() == []


@modules
def test_every_module_has_its_notebook(name):
    source = module_path(name).read_text(encoding="utf-8")
    path = re.search(r"File to edit: (?:\.\./)+(.+\.ipynb)", source)[1]
    assert (ROOT / path).exists() and Notebook(ROOT / path).module == name


def test_pages_have_distinct_names():
    pages = [Notebook(p).page for p in NOTEBOOKS]
    assert len(set(pages)) == len(pages)


@notebooks
def test_notebook_opens_with_title_and_sentence(path):
    first = Notebook(path).cells[0]
    assert first["cell_type"] == "markdown" and re.match(r"# .+\n\n> \S.+", first["source"])


@notebooks
def test_links_between_notebooks_name_files(path):
    for i, c in enumerate(Notebook(path).cells):
        if c["cell_type"] == "markdown":
            for link in re.findall(r"\]\(([^()\s#:]+\.ipynb)", c["source"]):
                assert (path.parent / link).exists(), f"cell {i}: {link}"


@notebooks
def test_headings_are_in_order(path):
    level = 0
    for i, c in enumerate(Notebook(path).cells):
        if c["cell_type"] != "markdown":
            continue
        for marks, words in re.findall(
            r"^(#+) +(.*)$", re.sub(r"^```.*?^```", "", c["source"], flags=re.M | re.S), re.M
        ):
            assert not words.startswith("#"), f"cell {i}: {marks} {words!r} is a heading whose text starts with #"
            assert len(marks) > 1 or level == 0, f"cell {i}: a second title, {words!r}"
            if ".callout" not in c["source"]:
                assert len(marks) <= level + 1, f"cell {i}: {words!r} skips a level"
                level = len(marks)


@notebooks
def test_notebook_is_small_and_holds_no_error(path):
    assert path.stat().st_size <= MAX_BYTES
    for i, _, _, outputs in code_cells(path):
        for o in outputs:
            assert o["output_type"] != "error", f"cell {i} holds an error"
            assert o.get("name") != "stderr", (
                f"cell {i} holds a warning or progress bar: {text(o.get('text', ''))[:200]}"
            )


@notebooks
def test_outputs_say_nothing_of_this_machine(path):
    for i, directives, _, outputs in code_cells(path):
        words = said(outputs)
        found = re.search(
            r"(?<![\w.<])/(?:work|home|tmp|root|Users|usr|opt|var|mnt)/\S*|[A-Z]:\\\\\w+|<[\w.]+ object at 0x|\bat 0x[0-9a-f]{6,}",
            words,
        )
        assert not found, f"cell {i}: {found[0]}"
        if not FLAGS & directives.keys():  # a flagged cell may report what it measured
            found = re.search(r"Wall time|CPU times|it/s\]|\d ?(?:ms|µs) ±|\b\d+(?:\.\d+)? ?(?:ms|µs|seconds)\b", words)
            assert not found, f"cell {i} holds a timing: {found[0]}"


@notebooks
def test_exported_cells_are_short(path):
    for i, directives, source, _ in code_cells(path):
        if directives.keys() & {"export", "exports", "exporti"}:
            lines = {
                n.name: n.end_lineno - n.body[0].lineno + 1
                for n in ast.walk(ast.parse(source))
                if isinstance(n, ast.FunctionDef)
            }
            assert max(lines.values(), default=0) <= MAX_FUNCTION, f"cell {i}: {lines}"
            assert source.count("\n") < MAX_CELL, f"cell {i} has {source.count(chr(10)) + 1} lines"
            assert max(map(len, source.splitlines())) <= MAX_LINE, f"cell {i} has a longer line than {MAX_LINE}"
            public = re.findall(r"^(?:def|class) ([A-Za-z]\w*)", source, re.M)
            assert len(public) <= 3, f"cell {i} defines {public}"


@notebooks
def test_flagged_cells_import_nothing(path):
    for i, directives, source, _ in code_cells(path):
        if FLAGS & directives.keys() and "export" not in directives:
            tree = ast.parse(re.sub(r"^\s*[%!].*$", "", source, flags=re.M))
            imports = [n for n in ast.walk(tree) if isinstance(n, (ast.Import, ast.ImportFrom))]
            assert not imports, f"cell {i}: import in a cell of its own, the docs build runs every cell with an import"


@notebooks
def test_flagged_cells_have_run(path):
    for i, directives, source, outputs in code_cells(path):
        speaks = re.search(r"\bprint\(|\bdisplay\(", source) or re.match(
            r"(?!test_)[\w.]+(\(.*\))?$", (source.splitlines() or [""])[-1]
        )
        if FLAGS & directives.keys() and speaks and "export" not in directives:
            assert outputs, f"cell {i} ({', '.join(FLAGS & directives.keys())}) is committed without its output"


# documents


def test_readme_gives_the_commands_that_are_checked():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "pip install . && attrood run" in readme
    assert "pip install -e '.[dev]' && nbdev_test && pytest -n 2 --dist loadfile tests" in readme
    for path in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", readme):
        assert (ROOT / path).exists(), path


def test_versions_agree():
    version = settings()["version"]
    assert f"version: {version}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert importlib.import_module(PACKAGE).__version__ == version


def equation_rows() -> list[list[str]]:
    "The rows of the tables in the equation map."
    cells = [
        c["source"] for c in Notebook(ROOT / "nbs/99_appendix/01_equations.ipynb").cells if c["cell_type"] == "markdown"
    ]
    return [
        [c.strip() for c in line.strip("|").split(" | ")]
        for s in cells
        for line in s.splitlines()
        if line.startswith("| ")
    ]


def test_every_equation_is_mapped_to_code_that_exists():
    rows = {n: row for row in equation_rows() for n in re.findall(r"\((\d+)\)", row[0])}
    assert sorted(map(int, rows)) == list(range(1, 56))
    for n in range(8, 48):
        names = re.findall(r"`([a-z_]+\.\w+)\.([\w.]+)`", rows[str(n)][-1])
        assert names, f"({n}) names no code"


def test_the_equation_map_names_what_exists():
    for row in equation_rows():
        for module, name in re.findall(r"`([a-z_]+\.[a-z]\w*)\.([\w.]+)`", row[-1]):
            assert module in MODULES, f"{row[0]}: no module {module}"
            obj = importlib.import_module(f"{PACKAGE}.{module}")
            for part in name.split("."):
                assert hasattr(obj, part) or part.endswith("_"), f"{row[0]}: {module}.{name} does not exist"
                obj = getattr(obj, part, None)


def test_nothing_committed_tells_of_a_machine():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    for name in listed.stdout.split("\n"):
        path = ROOT / name
        if (
            path.suffix in {".py", ".md", ".yml", ".toml", ".ini", ".ipynb", ".cff", ".css"}
            and path.name != Path(__file__).name
            and path.is_file()
        ):
            content = path.read_text(encoding="utf-8")
            if path.suffix == ".ipynb":
                content = "\n".join(c["source"] for c in Notebook(path).cells)
            found = re.search(r"(?<![\w.])/(?:work|home|root|Users)/\w+", content)
            assert not found, f"{name}: {found[0]}"


def test_notebooks_are_json_of_format_4_5():
    for path in NOTEBOOKS:
        raw = json.loads(path.read_text(encoding="utf-8"))
        assert (raw["nbformat"], raw["nbformat_minor"]) >= (4, 5)
        ids = [c["id"] for c in raw["cells"]]
        assert len(set(ids)) == len(ids), f"{path}: cell ids repeat"


# reading

FIRST = 6  # of the cells that a reader meets, one of these shows a result


def imports_alone(code: str) -> bool:
    "Whether a cell holds nothing but imports."
    try:
        body = ast.parse(code).body
    except SyntaxError:  # shell commands
        return False
    return bool(body) and all(isinstance(n, (ast.Import, ast.ImportFrom)) for n in body)


def first_result(path: Path) -> int | None:
    "Which of the cells that a reader meets is the first with an output: hidden cells, the module's name and imports do not count."
    met = 0
    for c in Notebook(path).cells:
        directives, code = split_directives(c["source"]) if c["cell_type"] == "code" else ({}, "")
        if directives.keys() & {"default_exp", "hide"} or c["cell_type"] == "code" and imports_alone(code):
            continue
        met += 1
        if c["cell_type"] == "code" and c["outputs"]:
            return met
    return None


def test_first_visible_result_within_six_cells():
    late = set()
    for path in NOTEBOOKS:
        nb, first = Notebook(path), first_result(path)
        shows = nb.module or any(c["cell_type"] == "code" and c["outputs"] for c in nb.cells)
        if shows and nb.module != "__init__" and (first is None or first > FIRST):
            late.add(str(path.relative_to(NBS).with_suffix("")))
    assert not late, "show a result among the first six cells, before the helpers"


# constants that were settled


def in_code(place: str):
    "What the code has at `room.module:function.parameter`, `room.module:Class.method.parameter` or `room.module:NAME`."
    module, _, path = place.partition(":")
    owner, *rest = path.split(".")
    value = getattr(importlib.import_module(f"{PACKAGE}.{module}"), owner)
    while rest:
        name = rest.pop(0)
        if not rest and name not in vars(value) and callable(value):
            fields = getattr(value, "__dataclass_fields__", {})
            return fields[name].default if name in fields else inspect.signature(value).parameters[name].default
        value = getattr(value, name)
    return value


def test_the_code_has_the_constants_of_the_table():
    from attrood.ground.defaults import DEFAULTS

    places = [(name, place) for name, d in DEFAULTS.items() for place in d.used]
    wrong = {
        place: (in_code(place), DEFAULTS[name].value)
        for name, place in places
        if in_code(place) != DEFAULTS[name].value
    }
    assert not wrong, f"change the constant in the chapter on defaults and say why there: {wrong}"
    assert len(places) > 40
