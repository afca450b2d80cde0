"""Turn the notebooks (Quarto's dialect, nbdev's directives) into MyST notebooks for Sphinx.

Understood: callouts, `$$ … $$ {#eq-x}` and `@eq-x`, `#| label: fig-x` with `#| fig-cap:` and `@fig-x`, the same for `tbl-x`, `![…](…){#fig-x}`,
headings with `{#sec-x}` and `@sec-x`, links to `NN_name.ipynb#heading`, names in backticks, and the directives export, exports, exporti, hide,
hide_line, echo, output, include, eval, code-fold, code-summary. What is not understood stays in the page, and check_site.py finds it there.
"""

import ast
import importlib
import json
import posixpath
import re
import unicodedata
from pathlib import Path

import reference
import yaml
from nbkit import NBS, Notebook, page_of, settings, split_directives, text

KINDS = {"note", "tip", "warning", "important", "caution"}
CODE = re.compile(
    r"(^[ \t]*(?P<f>`{3,}|~{3,}).*?^[ \t]*(?P=f)[ \t]*$|(?<!`)(?P<t>`+)(?!`).+?(?<!`)(?P=t)(?!`))", re.M | re.S
)
COUNTED = {"fig": "Figure", "tbl": "Table"}
REFERENCE = re.compile(r"(?<![\w`@/.])\[?-?@((?:eq|fig|tbl|sec)-[\w-]*\w)\]?")


class DocError(Exception):
    "A notebook says something that the site cannot show."


def slug(heading: str) -> str:
    "The anchor that pandoc, and so Quarto, gives a heading: links then work on both sites."
    heading = unicodedata.normalize("NFC", heading).replace("`", "").lower()
    heading = re.sub(r"[^\w\s.-]", "", heading)
    return re.sub(r"\s+", "-", re.sub(r"^[^a-z\u00c0-\uffff]+", "", heading.strip())) or "section"


def outside_code(source: str, change) -> str:
    "`change` applied to the text around code, so that code stays as it is."
    out, last = [], 0
    for m in CODE.finditer(source):
        out += [change(source[last : m.start()]), m[0]]
        last = m.end()
    return "".join([*out, change(source[last:])])


def attributes(s: str) -> dict[str, str]:
    '`.callout-note collapse="true" title="x"` as a dict.'
    return {k: a or b for k, a, b in re.findall(r"([\w-]+)\s*=\s*(?:\"([^\"]*)\"|(\S+))", s)}


def callouts(source: str) -> str:
    "Callouts as MyST admonitions; collapsed ones can be opened, also without script."

    def one(m):
        kind, attrs, body = m["kind"], attributes(m["attrs"]), callouts(m["body"].strip("\n"))
        if kind not in KINDS:
            raise DocError(f"callout of unknown kind {kind!r}: use one of {', '.join(sorted(KINDS))}")
        title = attrs.get("title")
        if not title and (t := re.match(r"\s*#+\s+(.+)\n", body + "\n")):
            title, body = t[1], (body + "\n")[t.end() :]
        options = {"true": ":collapsible: closed\n", "false": ":collapsible: open\n"}.get(attrs.get("collapse", ""), "")
        fence = ":" * (len(m["fence"]) + 3)
        head = f"{{admonition}} {title}\n:class: {kind}" if title else f"{{{kind}}}"
        return f"{fence}{head}\n{options}\n{body.strip()}\n\n{fence}"

    pattern = (
        r"^(?P<fence>:{3,})[ \t]*\{\.callout-(?P<kind>\w+)(?P<attrs>[^}\n]*)\}[ \t]*\n(?P<body>.*?)^(?P=fence)[ \t]*$"
    )
    return re.sub(pattern, one, source, flags=re.M | re.S)


WORDS = 20  # letters of a cell from which its column is prose


