"""The API as MyST text: one entry per public name, from its signature, its docments and its docstring."""
import ast
import importlib
import inspect
import re
import textwrap
from enum import Enum
from types import ModuleType

from fastcore.docments import docments
from nbkit import ROOT, settings

WIDTH = 88  # a longer signature takes one line per parameter


def public_names(module: ModuleType) -> list[str]:
    "What a module exports, without private names."
    return [n for n in getattr(module, "__all__", []) if not n.startswith("_")]


def methods(cls: type) -> list[str]:
    "The public methods and properties that a class of ours defines itself, in the order of its code."
    return [n for n, v in vars(cls).items() if not n.startswith("_")
            and (inspect.isfunction(v) or isinstance(v, (classmethod, staticmethod, property)))
            and inspect.getdoc(getattr(cls, n))]


def symbols(package: str) -> dict[str, tuple[str, object]]:
    "Every documented name, as `module.f` or `module.C.method`, and alone where only one module has it: its module and the object."
    found: dict[str, tuple[str, object]] = {}
    for path in sorted((ROOT / package).glob("[!_]*.py")):
        module = importlib.import_module(f"{package}.{path.stem}")
        for name in public_names(module):
            obj = getattr(module, name)
            found[f"{path.stem}.{name}"] = (path.stem, obj)
            if inspect.isclass(obj):
                found |= {f"{path.stem}.{name}.{m}": (path.stem, vars(obj)[m]) for m in methods(obj)}
    alone: dict[str, list] = {}
    for qualified, where in found.items():
        alone.setdefault(qualified.split(".", 1)[1], []).append(where)
    return found | {name: where[0] for name, where in alone.items() if len(where) == 1 and name not in found}


def label(module: str, name: str, where: str) -> str:
    "The anchor of a name; its kind is marked, for `EVIDENCE`, `Evidence` and `evidence` would be one anchor otherwise."
    kind = "const-" if name.isupper() else "class-" if name[0].isupper() else ""
    return f"{where}-{module}-{kind}{name}".lower().replace(".", "-").replace("_", "-")


def plain(obj: object) -> object:
    "The function below a classmethod, staticmethod, property or wrapper."
    if isinstance(obj, property):
        return obj.fget
    return obj if inspect.isclass(obj) else inspect.unwrap(getattr(obj, "__func__", obj))


def source_lines(obj: object) -> tuple[str, int]:
    "The source text of a function or class, and its first line's number."
    lines, start = inspect.getsourcelines(plain(obj))
    return textwrap.dedent("".join(lines)), start


def parameters(obj: object) -> tuple[list[dict], str]:
    "Name, type, default and comment of each parameter, as written, and the annotation of what is returned."
    if inspect.isclass(obj) and issubclass(obj, Enum):
        return [dict(name=m.name, type=repr(m.value), default=None, note="", star="") for m in obj], ""
    tree = ast.parse(source_lines(obj)[0]).body[0]
    if isinstance(tree, ast.ClassDef):
        init = next((n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)
        if init is None:  # a dataclass or a bare class: its annotated fields
            notes = comments(obj)
            rows = [dict(name=n.target.id, type=ast.unparse(n.annotation), default=default_of(n.value), note=notes.get(n.target.id, ""), star="")
                    for n in tree.body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name) and not n.target.id.startswith("_")]
            return rows or inherited(obj), ""
        tree, obj = init, plain(obj).__init__
    args, rows, notes = tree.args, [], comments(plain(obj))
    positional = args.posonlyargs + args.args
    defaults = [None] * (len(positional) - len(args.defaults)) + list(args.defaults)
    pairs = [(a, d, "") for a, d in zip(positional, defaults, strict=True)]
    if args.vararg:
        pairs.append((args.vararg, None, "*"))
    pairs += [(a, d, "kw") for a, d in zip(args.kwonlyargs, args.kw_defaults, strict=True)]
    if args.kwarg:
        pairs.append((args.kwarg, None, "**"))
    for i, (a, d, star) in enumerate(pairs):
        if i == 0 and a.arg in ("self", "cls"):
            continue
        kind, said = annotation(a.annotation)
        rows.append(dict(name=a.arg, type=kind, star=star, default=default_of(d), note=notes.get(a.arg, said)))
    return rows, ast.unparse(tree.returns) if tree.returns else ""


def annotation(node: ast.AST | None) -> tuple[str, str]:
    "A type as written, and the help of a command line's option, which stands in `Annotated[type, Option(help=...)]`."
    if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "Annotated" and isinstance(node.slice, ast.Tuple):
        kind, option = node.slice.elts[:2]
        said = [k.value.value for k in getattr(option, "keywords", []) if k.arg == "help" and isinstance(k.value, ast.Constant)]
        return ast.unparse(kind), "".join(said)
    return ast.unparse(node) if node else "", ""


def inherited(cls: type) -> list[dict]:
    "The parameters of a class that adds none of its own; exceptions are shown without."
    if issubclass(cls, BaseException):
        return []
    known = inspect.signature(cls).parameters.values()
    return [dict(name=p.name, type=str(p.annotation), star="", note=comments(cls.__mro__[1]).get(p.name, ""),
                 default=None if p.default is p.empty else repr(p.default)) for p in known if p.kind is p.POSITIONAL_OR_KEYWORD]


def default_of(node: ast.AST | None) -> str | None:
    "A default as written, a dataclass field's default in place of its `field(...)` call."
    if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("field"):
        known = {k.arg: ast.unparse(k.value) for k in node.keywords}
        return known.get("default", f"{known['default_factory']}()" if "default_factory" in known else None)
    return None if node is None else ast.unparse(node)


