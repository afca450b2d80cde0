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
GROUPS = (  # the parts of the site, by the number that a notebook's name starts with
    ("The problem", r"00"),
    ("From images to a log", r"0[1-3]"),
    ("From a log to evidence", r"0[45]"),
    ("From evidence to axes", r"0[6-9]|10"),
    ("From axes to answers", r"1[1-9]"),
    ("Results", r"2\d"),
    ("How-to guides", r"9[0-7]"),
    ("Appendix", r"9[89]"),
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
        "The name of its page: the file's name without the leading number, as nbdev makes it."
        return re.sub(r"^\d+[a-zA-Z0-9]*_", "", self.path.stem)

    @property
    def module(self) -> str | None:
        "The module it exports, from `#| default_exp`."
        return next((d["default_exp"] for c in self.cells if c["cell_type"] == "code"
                     if "default_exp" in (d := split_directives(c["source"])[0])), None)

    @property
    def title(self) -> str:
        "Its first heading."
        return next((m[1].strip() for c in self.cells if c["cell_type"] == "markdown" if (m := re.match(r"# (.+)", c["source"]))), self.page)


def notebook_paths() -> list[Path]:
    "Every notebook, in the order in which the book is read."
    paths = [p for p in NBS.rglob("*.ipynb") if not any(part.startswith((".", "_")) for part in p.relative_to(NBS).parts)]
    return sorted(paths, key=lambda p: (p.stem != "index", p.name))


def group(path: Path) -> str:
    "The part of the site where a notebook stands."
    return next((name for name, pattern in GROUPS if re.match(rf"(?:{pattern})[a-z0-9]*_", path.name)), "")