def prose_left(html: str) -> str:
    """A data frame with its columns of prose marked `words` and its numbers with an interval marked `whole`.

    The style sets prose from the left, and breaks no line within an interval.
    """
    if 'class="dataframe"' not in html:
        return html
    html = re.sub(r"<td>([+−-]?[\d.]+ \[[^\]<]*\])</td>", r'<td class="whole">\1</td>', html)
    if "rowspan" in html or "colspan" in html:
        return html
    rows = [re.findall(r"<t([hd])(?:\s[^>]*)?>(.*?)</t[hd]>", r, re.S) for r in re.findall(r"<tr.*?</tr>", html, re.S)]
    body = [r for r in rows if any(kind == "d" for kind, _ in r)]
    if not body or len({len(r) for r in body}) > 1:
        return html
    prose = {
        j
        for j in range(len(body[0]))
        if any(len(r[j][1]) >= WORDS and re.search(r"[^\W\d_]{3}", r[j][1]) for r in body)
    }

    def mark(row: re.Match) -> str:
        at = iter(range(len(body[0])))
        return re.sub(
            r"<t([hd])((?:\s[^>]*)?)>",
            lambda m: f'<t{m[1]} class="words"{m[2]}>' if next(at, -1) in prose else m[0],
            row[0],
        )

    return re.sub(r"<tr.*?</tr>", mark, html, flags=re.S)


def led_in(cells: list[dict]) -> list[dict]:
    "Cells without words that lead to code which the page does not show: a paragraph of its own goes, the end of another becomes a full stop."
    kept = []
    for c, after in zip(cells, [*cells[1:], None], strict=True):
        text_after = (
            after
            and after["cell_type"] == "markdown"
            and not re.match(r"[(|\-*`{<:$!]|\d+\.", after["source"].lstrip())
        )
        if c["cell_type"] == "markdown" and c["source"].rstrip().endswith(":") and (after is None or text_after):
            said = c["source"].rstrip()
            if "\n\n" not in said and not said.startswith(("#", "(")):
                continue
            c = c | {"source": said[:-1] + "."}
        kept.append(c)
    return kept


