"""The API as MyST text: one entry per public name, from its signature, its docments and its docstring."""

import ast
import importlib
import inspect
import io
import pkgutil
import pprint
import re
import sys
import textwrap
import tokenize
from dataclasses import MISSING, Field, is_dataclass
from enum import Enum
from functools import cache
from types import ModuleType
from typing import Annotated, ParamSpec, TypeVar, get_origin, get_type_hints

import typer
from nbkit import ROOT, settings

WIDTH = 88  # a longer signature takes one line per parameter
LONGEST_NAME = 40  # characters of a key that is shown as code


def public_names(module: ModuleType) -> list[str]:
    "What a module exports, without private names."
    return [
        n
        for n in getattr(module, "__all__", [])
        if not n.startswith("_") and not isinstance(getattr(module, n), (TypeVar, ParamSpec))
    ]


def own_classes(cls: type) -> list[type]:
    "A class after the private bases that carry its methods by subject; what a public base defines is described there."
    return [c for b in cls.__bases__ if b.__name__.startswith("_") for c in own_classes(b)] + [cls]


def methods(cls: type) -> list[str]:
    "The public methods and properties that a class of ours defines, itself or in its private bases, in the order of the code."
    return [
        n
        for n in dict.fromkeys(n for c in own_classes(cls) for n in vars(c))
        if not n.startswith("_")
        and (
            inspect.isfunction(v := inspect.getattr_static(cls, n))
            or isinstance(v, (classmethod, staticmethod, property))
        )
        and inspect.getdoc(getattr(cls, n))
    ]


def symbols(package: str) -> dict[str, tuple[str, object]]:
    "Every documented name, as `module.f` or `module.C.method`, and alone where only one module has it: its module and the object."
    found: dict[str, tuple[str, object]] = {}
    doors: dict[str, list[str]] = {}
    for module in modules(package):
        if is_door(module):
            doors[module.__name__.removeprefix(f"{package}.")] = public_names(module)
            continue
        where = module.__name__.removeprefix(f"{package}.")
        for name in public_names(module):
            obj = getattr(module, name)
            found[f"{where}.{name}"] = (where, obj)
            if inspect.isclass(obj) and not constant(obj):
                found |= {f"{where}.{name}.{m}": (where, inspect.getattr_static(obj, m)) for m in methods(obj)}
    alone: dict[str, list] = {}
    for (
        qualified,
        where,
    ) in found.items():  # `Log`, `files.Log` where that is one, and `log.Log` where the door offers it
        name, leaf = qualified.removeprefix(f"{where[0]}."), where[0].rsplit(".", 1)[-1]
        room = where[0].split(".")[0]
        offered = [f"{room}.{name}"] if name.split(".")[0] in doors.get(room, ()) else []
        for short in {name, f"{leaf}.{name}", *offered}:
            alone.setdefault(short, []).append(where)
    return found | {name: where[0] for name, where in alone.items() if len(where) == 1 and name not in found}


def modules(package: str) -> list[ModuleType]:
    "Every module of the package that is not private, imported; a room before its modules."
    top = importlib.import_module(package)
    names = sorted(
        m.name
        for m in pkgutil.walk_packages([str(ROOT / package)], f"{package}.")
        if not m.name.rsplit(".", 1)[-1].startswith("_")
    )
    return [importlib.import_module(name) for name in names if top]


def is_door(module: ModuleType) -> bool:
    "Whether a module is the front door of a room: it offers what its own modules define."
    return hasattr(module, "__path__")


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


@cache
def commands() -> dict[object, tuple[str, object]]:
    "The functions behind the command line: each with its name and its click command."
    if not (ROOT / settings()["lib_path"] / "entrance/cli.py").exists():
        return {}
    app = importlib.import_module(f"{settings()['lib_path']}.entrance.cli").app
    built = typer.main.get_command(app).commands
    return {info.callback: (info.name, built[info.name]) for info in app.registered_commands}


def usage(name: str, command: object) -> str:
    "How a command is typed, and the examples of its help."
    given = [p.metavar or p.name.upper() for p in command.params if p.param_type_name == "argument"]
    shown = [f"attrood {name} [OPTIONS] {' '.join(given)}".strip()]
    epilog = (command.epilog or "").partition(":")[2]
    shown += [""] * bool(epilog) + [f"$ {line.strip()}" for line in epilog.split("   |   ") if line.strip()]
    return "```console\n" + "\n".join(shown) + "\n```"


