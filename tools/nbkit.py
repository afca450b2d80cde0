"""What the other tools share: reading notebooks, their directives, their order and their page names."""

import json
import re
from configparser import ConfigParser
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
NBS = ROOT / "nbs"
DIRECTIVE = re.compile(r"#\s*\|\s*([\w-]+):?[ \t]*(.*)$")
PLACES = {  # the folders that are no rooms, and what the sidebar calls them
    "20_results": "Results",
    "90_guides": "How-to guides",
    "99_appendix": "Appendix",
}
MARK = "●"  # beside a chapter of the first reading
PATH = (  # the first reading, in this order
    "00_problem",
    "02_log/00_log",
    "02_log/03_files",
    "03_evidence/00_evidence",
    "05_axes/00_axes",
    "05_axes/01_features",
    "05_axes/04_sparse_pca",
    "05_axes/11_card",
    "05_axes/12_estimator",
    "06_stability/00_stability",
    "07_detect/00_detect",
    "08_why/00_why",
    "20_results/01_method",
)


def settings() -> dict[str, str]:
    "The values of settings.ini."
    parser = ConfigParser(delimiters=["="])
    parser.read(ROOT / "settings.ini", encoding="utf-8")
    return dict(parser["DEFAULT"])


def text(source: str | list[str]) -> str:
    "A notebook's `source` or `text` field as one string."
    return "".join(source) if isinstance(source, list) else source


def split_directives(source: str) -> tuple[dict[str, str], str]:
    "The `#|` lines that open a code cell as a dict, and the code below them."
    found, lines = {}, source.split("\n")
    while lines and (m := DIRECTIVE.match(lines[0].strip())):
        found[m[1]] = str(yaml.safe_load(m[2])) if m[2][:1] in ("'", '"') else m[2].strip()
        lines.pop(0)
        while not found and lines and not lines[0].strip():
            lines.pop(0)
    return found, "\n".join(lines).strip("\n")


@dataclass
class Notebook:
    "One notebook of nbs/, as stored."

    path: Path

    def __post_init__(self):
        raw = json.loads(self.path.read_text(encoding="utf-8"))
        self.cells = [dict(c, source=text(c["source"])) for c in raw["cells"]]

    @property
    def page(self) -> str:
        "Its page on the site, from the top: the folder, and the file's name without its number, as nbdev names it."
        return page_of(self.path.relative_to(NBS) if self.path.is_relative_to(NBS) else Path(self.path.name))

    @property
    def module(self) -> str | None:
        "The module it exports, from `#| default_exp`."
        return next(
            (
                d["default_exp"]
                for c in self.cells
                if c["cell_type"] == "code"
                if "default_exp" in (d := split_directives(c["source"])[0])
            ),
            None,
        )

    @property
    def sentence(self) -> str:
        "The sentence under its first heading."
        return next((m[1] for c in self.cells if (m := re.match(r"# .+\n\n> (.+)", c["source"]))), "")

    @property
    def title(self) -> str:
        "Its first heading."
        return next(
            (
                m[1].strip()
                for c in self.cells
                if c["cell_type"] == "markdown"
                if (m := re.match(r"# (.+)", c["source"]))
            ),
            self.page,
        )


def page_of(path: Path) -> str:
    "The page that a notebook becomes, from its path below nbs/."
    return str(path.parent / re.sub(r"^\d+[a-zA-Z0-9]*_", "", path.stem))


def notebook_paths() -> list[Path]:
    "Every notebook, in the order in which the book is read."
    paths = [
        p for p in NBS.rglob("*.ipynb") if not any(part.startswith((".", "_")) for part in p.relative_to(NBS).parts)
    ]
    return sorted(paths, key=lambda p: (p.stem != "index", p.relative_to(NBS).parts))


def folders() -> dict[str, list[Path]]:
    "The notebooks of each folder of nbs/, its front page first; those at the top stand under an empty name."
    found: dict[str, list[Path]] = {}
    for path in notebook_paths():
        found.setdefault("" if path.parent == NBS else path.parent.name, []).append(path)
    return found


def rooms() -> list[str]:
    "The names of the rooms, in their order: subpackages of the package."
    return [re.sub(r"^\d+_", "", name) for name in folders() if name and name not in PLACES]


def on_path(path: Path) -> bool:
    "Whether a notebook belongs to the first reading."
    return str(path.relative_to(NBS).with_suffix("")) in PATH