class Page:
    "One notebook on its way to MyST."

    def __init__(self, nb: Notebook, book: "Book"):
        self.nb, self.book, self.name = nb, book, nb.page
        self.labels: dict[str, str] = {}  # Quarto label on this page -> what a reference to it becomes
        self.defined: set[str] = set()  # API anchors
        self.cells: list[dict] = []
        self.counts: dict[str, int] = {}  # figures and tables so far
        self.shown = {
            m
            for c in nb.cells
            if c["cell_type"] == "code"
            for m in re.findall(r"^show_doc\(([\w.]+)", c["source"], re.M)
        }
        self.find_labels()

    def own(self, name: str) -> str:
        "A label made unique across the site."
        return f"{self.name}-{name}".replace("/", "-")

    def find_labels(self):
        "Note each label this page defines, so that references can be resolved and wrong ones reported."
        for c in self.nb.cells:
            if c["cell_type"] == "code":
                found = [split_directives(c["source"])[0].get("label", "")]
            else:
                found = re.findall(r"\{#((?:eq|fig|tbl|sec)-[\w-]+)[^}]*\}", CODE.sub("", c["source"]))
                self.book.named |= {
                    self.own(n) for n in re.findall(r"^#+ .*\{#([\w-]+)[^}]*\}[ \t]*$", c["source"], re.M)
                }
            for name in filter(None, found):
                if name in self.labels:
                    raise DocError(f"{self.nb.path.name}: the label {name} is defined twice")
                self.labels[name] = self.target(name)

    def target(self, name: str) -> str:
        "What a reference to a label becomes."
        kind = name.split("-")[0]
        if kind in COUNTED:  # each page counts its own, as it does its equations
            self.counts[kind] = self.counts.get(kind, 0) + 1
            return f"[{COUNTED[kind]} {self.counts[kind]}](#{self.own(name)})"
        role = {"eq": "eq", "sec": "ref"}[kind]
        return f"{{{role}}}`{self.own(name)}`"

    def refer(self, m: re.Match) -> str:
        "A `@fig-x` in running text."
        if m[1] not in self.labels:
            raise DocError(
                f"{self.nb.path.name}: @{m[1]} is not defined in this notebook (for another one, link to NN_name.ipynb#heading)"
            )
        return self.labels[m[1]]

    def markdown(self, source: str) -> str:
        "A markdown cell in MyST."

        def change(s):
            s = re.sub(
                r"^(#+ .*?)\s*\{#([\w-]+)[^}]*\}[ \t]*$", lambda m: f"({self.own(m[2])})=\n{m[1]}", s, flags=re.M
            )
            s = re.sub(
                r"\$\$.+?\$\$", lambda m: m[0].replace("<", r"\lt ").replace(">", r"\gt "), s, flags=re.S
            )  # else they would be tags
            s = re.sub(
                r"\$\$\s*(.+?)\s*\$\$[ \t]*\{#(eq-[\w-]+)\}",
                lambda m: f"\n\n$$\n{m[1]}\n$$ ({self.own(m[2])})\n\n",
                s,
                flags=re.S,
            )
            s = re.sub(r"!\[([^\]]*)\]\(([^)]+)\)\{([^}]*)\}", self.image, s)
            s = re.sub(
                r"(\n(?:\|.*\n)+)\n?: (.+?) \{#(tbl-[\w-]+)\}", lambda m: f"\n{self.caption(m[3], m[2])}\n{m[1]}", s
            )
            s = REFERENCE.sub(self.refer, s)
            return re.sub(r"\]\((?:\./)?((?:\.\./|\w+/)*\w+\.ipynb)?(?:#([\w.-]+))?\)", self.link, s)

        return self.doclinks(callouts(outside_code(source, change)))

    def link(self, m: re.Match) -> str:
        "A link to a notebook or a heading; one with its own `{#name}` is found by that name."
        anchor, here = m[2] or "", posixpath.dirname(self.name)
        folder = posixpath.dirname(str(self.nb.path.relative_to(NBS))) if self.nb.path.is_relative_to(NBS) else ""
        name = page_of(Path(posixpath.normpath(posixpath.join(folder, m[1])))) if m[1] else self.name
        own = f"{name}-{anchor}".replace("/", "-")
        if own in self.book.named:
            return f"](#{own})"
        return f"]({posixpath.relpath(name, here or '.')}.ipynb{'#' + anchor if anchor else ''})" if m[1] else m[0]

    def image(self, m: re.Match) -> str:
        "An image with attributes: a figure if it has a label."
        alt, path, attrs = m[1], m[2], m[3]
        width = attributes(attrs).get("width", "")
        options = f":width: {width}\n" if width else ""
        if name := re.search(r"#(fig-[\w-]+)", attrs):
            return f"\n:::::{{figure}} {path}\n:name: {self.own(name[1])}\n:alt: {attributes(attrs).get('fig-alt', alt)}\n{options}\n{self.numbered(name[1], alt)}\n:::::\n"
        return f"\n:::::{{image}} {path}\n:alt: {attributes(attrs).get('fig-alt', alt)}\n{options}:::::\n"

    def caption(self, name: str, caption: str) -> str:
        "A table's number and caption, above it."
        return f"({self.own(name)})=\n{{.table-caption}}\n{self.numbered(name, caption)}\n"

    def numbered(self, name: str, caption: str) -> str:
        "A caption with its number before it."
        return f"**{self.labels[name][1:].partition(']')[0]}.** {caption}"

    def doclinks(self, source: str) -> str:
        "Names in backticks that the package documents become links."

        def link(m):
            where = self.book.anchor(m[1])
            return f"[`{m[1]}`](#{where})" if where else m[0]

        parts, last = [], 0
        for fence in re.finditer(
            r"^[ \t]*(?P<f>`{3,}|~{3,}).*?^[ \t]*(?P=f)[ \t]*$|\$\$.*?\$\$|^#+ [^\n]*$", source, re.M | re.S
        ):
            parts += [source[last : fence.start()], fence[0]]
            last = fence.end()
        parts.append(source[last:])
        pattern = r"(?<![`\[\\])`([A-Za-z_][\w.]*)(?:\(\))?`(?![`\]])"
        return "".join(p if i % 2 else re.sub(pattern, link, p) for i, p in enumerate(parts))

    def code(self, c: dict):
        "A code cell: an API entry, nothing, or the cell with its outputs."
        directives, source = split_directives(c["source"])
        flags = directives.keys()
        if "export" in flags or "exports" in flags:
            self.entries(source, c["id"])
            self.door(source, c["id"])
        if flags & {"export", "exporti", "hide", "default_exp"} or directives.get("include") == "false":
            return
        if shown := re.findall(r"^show_doc\(([\w.]+)", source, re.M):
            for i, name in enumerate(shown):
                self.add_entry(name, f"{c['id']}-{i}")
            return
        source = "\n".join(line for line in source.split("\n") if not re.search(r"#\|\s*hide_line\s*$", line))
        outputs = [] if "exports" in flags or directives.get("output") == "false" else self.outputs(c, directives)
        if directives.get("output") == "asis":
            self.cells += [
                self.md_cell(
                    self.markdown(text(o.get("text", o.get("data", {}).get("text/markdown", "")))), f"{c['id']}-{i}"
                )
                for i, o in enumerate(outputs)
            ]
            outputs = []
        if not outputs and directives.get("echo") == "false":
            return
        if directives.get("label", "").startswith("tbl-"):
            self.cells.append(
                self.md_cell(self.caption(directives["label"], directives.get("tbl-cap", "")), f"{c['id']}-cap")
            )
        self.cells.append(
            dict(
                cell_type="code",
                id=c["id"],
                metadata=self.metadata(directives),
                source=source,
                outputs=outputs,
                execution_count=None,
            )
        )

    def metadata(self, directives: dict) -> dict:
        "The tags and figure options that myst-nb reads."
        tags, shown = [], {}
        if directives.get("echo") == "false":
            tags.append("remove-input")
        elif directives.get("code-fold", "false") not in ("false", "show"):
            tags.append("hide-input")
            shown["code_prompt_show"] = directives.get("code-summary", "Code")
            shown["code_prompt_hide"] = directives.get("code-summary", "Code")
        if directives.get("label", "").startswith("fig-"):
            caption = self.markdown(directives.get("fig-cap", ""))
            shown["figure"] = dict(
                name=self.own(directives["label"]), caption=self.numbered(directives["label"], caption)
            )
            shown["image"] = dict(alt=directives.get("fig-alt", re.sub(r"[`$*]", "", directives.get("fig-cap", ""))))
        return dict(tags=tags, **({"mystnb": shown} if shown else {}))

    @staticmethod
    def outputs(c: dict, directives: dict) -> list[dict]:
        "The outputs worth a reader's time: no warnings, no terminal colours."
        kept = [o for o in c.get("outputs", []) if o.get("name") != "stderr"]
        for o in kept:
            if "text" in o:
                o["text"] = re.sub(r"\x1B\[[0-9;]*[A-Za-z]", "", text(o["text"]))
            if "text/html" in o.get("data", {}):
                o["data"] = o["data"] | {"text/html": prose_left(text(o["data"]["text/html"]))}
        return kept

    def entries(self, source: str, cell_id: str):
        "The API entry of each public function and class that a cell defines, unless a show_doc cell places it elsewhere."
        for name in re.findall(r"^(?:async )?(?:def|class) ([A-Za-z]\w*)", source, re.M):
            if name not in self.shown:
                self.add_entry(name, f"{cell_id}-{name}")

    def door(self, source: str, cell_id: str):
        "The names at a room's door, a line each, where its page says which they are."
        room, _, last = (self.nb.module or "").partition(".")
        if last != "__init__" or not (names := re.search(r"^_all_ = (\[.*?\])", source, re.M | re.S)):
            return
        at = importlib.import_module(f"{settings()['lib_path']}.{room}")
        home = reference.taken_from(room)
        listed = [reference.at_door(n, getattr(at, n), home.get(n, "")) for n in ast.literal_eval(names[1])]
        self.cells.append(self.md_cell(self.markdown("\n".join(listed)), f"{cell_id}-door"))

    def find(self, name: str):
        "The module and object of a name that a cell of this notebook defines or shows."
        return self.book.symbols.get(f"{self.nb.module}.{name}") or self.book.symbols.get(name)

    def add_entry(self, name: str, cell_id: str):
        if not (found := self.find(name)):
            raise DocError(f"{self.nb.path.name}: {name} is not among the public names of a module")
        module, obj = found
        if (anchor := reference.label(module, name, "api")) in self.defined:
            return
        self.defined.add(anchor)
        entry = reference.entry(name, module, obj, self.markdown, self.level(4 if "." in name else 3))
        self.cells.append(self.md_cell(entry, cell_id))

    def level(self, wanted: int) -> int:
        "The heading level of an entry, not more than one below the heading before it."
        above = [
            len(m)
            for c in self.cells
            if c["cell_type"] == "markdown"
            for m in re.findall(r"^(#+) ", CODE.sub("", c["source"]), re.M)
        ]
        return min(wanted, above[-1] + 1 if above else 2)

    @staticmethod
    def md_cell(source: str, cell_id: str) -> dict:
        return dict(cell_type="markdown", id=re.sub(r"[^\w-]", "-", cell_id)[:60], metadata={}, source=source)

    def plan(self):
        "First pass: which API anchors will this page define?"
        for c in self.nb.cells:
            directives, source = split_directives(c["source"]) if c["cell_type"] == "code" else ({}, "")
            names = re.findall(r"^show_doc\(([\w.]+)", source, re.M) if source else []
            if directives.keys() & {"export", "exports"}:
                names += re.findall(r"^(?:async )?(?:def|class) ([A-Za-z]\w*)", source, re.M)
            self.book.anchors |= {reference.label(found[0], n, "api") for n in names if (found := self.find(n))}

    def convert(self) -> dict:
        "The MyST notebook."
        for i, c in enumerate(self.nb.cells):
            if c["cell_type"] == "code":
                self.code(c)
            elif c["cell_type"] == "markdown" and not re.match(r"#+ .* -\s*$", c["source"]):
                source = self.front(c["source"]) if i == 0 else c["source"]
                self.cells.append(self.md_cell(self.markdown(source), c["id"]))
        self.cells = led_in(self.cells)
        kernel = dict(name="python3", display_name="python3", language="python")
        return dict(
            cells=self.cells,
            metadata=dict(kernelspec=kernel, language_info=dict(name="python")),
            nbformat=4,
            nbformat_minor=5,
        )

    def front(self, source: str) -> str:
        "The first cell: the sentence below the title is its lead."
        if m := re.match(r"---\n(.*?)\n---\n*", source, re.S):
            meta = yaml.safe_load(m[1]) or {}
            source = f"# {meta.get('title', self.name)}\n\n> {meta.get('description', '')}\n\n" + source[m.end() :]
        return re.sub(r"^> ?(.+)$", r"{.lead}\n\1", source, count=1, flags=re.M)