def options(command: object) -> list[dict]:
    "What one types: arguments and options of a command, with type, default and help."
    hints, rows = get_type_hints(command.callback), []
    given = inspect.signature(command.callback).parameters.items()  # may have more than is annotated
    hints |= {n: p.annotation.__origin__ for n, p in given if get_origin(p.annotation) is Annotated}
    for p in command.params:
        option, kind = p.param_type_name == "option", hints.get(p.name, str)
        if isinstance(kind, type) and issubclass(kind, Enum):
            *first, last = (str(m.value) for m in kind)
            shown = f"{', '.join(first)} or {last}" if first else last
        else:
            shown = (
                "flag"
                if kind is bool
                else inspect.formatannotation(kind).replace(" | None", "").replace("pathlib.", "")
            )
        default = (
            None if p.default is None or kind is bool and not p.default else str(getattr(p.default, "value", p.default))
        )
        rows.append(
            dict(
                name=" / ".join([", ".join(p.opts), *p.secondary_opts]) if option else p.metavar or p.name.upper(),
                type=shown,
                default=default,
                note=re.sub(r"(?<![\w`-])(--[a-z][\w-]*)", r"`\1`", p.help or ""),
                star="",
            )
        )
    return rows


def parameters(obj: object) -> tuple[list[dict], str]:
    "Name, type, default and comment of each parameter, as written, and the annotation of what is returned."
    if not inspect.isclass(obj) and plain(obj) in commands():
        return options(commands()[plain(obj)][1]), ""
    if inspect.isclass(obj) and issubclass(obj, Enum):
        return [dict(name=m.name, type=repr(m.value), default=None, note="", star="") for m in obj], ""
    if getattr(plain(obj), "__name__", "") == "<lambda>":  # a property in one line
        return [], ""
    tree = ast.parse(source_lines(obj)[0]).body[0]
    if isinstance(tree, ast.ClassDef):
        init = next((n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)
        if init is None:  # a dataclass or a bare class: its annotated fields
            notes, known = comments(obj), getattr(obj, "__dataclass_fields__", {})
            rows = [
                dict(
                    name=n.target.id,
                    type=written(n.annotation),
                    default=field_default(n.value, known.get(n.target.id)),
                    note=notes.get(n.target.id, "") or said_by(known.get(n.target.id)),
                    star="",
                )
                for n in tree.body
                if isinstance(n, ast.AnnAssign)
                and isinstance(n.target, ast.Name)
                and not n.target.id.startswith("_")
                and not ast.unparse(n.annotation).startswith("ClassVar")
                and "init=False" not in ast.unparse(n)
            ]  # neither can be given
            own = {r["name"] for r in rows}
            above = inherited(obj) if is_dataclass(obj) or not rows else []
            return [r for r in above if r["name"] not in own] + rows, ""
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
        rows.append(
            dict(name=a.arg, type=written(a.annotation), star=star, default=default_of(d), note=notes.get(a.arg, ""))
        )
    return rows, written(tree.returns)


def written(node: ast.AST | None) -> str:
    "An annotation as one reads it: a forward reference without its quotes."
    return (
        ""
        if node is None
        else node.value
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        else ast.unparse(node)
    )


def inherited(cls: type) -> list[dict]:
    "The parameters of a class that adds none of its own; exceptions are shown without."
    if issubclass(cls, BaseException):
        return []
    known, notes = inspect.signature(cls).parameters.values(), {}
    fields = getattr(cls, "__dataclass_fields__", {})
    for base in reversed(cls.__mro__[1:-1]):  # the nearest has the last word
        notes |= comments(base) | (comments(base.__init__) if "__init__" in vars(base) else {})
    return [
        dict(
            name=p.name,
            type=re.sub(r"\b(?:\w+\.)+(?=\w)", "", inspect.formatannotation(p.annotation)),
            star="kw" if p.kind is p.KEYWORD_ONLY else "",
            note=notes.get(p.name, "") or said_by(fields.get(p.name)),
            default=None if p.default is p.empty else made_by(fields.get(p.name)) or in_short(p.default),
        )
        for p in known
        if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    ]


def field_default(node: ast.AST | None, known: Field | None) -> str | None:
    "The default of a class's field: as written, or, where a function made the field, what it made."
    made = isinstance(node, ast.Call) and not ast.unparse(node.func).endswith(("field", "settled"))
    if made and known is not None and known.default_factory is MISSING:
        return None if known.default is MISSING else in_short(known.default)
    return default_of(node)


def made_by(known: Field | None) -> str:
    "The call that makes a field's default, if one does."
    made = MISSING if known is None else known.default_factory
    return "" if made is MISSING else f"{getattr(made, '__name__', made)}()"


def said_by(known: Field | None) -> str:
    "What a field says of itself in its metadata."
    return str(known.metadata.get("text", "")) if known is not None else ""


def in_short(value: object) -> str:
    "A value as one writes it; an object with many fields by its class alone."
    return repr(value) if len(repr(value)) <= 40 else f"{type(value).__name__}(...)"


def default_of(node: ast.AST | None) -> str | None:
    "A default as written, a dataclass field's default in place of its `field(...)` call."
    if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("settled"):  # a constant of the table: its value
        return repr(importlib.import_module(f"{settings()['lib_path']}.ground.defaults").settled(node.args[0].value))
    if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("field"):
        known = {k.arg: ast.unparse(k.value) for k in node.keywords}
        if "default_factory" not in known:
            return known.get("default")
        factory = next(k.value for k in node.keywords if k.arg == "default_factory")
        return ast.unparse(factory.body) if isinstance(factory, ast.Lambda) else f"{known['default_factory']}()"
    return None if node is None else ast.unparse(node)


def comments(obj: object) -> dict[str, str]:
    "What stands behind `#` on the line of each parameter or field; `return` for what comes back."
    try:
        text = source_lines(obj)[0]
    except (TypeError, OSError):
        return {}
    said = {
        t.start[0]: re.sub(r"^noqa: [A-Z0-9]+(?:, ?[A-Z0-9]+)*(?: - )?", "", t.string.lstrip("# ").strip())
        for t in tokenize.generate_tokens(io.StringIO(text).readline)
        if t.type == tokenize.COMMENT
    }
    tree = ast.parse(text).body[0]
    if isinstance(tree, ast.ClassDef):
        lines = {
            n.end_lineno: n.target.id
            for n in tree.body
            if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)
        }
    else:
        a = tree.args
        known = zip(
            a.posonlyargs + a.args,
            [None] * (len(a.posonlyargs + a.args) - len(a.defaults)) + list(a.defaults),
            strict=True,
        )
        known = [*known, *zip(a.kwonlyargs, a.kw_defaults, strict=True), *((x, None) for x in (a.vararg, a.kwarg) if x)]
        lines = {(default or arg).end_lineno: arg.arg for arg, default in known}
        if tree.returns:
            lines[tree.returns.end_lineno] = "return"
    return {name: said[line] for line, name in lines.items() if said.get(line)}


