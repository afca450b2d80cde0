"""Check, without touching a file, that notebooks, modules, README.md and the sidebar say the same.

The notebooks are copied, exported and cleaned in a temporary folder, and the result is compared with the tree.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import readme
import sidebar
from nbkit import NBS, ROOT, notebook_paths, settings

KEPT = ("settings.ini", "setup.py", "pyproject.toml", "README.md")


def exported(folder: Path) -> None:
    "A copy of the tree in `folder`, with its notebooks cleaned and its modules written anew."
    for name in KEPT:
        shutil.copy(ROOT / name, folder)
    (folder / settings()["lib_path"]).mkdir()
    for path in notebook_paths():
        copy = folder / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    for command in ("nbdev_clean", "nbdev_export"):
        program = Path(sys.executable).parent / command
        done = subprocess.run([program], cwd=folder, env=env, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{command} failed:\n{done.stdout}{done.stderr}")


def problems() -> list[str]:
    "One line for every file that is not what the notebooks make of it."
    found = []
    with tempfile.TemporaryDirectory() as tmp:
        exported(Path(tmp))
        package = settings()["lib_path"]
        made = {p.relative_to(tmp) for p in Path(tmp, package).rglob("*.py")}
        there = {p.relative_to(ROOT) for p in (ROOT / package).rglob("*.py")}
        found += [f"{p}: no notebook exports it; delete it" for p in sorted(there - made)]
        for p in sorted(made | {Path("pyproject.toml")}):
            if p not in there and p.suffix == ".py":
                found.append(f"{p}: missing; run nbdev_export")
            elif (ROOT / p).read_bytes() != Path(tmp, p).read_bytes():
                found.append(f"{p}: differs from its notebook; run nbdev_export")
        found += [
            f"{p.relative_to(ROOT)}: not clean; run nbdev_clean"
            for p in notebook_paths()
            if p.read_bytes() != Path(tmp, p.relative_to(ROOT)).read_bytes()
        ]
    if (NBS / "index.ipynb").exists() and (ROOT / "README.md").read_text(encoding="utf-8") != readme.render():
        found.append("README.md: differs from nbs/index.ipynb; run python tools/readme.py")
    if not sidebar.FILE.exists() or sidebar.FILE.read_text(encoding="utf-8") != sidebar.render():
        found.append("nbs/sidebar.yml: differs from the notebooks; run python tools/sidebar.py")
    return found


if __name__ == "__main__":
    if lines := problems():
        sys.exit("\n".join(lines))
    print("notebooks, modules and README.md agree")
