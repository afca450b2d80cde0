"""What the tests share: the command line as a process of its own, and a small real log."""

import os
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from attrood.log import Log, bundled_log

ROOT = Path(__file__).resolve().parents[1]
SHARED = next(
    (p / "shared" for p in ROOT.parents if (p / "shared/data/images").is_dir()), ROOT.parent / "shared"
)  # data that is not in the repository


def command(*args: object) -> list[str]:
    "The command line as `subprocess` takes it, with the interpreter that runs the tests."
    return [sys.executable, "-c", "from attrood.entrance.cli import main; main()", *map(str, args)]


def environment(**extra: str) -> dict[str, str]:
    "The environment with this checkout first on the path."
    return (
        os.environ
        | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]), "MPLBACKEND": "agg"}
        | extra
    )


@pytest.fixture
def attrood(tmp_path):
    "Run `attrood ARGS` in an empty folder."
    return lambda *args, **env: subprocess.run(
        command(*args), capture_output=True, text=True, cwd=tmp_path, env=environment(**env), timeout=900
    )


def start(folder: Path, *args: object, prepare: Callable[[], None] = lambda: None) -> tuple:
    "Start `attrood ARGS` in a folder, in a fork of this process, which spares the start-up: its number, and files for what it says."
    out, err = (tempfile.TemporaryFile() for _ in range(2))
    if not (pid := os.fork()):
        code = 70
        try:
            os.chdir(folder)
            os.dup2(out.fileno(), 1), os.dup2(err.fileno(), 2)
            sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            prepare()
            from attrood.entrance.cli import main

            sys.argv = ["attrood", *map(str, args)]
            try:
                main()
                code = 0
            except SystemExit as e:
                code = int(e.code or 0)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush(), sys.stderr.flush()
            os._exit(code)
    return pid, out, err


@pytest.fixture
def forked(tmp_path):
    "Run `attrood ARGS` in an empty folder, in a fork of this process."
    if not hasattr(os, "fork"):
        pytest.skip("needs fork")
    import attrood.entrance.cli  # noqa: F401 - what is loaded before a fork need not be loaded in it

    def run(*args: object, **more) -> subprocess.CompletedProcess:
        pid, *said = start(tmp_path, *args, **more)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        texts = [f.seek(0) or f.read().decode() for f in said]
        return subprocess.CompletedProcess(args, code, *texts)

    return run


@pytest.fixture(scope="session")
def small_log() -> Log:
    "Every fifth row of the bundled log: 294 images of all four domains."
    log = bundled_log()
    return log.select(np.arange(0, len(log), 5))