def signature(name: str, obj: object) -> str:
    "The call as one reads it, without types."
    if isinstance(obj, property) or inspect.isclass(obj) and issubclass(obj, Enum):
        return name
    if not inspect.isclass(obj) and plain(obj) in commands():
        return f"{name}(...)"
    if (
        inspect.isclass(obj)
        and not is_dataclass(obj)
        and not hasattr(obj, "_fields")
        and "__init__" not in vars(obj)
        and parameters(obj)[0]
        and not inherited(obj)
    ):
        return name  # its annotated names are attributes
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


def sentence(s: str) -> str:
    "Text inside a table that is shown as it is written."
    return cell(re.sub(r"([\\`*_\[\]<])", r"\\\1", s))


def table(obj: object, prose) -> str:
    "Parameters and what is returned, as a table; nothing where there is nothing to say."
    if getattr(plain(obj), "__name__", "") == "<lambda>":  # a property in one line
        return ""
    rows, returned = parameters(obj)
    note = comments(plain(obj)).get("return", "")
    empty = {2} if not any(p["default"] for p in rows) else set()  # columns without an entry are left out
    empty |= {3} if not note and not any(p["note"] for p in rows) else set()

    def line(*cells):
        return "| " + " | ".join(c for i, c in enumerate(cells) if i not in empty) + " |"

    lines = [
        line(
            f"`{p['star'].replace('kw', '')}{p['name']}`",
            code(p["type"]),
            code(p["default"] or ""),
            cell(prose(p["note"])),
        )
        for p in rows
    ]
    if (note or returned not in ("", "None")) and not inspect.isclass(obj):
        managed = (
            hasattr(obj, "__wrapped__") and inspect.isgeneratorfunction(plain(obj)) and returned.startswith("Iterator[")
        )
        lines.append(
            line("**yields**, for `with`", code(returned[9:-1]), "", cell(prose(note)))
            if managed
            else line("**returns**", code(returned), "", cell(prose(note)))
        )
    kind = "value" if inspect.isclass(obj) and issubclass(obj, Enum) else "type"
    return "\n".join([line("", kind, "default", ""), line("---", "---", "---", "---"), *lines]) if lines else ""


