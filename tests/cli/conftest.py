"""The real commands on a tiny set of scenes: one pipeline, run once for all tests."""

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
_FOLDER = tempfile.TemporaryDirectory()
ELSEWHERE = Path(_FOLDER.name)  # where tests run commands: the checkout's own data/ and runs/ stay
ENVIRONMENT = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "100"}


@dataclass(frozen=True)
class Ran:
    status: int
    out: str
    err: str


def run(module: str, *words: object, cwd: Path = ELSEWHERE, stdin: str = "") -> Ran:
    """`python -m module words...`, as a user types it."""
    return run_python("-m", module, *words, cwd=cwd, stdin=stdin)


def run_python(*words: object, cwd: Path = ELSEWHERE, stdin: str = "") -> Ran:
    done = subprocess.run(
        [sys.executable, *map(str, words)], cwd=cwd, capture_output=True, text=True, input=stdin,
        timeout=300, env=os.environ | ENVIRONMENT,
    )  # fmt: skip
    return Ran(done.returncode, done.stdout, done.stderr)


def must(module: str, *words: object, **more: object) -> Ran:
    ran = run(module, *words, **more)
    assert ran.status == 0, ran.err
    return ran


@dataclass(frozen=True)
class Pipeline:
    data: Path
    run: Path

    @property
    def pictures(self) -> list[Path]:
        return sorted((self.data / "images").iterdir())


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """Scenes, labels, an untrained encoder's features and two epochs of a small decoder."""
    folder = tmp_path_factory.mktemp("pipeline")
    data, out = folder / "scenes", folder / "runs" / "tiny"
    must("prepro.scenes", "--out", data, "--train", 40, "--val", 10, "--test", 10)
    must(
        "prepro.labels", "--annotations", data / "annotations.json", "--images", data,
        "--out", data, "--min-count", 0,
    )  # fmt: skip
    must(
        "prepro.features", "--data", data, "--encoder", "resnet10-w8", "--weights", "none",
        "--workers", 0,
    )  # fmt: skip
    must("caption.train", "--data", data, "--out", out, *TINY, "--epochs", 2)
    return Pipeline(data, out)


TINY = ("--preset", "scenes", "--hidden", 16, "--embedding", 16)
