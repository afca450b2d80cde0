"""Run notebooks top to bottom in place, as `nbdev_test` would, and keep their outputs."""
import os, sys, time
from pathlib import Path
from execnb.nbio import write_nb
from execnb.shell import CaptureShell
from fastcore.xtras import working_directory
from nbdev.config import get_config
from nbdev.clean import clean_nb
from nbdev.doclinks import nbglob
from nbdev.process import NBProcessor


def run(path: Path, flags: set[str]) -> float:
    nb = NBProcessor(path, rm_directives=False).nb
    shell = CaptureShell(path)

    def skip(cell):
        d = getattr(cell, "directives_", None) or {}
        off = cell.cell_type != "code" or "nbdev_export(" in cell.source or d.get("eval:", [""])[0].lower() == "false"
        return off or bool(flags & d.keys())

    start = time.time()
    with working_directory(path.parent):
        try: shell.run_all(nb, exc_stop=True, preproc=skip)
        except Exception: sys.exit(shell.prettytb(fname=path))
    clean_nb(nb)
    write_nb(nb, path)
    return time.time() - start


if __name__ == "__main__":
    force = set(os.environ.get("NB_FLAGS", "").split())
    flags = set(get_config().tst_flags.split()) - force
    for p in [Path(a).resolve() for a in sys.argv[1:]] or nbglob(as_path=True).map(Path.resolve):
        print(f"{p.name}: {run(p, flags):.1f}s")
