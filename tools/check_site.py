"""Read the built site as a visitor's browser would, and name what is broken.

    python tools/check_site.py _site/html

Found: links and anchors that lead nowhere, missing images and scripts, anything loaded from another host, directives and references
that no converter understood, and formulas that KaTeX cannot read (where Node.js is at hand).
"""

import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

RAW = re.compile(
    r":::|^\s*#\|\s*\w|(?<![\w/.])@(?:fig|eq|tbl|sec)-\w|\{#(?:fig|eq|tbl|sec)-|\$\$|\{\.callout|\{target=|show_doc\(",
    re.M,
)
VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
LOADED = {("script", "src"), ("link", "href"), ("img", "src"), ("source", "src")}


class Reader(HTMLParser):
    "What one page links to, defines, loads and says."

    def __init__(self, page: str):
        super().__init__(convert_charrefs=True)
        self.links: list[tuple[str, str, str]] = []
        self.anchors: set[str] = set()
        self.prose: list[str] = []
        self.cells: list[str] = []
        self.math: list[str] = []
        self.stack: list[tuple[str, str]] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        a = dict(attrs)
        self.anchors |= {a[k] for k in ("id", "name") if a.get(k)}
        self.links += [(tag, k, a[k]) for k in ("href", "src") if a.get(k) is not None]
        if tag not in VOID:
            kind = "script" if tag in ("script", "style", "template") else ""
            classes = (a.get("class") or "").split()
            kind = (
                "math"
                if "math" in classes
                else "cell"
                if "cell_input" in classes
                else kind or ("code" if tag in ("pre", "code") else "")
            )
            self.stack.append((tag, kind))
        if "math" in (a.get("class") or "").split():
            self.math.append("")

    def handle_endtag(self, tag):
        while self.stack and self.stack.pop()[0] != tag:
            pass

    def handle_data(self, data):
        kinds = {kind for _, kind in self.stack}
        if "script" in kinds:
            return
        if "math" in kinds:
            self.math[-1] += data
        elif "cell" in kinds:
            self.cells.append(data)
        elif "code" not in kinds:
            self.prose.append(data)


def link_problems(root: Path, pages: dict[Path, Reader]) -> list[str]:
    "Links, images and scripts that lead nowhere or to another host."
    found = []
    for path, page in pages.items():
        name = path.relative_to(root)
        for tag, key, url in page.links:
            parts = urlsplit(url)
            if parts.scheme in ("data", "mailto", "javascript"):
                continue
            if parts.scheme or parts.netloc:
                if (tag, key) in LOADED and tag != "link":
                    found.append(f"{name}: loads {url}")
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if target.is_dir():
                target /= "index.html"
            if not target.exists():
                found.append(f"{name}: {url} leads nowhere")
            elif (
                parts.fragment
                and target in pages
                and unquote(parts.fragment) not in pages[target].anchors | {"top", ""}
            ):
                found.append(f"{name}: {url} has no such anchor")
    return found


def raw_problems(root: Path, pages: dict[Path, Reader]) -> list[str]:
    "Text that a converter should have turned into something else."
    found = []
    for path, page in pages.items():
        name = path.relative_to(root)
        prose = "\n".join(page.prose)
        found += [
            f"{name}: raw {m[0]!r} in …{prose[max(0, m.start() - 30) : m.end() + 30]!r}…" for m in RAW.finditer(prose)
        ]
        cells = "".join(page.cells)
        found += [f"{name}: raw directive {m[0]!r} in a cell" for m in re.finditer(r"^#\|.*$", cells, re.M)]
    return found


def math_problems(root: Path, pages: dict[Path, Reader]) -> list[str]:
    "Formulas that KaTeX refuses; nothing is checked where Node.js is missing."
    if not shutil.which("node"):
        print("check_site: no Node.js here, formulas not checked", file=sys.stderr)
        return []
    formulas = []
    for path, page in pages.items():
        for m in page.math:
            inner = re.search(r"\\[(\[](.*)\\[)\]]", m, re.S)
            formulas.append([str(path.relative_to(root)), (inner[1] if inner else m).strip()])
    katex = root / "_static" / "katex.min.js"
    script = (
        "const k=require(process.argv[1]);let s='';process.stdin.on('data',d=>s+=d).on('end',()=>{for(const [p,f] of JSON.parse(s)){"
        "try{k.renderToString(f,{throwOnError:true,strict:'ignore'})}catch(e){console.log(p+': '+e.message+' in '+f)}}})"
    )
    done = subprocess.run(
        ["node", "-e", script, str(katex.resolve())], input=json.dumps(formulas), capture_output=True, text=True
    )
    return done.stdout.splitlines() + (["KaTeX did not run: " + done.stderr] if done.returncode else [])


def problems(root: Path) -> list[str]:
    "One line for every fault of the site in `root`."
    root = root.resolve()
    pages = {p: Reader(p.read_text(encoding="utf-8")) for p in root.rglob("*.html") if "_sources" not in p.parts}
    return link_problems(root, pages) + raw_problems(root, pages) + math_problems(root, pages)


if __name__ == "__main__":
    if lines := problems(Path(sys.argv[1])):
        sys.exit("\n".join(lines))
    print("every link, anchor, image and formula of the site is good")