def docstring(obj: object) -> str:
    "The docstring without its indentation; the generated one of a dataclass is none."
    if isinstance(obj, property):
        return inspect.cleandoc(obj.__doc__ or "")
    doc, name = plain(obj).__doc__ or "", getattr(plain(obj), "__name__", "")
    if not doc and "." in (
        path := getattr(plain(obj), "__qualname__", "")
    ):  # a method that says nothing takes its base's words
        owner = getattr(sys.modules[plain(obj).__module__], path.split(".")[0])
        doc = inspect.getdoc(getattr(owner, name, None)) or ""
    return "" if doc.startswith(f"{name}(") else inspect.cleandoc(doc)


def source_url(module: str, obj: object) -> str:
    "Where the code stands on the web."
    cfg = settings()
    return (
        f"{cfg['git_url']}/blob/{cfg['branch']}/{cfg['lib_path']}/{module.replace('.', '/')}.py#L{source_lines(obj)[1]}"
    )


def constant(obj: object) -> bool:
    "Whether a public name is a value, or a builtin by another name, rather than a function or class."
    return not (inspect.isclass(obj) or inspect.isfunction(plain(obj))) or getattr(obj, "__module__", "") == "builtins"


def at_door(name: str, obj: object, module: str = "") -> str:
    "A name that other rooms take, as an item of a list: the first line of what it says of itself, a value's comment in `module`."
    own = constant(obj) and not inspect.ismodule(obj)
    said = (remark(name, module) if module else "") if own else inspect.getdoc(obj)
    return f"- `{name}`: {said.splitlines()[0]}" if said else f"- `{name}`"


def taken_from(room: str) -> dict[str, str]:
    "The module of the room that its door takes each name from."
    text = inspect.getsource(importlib.import_module(f"{settings()['lib_path']}.{room}"))
    return {
        a.name: f"{room}.{n.module}"
        for n in ast.parse(text).body
        if isinstance(n, ast.ImportFrom) and n.level == 1 and n.module
        for a in n.names
    }


def entry(name: str, module: str, obj: object, prose, level: int = 3) -> str:
    "The entry of one name in a chapter of the book: anchor, heading, signature, docstring, table."
    head = f"({label(module, name, 'api')})=\n{'#' * level} `{name}`\n\n"
    if constant(obj):
        return head + value_of(name, module)
    links = f"[source]({source_url(module, obj)}){{.source-link}}"
    if inspect.isclass(obj) and issubclass(obj, Enum):
        call = ""
    elif not inspect.isclass(obj) and plain(obj) in commands():
        call = usage(*commands()[plain(obj)]) + "\n\n"
    else:
        call = f"```python\n{signature(name, obj)}\n```\n\n"
    return head + links + f"\n\n{call}{prose(docstring(obj))}\n\n{table(obj, prose)}\n{method_links(name, module, obj)}"


def method_links(name: str, module: str, obj: object) -> str:
    "Where the methods of a class are described."
    found = methods(obj) if inspect.isclass(obj) and not issubclass(obj, Enum) else []
    links = ", ".join(f"[`{m}`](#{label(module, f'{name}.{m}', 'ref')})" for m in found)
    return f"\n{{.api-links}}\nMethods: {links}\n" if found else ""


def assigned(name: str, text: str) -> list[ast.stmt]:
    "Where a module gives a name a value."
    return [
        n
        for n in ast.parse(text).body
        if isinstance(n, (ast.Assign, ast.AnnAssign))
        and name
        in [
            x.id
            for t in (n.targets if isinstance(n, ast.Assign) else [n.target])
            for x in ast.walk(t)
            if isinstance(x, ast.Name)
        ]
    ]


