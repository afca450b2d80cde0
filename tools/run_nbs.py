"""Run notebooks from top to bottom, each in a fresh process, and keep their outputs in the file.

    python tools/run_nbs.py                              every notebook, in numeric order
    python tools/run_nbs.py nbs/03_evidence/01_registry.ipynb       one
    python tools/run_nbs.py --flags slow gpu -- nbs/20_results/02_food101.ipynb   also its `#| slow` and `#| gpu` cells

Cells that nbdev_test skips are skipped here too and keep the outputs they have. A second run leaves git diff empty.
"""

import argparse
import base64
import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from nbkit import NBS, ROOT, notebook_paths, settings, split_directives

SMALL = 20_000  # bytes up to which a picture is left as it is
LARGE = 50_000  # bytes from which a picture has to do with 64 colours
PHOTOGRAPH = 20_000  # colours from which a picture is taken to hold photographs
SHOWN = 2.0  # seconds from which a cell is named in the table


def smaller(png: str) -> str:
    """A picture in 256 colours, or 64 if it is large, where that saves a third: figures of a notebook then stay small enough to commit.

    A picture with photographs in it keeps 256 colours and is dithered: bands in a sky would look like what the picture is about.
    """
    from PIL import Image

    raw = base64.b64decode(png)
    image = Image.open(io.BytesIO(raw))
    if len(raw) < SMALL or image.mode == "P":
        return png
    if image.mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert("RGB")
    photograph = image.getcolors(PHOTOGRAPH) is None
    dither = Image.Dither.FLOYDSTEINBERG if photograph else Image.Dither.NONE
    for colours in (256,) if photograph else (256, 64):
        out = io.BytesIO()
        palette = image.quantize(colours)
        image.quantize(palette=palette, dither=dither).save(out, "PNG", optimize=True)
        if out.tell() < LARGE:
            break
    return base64.b64encode(out.getvalue()).decode() if out.tell() < 2 / 3 * len(raw) else png


def run_here(path: Path, flags: list[str]) -> dict:
    "Run one notebook in this process and write it back; the seconds of each cell that took long."
    from execnb.nbio import write_nb
    from execnb.shell import CaptureShell
    from nbdev.clean import clean_nb
    from nbdev.process import NBProcessor

    nb = NBProcessor(path, rm_directives=False).nb
    off = set(settings()["tst_flags"].split()) - set(flags)
    sys.path.insert(0, str(ROOT))
    os.chdir(path.parent)
    shell, slow = CaptureShell(path), []
    for i, cell in enumerate(nb.cells):
        directives = split_directives(cell.source)[0] if cell.cell_type == "code" else {"eval": "false"}
        if directives.get("eval", "").lower() == "false" or off & directives.keys() or "nbdev_export(" in cell.source:
            continue
        start = time.perf_counter()
        shell.cell(cell)
        if (seconds := time.perf_counter() - start) >= SHOWN:
            slow.append([i, round(seconds, 1)])
        if shell.exc:
            raise SystemExit(f"{path.name}, cell {i}:\n{shell.prettytb(fname=path)}")
        for o in cell.outputs:
            if "image/png" in o.get("data", {}):
                o["data"]["image/png"] = smaller("".join(o["data"]["image/png"]))
    clean_nb(nb)
    write_nb(nb, path)
    return {"slow": slow}


def run(path: Path, flags: list[str]) -> tuple[float, list]:
    "Run one notebook in a fresh process: its seconds, and its slow cells."
    start = time.perf_counter()
    env = {
        **os.environ,
        "MPLBACKEND": "agg",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
    }
    call = [sys.executable, __file__, "--here", *(["--flags", *flags] if flags else []), "--", str(path)]
    done = subprocess.run(call, env=env, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    return time.perf_counter() - start, json.loads(done.stdout.splitlines()[-1])["slow"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebooks", nargs="*", type=Path)
    parser.add_argument("--flags", nargs="+", default=[], help="run these flagged cells too")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.here:
        return print(json.dumps(run_here(args.notebooks[0], args.flags)))
    total = 0.0
    print(f"{'notebook':<40}{'seconds':>8}  cells of {SHOWN:g} s or more")
    for path in [p.resolve() for p in args.notebooks] or notebook_paths():
        seconds, slow = run(path, args.flags)
        total += seconds
        name = str(path.relative_to(NBS)) if path.is_relative_to(NBS) else path.name
        print(f"{name:<40}{seconds:>8.1f}  {', '.join(f'{i}: {s} s' for i, s in slow)}", flush=True)
    print(f"{'all':<40}{total:>8.1f}")


if __name__ == "__main__":
    main()
