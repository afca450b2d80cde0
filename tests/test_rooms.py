"""The rooms: a folder each, one front door, imports that go down and through doors, no circle anywhere."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]

from nbkit import Notebook, folders, rooms, settings  # noqa: E402

PACKAGE = ROOT / settings()["lib_path"]
ROOMS = rooms()
MOST_NAMES = 80  # at all doors together


def module_of(path: Path) -> str:
    "`room.module` of a file; a room's own name for its door."
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path) -> list[tuple[str, str]]:
    "What a module takes from the package: (module it names, name it takes), relative imports resolved."
    here = [PACKAGE.name, *path.relative_to(PACKAGE).with_suffix("").parts]
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level] if node.level else []
            full = [*base, *(node.module or "").split(".")] if node.module else base
            if full[:1] == [PACKAGE.name]:
                found += [(".".join(full[1:]), a.name) for a in node.names]
        elif isinstance(node, ast.Import):
            found += [(a.name.partition(".")[2], "") for a in node.names if a.name.split(".")[0] == PACKAGE.name]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            name = node.args[0].value if isinstance(node.args[0], ast.Constant) else ""
            found += [(name.partition(".")[2], "")] if name.startswith(f"{PACKAGE.name}.") else []
    return found


MODULES = sorted(p for p in PACKAGE.rglob("*.py") if p.parent != PACKAGE)


def offered(room: str) -> list[str]:
    "The names at a room's door."
    tree = ast.parse((PACKAGE / room / "__init__.py").read_text(encoding="utf-8"))
    return next(
        ast.literal_eval(n.value)
        for n in tree.body
        if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == "__all__"
    )


def test_rooms_are_folders_with_one_door():
    for name, paths in folders().items():
        if (room := re.sub(r"^\d+_", "", name)) in ROOMS:
            assert paths[0].name == f"00_{room}.ipynb" and Notebook(paths[0]).module == f"{room}.__init__"
            assert all(Notebook(p).module.startswith(f"{room}.") for p in paths), name
    assert {p.name for p in PACKAGE.iterdir() if p.is_dir() and (p / "__init__.py").exists()} == set(ROOMS)


@pytest.mark.parametrize("path", MODULES, ids=module_of)
def test_imports_go_down_and_through_doors(path):
    room = module_of(path).split(".")[0]
    for module, name in imports(path):
        other = module.split(".")[0]
        if other == room or not module:
            assert module or name == "__version__", f"takes {name} from the top of the package"
            continue
        assert ROOMS.index(other) < ROOMS.index(room), f"{room} imports {name} upwards from {module}"
        assert module == other, f"{room} takes {name} from inside {module}: use the door of {other}"
        assert name in offered(other), f"{name} is not at the door of {other}"


def test_no_circle_anywhere():
    graph = {module_of(p): set() for p in MODULES}
    for path in MODULES:
        for module, name in imports(path):
            target = f"{module}.{name}" if f"{module}.{name}" in graph else module
            if target in graph and target != module_of(path):
                graph[module_of(path)].add(target)
    done: set[str] = set()
    while ready := [m for m, needs in graph.items() if m not in done and needs <= done]:
        done |= set(ready)
    assert done == set(graph), f"in a circle, or behind one: {sorted(set(graph) - done)}"


def test_doors_are_small():
    assert sum(len(offered(room)) for room in ROOMS) <= MOST_NAMES


def test_the_whole_job_opens_without_matplotlib():
    "Half a second of every start; it comes when something is drawn."
    code = "import sys, attrood.entrance.cli, attrood.entrance.job; print('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


def test_the_package_opens_without_its_heavy_parts():
    code = "import sys, attrood; print(*sorted(m for m in ('torch', 'matplotlib', 'pandas', 'sklearn', 'pyarrow') if m in sys.modules))"
    assert (
        subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.strip()
        == ""
    )


def test_what_scores_and_explains_loads_nothing_that_fits_or_draws(tmp_path):
    "Two thirds of the start of a command; with these it takes some 3 s of processor time, without them 1 s."
    from attrood.axes import fit_axes
    from attrood.detect import evaluation
    from attrood.log import bundled_log
    from attrood.why import log_reasons

    log = bundled_log()
    card = fit_axes(log)
    log_reasons.with_reasons(card.with_parts(decision=evaluation.fit_decision(card, log)), log).write(
        tmp_path / "axes.json"
    )
    code = """import sys
from attrood.entrance.cli import app
heavy = ("sklearn", "scipy.stats", "scipy.optimize", "matplotlib", "jinja2", "joblib", "torch")
for words in (["--version"], ["score", "animals", "--axes", "axes.json"], ["explain", "animals", "--axes", "axes.json"]):
    try:
        app(words)
    except SystemExit as e:
        assert not e.code, words
    print("loaded by", words[0], *(m for m in heavy if m in sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    said = [line for line in done.stdout.splitlines() if line.startswith("loaded by")]
    assert said == ["loaded by --version", "loaded by score", "loaded by explain"], said
