"""What the tests share: the command line as a process of its own, and a small real log."""

import os
import subprocess
import sys
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
        command(*args), capture_output=True, text=True, cwd=tmp_path, env=environment(**env), timeout=300
    )


@pytest.fixture(scope="session")
def small_log() -> Log:
    "Every fifth row of the bundled log: 294 images of all four domains."
    log = bundled_log()
    return log.select(np.arange(0, len(log), 5))
