"""Write nbs/sidebar.yml, the sidebar of the published site: rooms, folded, and the chapters of the first reading marked.

    python tools/sidebar.py

The offline site draws the same tree, see build_docs.py.
"""

from pathlib import Path

import yaml
from nbkit import MARK, NBS, PLACES, Notebook, folders, on_path

FILE = NBS / "sidebar.yml"


def entry(path: Path) -> str | dict[str, str]:
    "A chapter: its file alone, or with a mark behind its title."
    name = str(path.relative_to(NBS))
    return {"text": f"{Notebook(path).title} {MARK}", "href": name} if on_path(path) else name


def section(paths: list[Path]) -> dict:
    "A room: its front page and its chapters."
    front, *chapters = paths
    mark = f" {MARK}" if on_path(front) else ""
    return {
        "section": Notebook(front).title + mark,
        "href": str(front.relative_to(NBS)),
        "contents": [entry(p) for p in chapters],
    }


def render() -> str:
    "The file's text."
    found = folders()
    book = [entry(p) for p in found[""]]
    book += [section(paths) for name, paths in found.items() if name and name not in PLACES]
    beside = [section(found[name]) for name in PLACES if name in found]
    contents = [*book, {"text": "---"}, *beside]
    head = f"# Made by tools/sidebar.py. {MARK} marks the first reading.\n"
    return head + yaml.safe_dump(
        {"website": {"sidebar": {"collapse-level": 1, "contents": contents}}},
        allow_unicode=True,
        sort_keys=False,
        width=120,
    )


if __name__ == "__main__":
    FILE.write_text(render(), encoding="utf-8")