def remark(name: str, module: str) -> str:
    "The comment on the line of a constant, as a sentence; empty where it has none."
    text = inspect.getsource(importlib.import_module(f"{settings()['lib_path']}.{module}"))
    nodes = assigned(name, text)
    note = re.search(r"(?<=  # ).+", text.split("\n")[nodes[-1].end_lineno - 1]) if nodes else None
    return f"{note[0][0].upper()}{note[0][1:].rstrip('.')}." if note else ""


def value_of(name: str, module: str) -> str:
    "A constant: the comment on its line, and its value; what has no readable value is shown as its source."
    mod = importlib.import_module(f"{settings()['lib_path']}.{module}")
    obj, text = getattr(mod, name), inspect.getsource(mod)
    nodes = assigned(name, text)
    if not nodes:
        return f"```python\n{textwrap.shorten(repr(obj), 400)}\n```\n"
    source = ast.get_source_segment(text, nodes[-1])
    said = f"{note}\n\n" if (note := remark(name, module)) else ""
    if isinstance(obj, dict) and obj and all(isinstance(v, str) for pair in obj.items() for v in pair):
        # code in a first column keeps to one line, a sentence does not
        key = code if max(map(len, obj)) <= LONGEST_NAME else sentence
        return (
            said + "| key | value |\n| --- | --- |\n" + "".join(f"| {key(k)} | {cell(v)} |\n" for k, v in obj.items())
        )
    shown = pprint.pformat(obj, width=WIDTH, compact=True, sort_dicts=False)
    if shown.count("\n") > 12 and isinstance(obj, dict):
        return said + f"A `dict` with the keys {', '.join(f'`{k}`' for k in obj)}.\n"
    if re.search(r" at 0x|Path\(|typing\.|collections\.abc|_typing|^<class|^[A-Z]\w*\(\w+=", shown):
        shown = source
    lines = shown.split("\n")
    kind = "python" if len(lines) <= 14 else "text"  # what is cut may not be Python
    return said + f"```{kind}\n" + "\n".join(lines[:14] + ["…"] * (len(lines) > 14)) + "\n```\n"


def page(package: str, module: str, book: set[str], prose) -> str:
    "The reference page of one module; `book` holds the anchors that the chapters define, `prose` turns its docstrings into MyST."
    mod = importlib.import_module(f"{package}.{module}")
    said = inspect.cleandoc(mod.__doc__ or "A module.")
    synopsis = " ".join(said.split("\n\n")[0].split())
    out = [
        f"# `{package}.{module}`",
        "{.lead}\n" + prose(said),
        f":::{{py:module}} {package}.{module}\n:synopsis: {synopsis}\n:::",
    ]
    for name in public_names(mod):
        out.append(item(name, module, getattr(mod, name), book, prose, 6))
    return "\n\n".join(out) + "\n"


def door(package: str, room: str, book) -> str:
    "A room on the page of all modules: what it is for, and what its door offers."
    mod = importlib.import_module(f"{package}.{room}")
    names = [f"[`{n}`](#{book.anchor(f'{room}.{n}')})" for n in public_names(mod) if book.anchor(f"{room}.{n}")]
    head = f"## `{package}.{room}`\n\n{inspect.cleandoc(mod.__doc__ or '')}\n"
    return head + (f"\nAt the door: {', '.join(names)}\n" if names else "")  # a door may offer modules alone


def item(name: str, module: str, obj: object, book: set[str], prose, fence: int) -> str:
    "One name on a reference page, with Sphinx's Python directives, so that search and the index know it."
    anchor = f"({label(module, name, 'ref')})=\n"
    bare = name.rsplit(".", 1)[-1]
    inside = [prose(docstring(obj))] if not constant(obj) else [value_of(name, module)]
    if not constant(obj):
        inside.append(table(obj, prose))
        book_label = label(module, name, "api")
        links = [f"[In the book](#{book_label})"] * (book_label in book) + [f"[source]({source_url(module, obj)})"]
        inside.append("{.api-links}\n" + " · ".join(links))
    if inspect.isclass(obj) and not constant(obj):
        kind, call = "class", signature(bare, obj)
        inside += [
            item(f"{name}.{m}", module, inspect.getattr_static(obj, m), book, prose, fence - 1) for m in methods(obj)
        ]
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
