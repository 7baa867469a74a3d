"""Processes that share an extraction: each piece once, and a killed process costs nothing."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from prepro import features
from prepro.extraction.image_list import read_image_list
from prepro.extraction.piecewise import extract_pieces
from prepro.storage.feature_file import DONE, FeatureFile
from tests.prepro.extraction.test_changed_pictures import repaint
from tests.prepro.test_features import data_folder, options

ROOT = Path(__file__).resolve().parents[3]
FLAGS = {"encoder": "resnet8", "regions": 7, "resize": 64, "crop": 64, "batch_size": 2}
SIZES = [(64, 48)] * 20
PROGRAM = """
import sys, time
from pathlib import Path
from eval import command
from prepro import features
from prepro.extraction import image_loader, piecewise
piecewise.PICTURES = 4
seconds, read = float(sys.argv.pop(1)), image_loader.ImageFolderReader.read

def slow_read(reader, row):
    time.sleep(seconds)
    return read(reader, row)

image_loader.ImageFolderReader.read = slow_read
sys.argv[0] = "prepro.features"
sys.exit(command.run(features.Options, features.main))
"""


def start(folder: Path, rank: int, seconds: float) -> subprocess.Popen:
    """As torchrun would; each picture takes `seconds` more."""
    words = [word for pair in FLAGS.items() for word in (f"--{pair[0]}", pair[1])]
    words = [str(word).replace("_", "-") for word in [*words, "--weights", "none", "--workers", 0]]
    environment = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    environment |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(seconds), *words, "--device", "cpu",
         "--data", str(folder)],
        env=os.environ | environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def stored(folder: Path) -> list[np.ndarray]:
    file = FeatureFile(folder / "features.h5")
    assert file.complete and (file.status == DONE).all()
    return [file.fc(np.arange(20)), file.att(np.arange(20))]


def undisturbed(folder: Path) -> list[np.ndarray]:
    """The same pieces, computed by one process after another and copied."""
    data_folder(folder, SIZES)
    for number in range(1, 6):
        features.main(options(folder, **FLAGS, shard=f"{number}/5"))
    features.main(options(folder, **FLAGS, merge=True, copy=True))
    return stored(folder)


def test_a_killed_process_is_replaced_by_the_other(tmp_path: Path) -> None:
    folder = data_folder(tmp_path / "data", SIZES)
    dying = start(folder, 1, 1000)  # takes a piece and gets nowhere
    until = time.monotonic() + 200
    while not list(folder.glob(".features.*.claim-1")) and time.monotonic() < until:
        time.sleep(0.05)
    other = start(folder, 0, 0)
    while len(list(folder.glob("features.*-of-5.h5"))) < 5 and time.monotonic() < until:
        time.sleep(0.05)
    assert other.poll() is None  # it waits for the piece that the slow one has
    assert not (folder / "features.h5").exists()
    dying.send_signal(signal.SIGKILL)
    out, err = other.communicate(timeout=120)
    dying.communicate()
    assert other.returncode == 0, err
    assert "20 pictures, 49 regions" in out
    for found, wanted in zip(stored(folder), undisturbed(tmp_path / "whole"), strict=True):
        assert np.array_equal(found, wanted)
    assert not list(folder.glob(".features*"))


def test_bad_and_changed_pictures_of_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr("prepro.extraction.piecewise.PICTURES", 4)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    folder = data_folder(tmp_path / "data", SIZES)
    good = (folder / "9.png").read_bytes()
    (folder / "9.png").write_bytes(b"torn")
    assert features.main(options(folder, **FLAGS)) == 1
    assert "9.png: not a picture" in capsys.readouterr().err
    assert FeatureFile(folder / "features.h5").bad.keys() == {9}
    assert features.main(options(folder, **FLAGS)) == 1  # tried once more, and no longer
    (folder / "9.png").write_bytes(good)
    assert features.main(options(folder, **FLAGS)) == 0
    before = stored(folder)
    repaint(folder / "17.png")
    assert features.main(options(folder, **FLAGS)) == 0
    assert capsys.readouterr().err.count("17.png: changed") == 1
    assert np.flatnonzero((before[0] != stored(folder)[0]).any(1)).tolist() == [17]


def test_processes_go_on_with_what_one_process_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prepro.extraction.piecewise.PICTURES", 4)
    folder = data_folder(tmp_path / "data", SIZES)
    features.main(options(folder, **FLAGS, shard="1/3"))
    images = read_image_list(folder)
    assert extract_pieces(options(folder, **FLAGS), images, 1, 2) == 0
    assert len(list(folder.glob("features.*-of-3.h5"))) == 3
    for path in folder.glob("features.*"):
        path.unlink()
    features.main(options(folder, **FLAGS))
    assert extract_pieces(options(folder, **FLAGS), images, 1, 2) == 0
    assert not list(folder.glob("features.*-of-*.h5"))