class Book:
    "All notebooks, and what they refer to."

    def __init__(self, notebooks: list[Notebook], package: str):
        self.package, self.symbols = package, reference.symbols(package)
        self.anchors: set[str] = set()
        self.named: set[str] = set()  # headings with a name of their own, as page-name
        self.pages = [Page(nb, self) for nb in notebooks]
        for page in self.pages:
            page.plan()

    def anchor(self, name: str) -> str | None:
        "Where a name (`f`, `C.method`, `module.f`) is documented: in the chapter that shows it, else in the reference."
        name = name.removeprefix(f"{self.package}.")
        if name not in self.symbols:
            return None
        module = self.symbols[name][0]
        room, leaf = module.split(".")[0], module.rsplit(".", 1)[-1]
        name = next((name.removeprefix(p) for p in (f"{module}.", f"{room}.", f"{leaf}.") if name.startswith(p)), name)
        book = reference.label(module, name, "api")
        return book if book in self.anchors else reference.label(module, name, "ref")

    def prose(self, module: str):
        "What turns the docstrings of a module into MyST: its chapter knows its labels."
        page = next((p for p in self.pages if p.nb.module == module), self.pages[0])
        return page.markdown

    def write(self, folder: Path):
        "Every page as a MyST notebook in `folder`."
        for page in self.pages:
            made = json.dumps(page.convert(), ensure_ascii=False, indent=1)
            file = folder / f"{page.name}.ipynb"
            file.parent.mkdir(exist_ok=True)
            file.write_text(made, encoding="utf-8")
