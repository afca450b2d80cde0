"""Write README.md from nbs/index.ipynb. With --check, only say whether it is up to date (exit status 1 if not)."""

import re
import sys
from pathlib import Path

from nbkit import NBS, ROOT, Notebook, page_of, settings, split_directives, text

NOTE = "<!-- Written from nbs/index.ipynb by tools/readme.py: edit the notebook. -->"


def markdown(source: str, site: str) -> str:
    "A markdown cell of the notebook in GitHub's dialect: images found from the root, links to the site, callouts as alerts."
    source = re.sub(r"(!\[[^\]]*\]\()(?!\w+:)([^)]+\))(\{[^}]*\})?", r"\1nbs/\2", source)
    source = re.sub(
        r"\]\(((?:\w+/)*\w+)\.ipynb(#[^)]*)?\)", lambda m: f"]({site}/{page_of(Path(m[1]))}.html{m[2] or ''})", source
    )

    def alert(m):
        return f"> [!{m[1].upper()}]\n" + "\n".join(f"> {line}".rstrip() for line in m[2].strip().splitlines())

    return re.sub(r"^:::\s*\{\.callout-(\w+)[^}]*\}\n(.*?)^:::\s*$", alert, source, flags=re.M | re.S).strip()


def output(o: dict) -> str:
    "One cell output as markdown; images belong in nbs/images, linked from a markdown cell."
    data = o.get("data", {})
    if "text/markdown" in data:
        return text(data["text/markdown"]).strip()
    plain = text(data.get("text/plain", o.get("text", ""))).rstrip()
    return f"```text\n{plain}\n```" if plain and "image/png" not in data else ""


def render() -> str:
    "The text of README.md."
    cfg = settings()
    site = cfg["doc_host"] + cfg["doc_baseurl"]
    parts = []
    for cell in Notebook(NBS / cfg["readme_nb"]).cells:
        if cell["cell_type"] == "markdown":
            parts.append(markdown(cell["source"], site))
        elif cell["cell_type"] == "code":
            directives, code = split_directives(cell["source"])
            if directives.keys() & {"hide", "default_exp"} or directives.get("include") == "false":
                continue
            if code and directives.get("echo") != "false":
                parts.append(f"```python\n{code}\n```")
            parts += [output(o) for o in cell["outputs"]]
    head, *rest = [p for p in parts if p]
    return "\n\n".join([re.sub(r"\n", f"\n\n{NOTE}\n", head, count=1), *rest]) + "\n"


if __name__ == "__main__":
    readme = ROOT / "README.md"
    if "--check" not in sys.argv:
        readme.write_text(render(), encoding="utf-8")
    elif readme.read_text(encoding="utf-8") != render():
        sys.exit("README.md is not what nbs/index.ipynb says: run python tools/readme.py")
