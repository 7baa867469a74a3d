"""A new decoder is one file: the example in README.md, in a copy of the package."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from caption.config import DECODERS
from tests.caption.drawn_folder import make_folder

ROOT = Path(__file__).resolve().parents[3]
CAPTION = """
import torch
from caption.captioner import Captioner
from caption.models import Features

captioner = Captioner.load("run/model.safetensors")
assert type(captioner.decoder).__module__ == "caption.models.gru_example"
features = Features(torch.randn(2, captioner.decoder.shape.features))
state = captioner.decoder.begin(features).expand(3)
step = captioner.decoder.step(torch.zeros(2, 3, dtype=torch.long), state)
assert step.log_probs.shape == (2, 3, captioner.decoder.shape.classes)
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of caption/ with the README's example as caption/models/gru_example.py."""
    section = (ROOT / "README.md").read_text(encoding="utf-8").partition("### Add a decoder")[2]
    code = re.search(r"```python\n(.*?)```", section, re.DOTALL)[1]
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "caption", tmp_path / "caption", ignore=ignore)
    for package in ("prepro", "eval"):
        (tmp_path / package).symlink_to(ROOT / package)
    (tmp_path / "caption" / "models" / "gru_example.py").write_text(code)
    return tmp_path


def run(tree: Path, *arguments: str) -> str:
    """The output of `python ARGUMENTS` in the copy; fails with its messages."""
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=tree, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_readme_example_is_listed_trained_and_captions(tree: Path) -> None:
    make_folder(tree / "data")
    listed = (
        "import caption.config as c, sys; print(*c.DECODERS); assert 'torch' not in sys.modules"
    )
    assert run(tree, "-c", listed).split() == sorted((*DECODERS, "gru_example"))
    assert "gru_example" in run(tree, "-m", "caption.train", "--help")
    sizes = ["--hidden", "16", "--embedding", "16", "--epochs", "1"]
    machine = ["--workers", "0", "--device", "cpu"]
    paths = ["--data", "data", "--out", "run", "--decoder", "gru_example"]
    run(tree, "-m", "caption.train", *paths, *sizes, *machine)
    run(tree, "-c", CAPTION)
    images = ["data/images/0.png", "data/images/1.png"]
    printed = run(tree, "-m", "caption.sample", "--run", "run", "--device", "cpu", *images)
    assert len(printed.splitlines()) == 2


def test_a_file_with_two_decoders_is_an_import_error(tree: Path) -> None:
    path = tree / "caption" / "models" / "gru_example.py"
    path.write_text(path.read_text() + "\n\nclass Second(GRUDecoder):\n    pass\n")
    code = "try:\n    import caption.models\nexcept ImportError as error:\n    print(error)\n"
    assert "must define one subclass of Decoder, not 2" in run(tree, "-c", code)