def comments(obj: object) -> dict[str, str]:
    "The docments of a function or dataclass: parameter name to comment (`return` for what comes back)."
    try:
        return {k: " ".join(str(v).split()) for k, v in docments(obj).items() if v}
    except (TypeError, OSError, SyntaxError, AttributeError):
        return {}


def signature(name: str, obj: object) -> str:
    "The call as one reads it, without types."
    if isinstance(obj, property) or inspect.isclass(obj) and issubclass(obj, Enum):
        return name
    shown, star = [], False
    for p in parameters(obj)[0]:
        if p["star"] == "kw" and not star:
            shown.append("*")
        star = star or p["star"] in ("*", "kw")
        text = ("" if p["star"] == "kw" else p["star"]) + p["name"]
        shown.append(text if p["default"] is None else f"{text}={p['default']}")
    line = f"{name}({', '.join(shown)})"
    return line if len(line) <= WIDTH else f"{name}(\n    " + ",\n    ".join(shown) + ",\n)"


def cell(s: str) -> str:
    "Text that is safe inside a table."
    return s.replace("|", r"\|").strip()


def code(s: str) -> str:
    "Code inside a table."
    return f"`` {cell(s)} ``" if "`" in s else f"`{cell(s)}`" if s else ""


def table(obj: object, prose) -> str:
    "Parameters and what is returned, as a table; nothing where there is nothing to say."
    rows, returned = parameters(obj)
    note = comments(plain(obj)).get("return", "")
    defaults = any(p["default"] for p in rows)  # the column is left out where nothing has one

    def line(*cells):
        return "| " + " | ".join(c for i, c in enumerate(cells) if defaults or i != 2) + " |"

    lines = [line(f"`{p['name']}`", code(p["type"]), code(p["default"] or ""), cell(prose(p["note"]))) for p in rows]
    if (note or returned not in ("", "None")) and not inspect.isclass(obj):
        lines.append(line("**returns**", code(returned), "", cell(prose(note))))
    return "\n".join([line("", "type", "default", ""), line("---", "---", "---", "---"), *lines]) if lines else ""


def docstring(obj: object) -> str:
    "The docstring without its indentation; the generated one of a dataclass is none."
    doc = plain(obj).__doc__ or ""
    name = getattr(plain(obj), "__name__", "")
    return "" if doc.startswith(f"{name}(") else inspect.cleandoc(doc)


def source_url(module: str, obj: object) -> str:
    "Where the code stands on the web."
    cfg = settings()
    return f"{cfg['git_url']}/blob/{cfg['branch']}/{cfg['lib_path']}/{module}.py#L{source_lines(obj)[1]}"


def constant(obj: object) -> bool:
    "Whether a public name is a value rather than a function or class."
    return not (inspect.isclass(obj) or inspect.isfunction(plain(obj)))


def entry(name: str, module: str, obj: object, prose, level: int = 3) -> str:
    "The entry of one name in a chapter of the book: anchor, heading, signature, docstring, table."
    head = f"({label(module, name, 'api')})=\n{'#' * level} `{name}`\n\n"
    if constant(obj):
        return head + value_of(obj)
    links = f"[source]({source_url(module, obj)}){{.source-link}}"
    return head + links + f"\n\n```python\n{signature(name, obj)}\n```\n\n{prose(docstring(obj))}\n\n{table(obj, prose)}\n"


def value_of(obj: object) -> str:
    "A constant's value, where it is short."
    if isinstance(obj, dict) and len(repr(obj)) > 400:
        return f"A `dict` with the keys {', '.join(f'`{k}`' for k in obj)}.\n"
    return f"```python\n{textwrap.shorten(repr(obj), 400)}\n```\n"


def page(package: str, module: str, book: set[str], prose) -> str:
    "The reference page of one module; `book` holds the anchors that the chapters define, `prose` turns its docstrings into MyST."
    mod = importlib.import_module(f"{package}.{module}")
    out = [f"# `{package}.{module}`", "{.lead}\n" + prose(inspect.cleandoc(mod.__doc__ or "A module.")), f":::{{py:module}} {package}.{module}\n:::"]
    for name in public_names(mod):
        out.append(item(name, module, getattr(mod, name), book, prose, 6))
    return "\n\n".join(out) + "\n"


def item(name: str, module: str, obj: object, book: set[str], prose, fence: int) -> str:
    "One name on a reference page, with Sphinx's Python directives, so that search and the index know it."
    anchor = f"({label(module, name, 'ref')})=\n"
    bare = name.rsplit(".", 1)[-1]
    inside = [prose(docstring(obj))] if not constant(obj) else [value_of(obj)]
    if not constant(obj):
        inside.append(table(obj, prose))
        book_label = label(module, name, "api")
        links = [f"[In the book](#{book_label})"] * (book_label in book) + [f"[source]({source_url(module, obj)})"]
        inside.append("{.api-links}\n" + " · ".join(links))
    if inspect.isclass(obj):
        kind, call = "class", signature(bare, obj)
        inside += [item(f"{name}.{m}", module, vars(obj)[m], book, prose, fence - 1) for m in methods(obj)]
    elif constant(obj):
        kind, call = "data", bare
    elif "." in name:
        kind = "property" if isinstance(obj, property) else "classmethod" if isinstance(obj, classmethod) else "method"
        call = signature(bare, obj)
    else:
        kind, call = "function", signature(bare, obj)
    call = re.sub(r"\s+", " ", call.replace(",\n)", ")")).replace("( ", "(")
    body = "\n\n".join(filter(None, inside))
    return f"{anchor}{':' * fence}{{py:{kind}}} {call}\n\n{body}\n\n{':' * fence}"
