"""A progress bar is full when its work is done, and says how many pictures are bad."""

import os

import numpy as np
import pytest

from prepro import adopt, features, labels
from prepro.extraction.image_list import read_image_list
from prepro.extraction.piecewise import extract_pieces
from prepro.runtime.progress_bar import ProgressBar
from tests.prepro.annotations.test_stored_vocabulary import write_sgrvinod
from tests.prepro.annotations.test_tar_shards import picture, write_shard
from tests.prepro.test_features import data_folder, options

FLAGS = {"encoder": "resnet8", "resize": 40, "crop": 32, "batch_size": 2}


@pytest.fixture
def bars(monkeypatch):
    """Name, total, items done, bad ones and whether it is shown, of each bar in order."""
    begin, add, found = ProgressBar.__init__, ProgressBar.add, []

    def watched_begin(bar, total, name, *rest, **more):
        begin(bar, total, name, *rest, **more)
        bar.row = [name, total, 0, 0, bar.enabled]
        found.append(bar.row)

    def watched_add(bar, good, bad=0, status=None):
        add(bar, good, bad, status)
        bar.row[2] += good + bad
        bar.row[3] += bad

    monkeypatch.setattr(ProgressBar, "__init__", watched_begin)
    monkeypatch.setattr(ProgressBar, "add", watched_add)
    return found


@pytest.mark.parametrize("mode", ["default", "full"])
def test_pictures_of_an_extraction(tmp_path, bars, mode):
    folder = data_folder(tmp_path / "data", [(64, 48)] * 5)
    good = (folder / "3.png").read_bytes()
    (folder / "3.png").write_bytes(b"torn")
    features.main(options(folder, **FLAGS, mode=mode))
    assert bars == [["check", 0, 0, 0, True], ["features", 5, 5, 1, True]]
    (folder / "3.png").write_bytes(good)
    for i in (0, 1):
        os.utime(folder / f"{i}.png")
    features.main(options(folder, **FLAGS, mode=mode))
    assert bars[2:] == [["check", 2, 2, 0, True], ["features", 1, 1, 0, True]]


def test_processes_beside_the_first_show_none(tmp_path, bars):
    folder = data_folder(tmp_path / "data", [(64, 48)] * 5)
    extract_pieces(options(folder, **FLAGS), read_image_list(folder), 1, 2)
    assert [(name, shown) for name, *_, shown in bars if name == "features"] == [
        ("features", False)
    ]


def test_rows_of_a_merge(tmp_path, bars, monkeypatch):
    monkeypatch.setattr("prepro.extraction.merge.ROWS", 2)
    folder = data_folder(tmp_path / "data", [(64, 48)] * 5)
    for number in (1, 2):
        features.main(options(folder, **FLAGS, shard=f"{number}/2"))
    for _ in range(2):  # the second time nothing is copied
        features.main(options(folder, **FLAGS, merge=True, copy=True))
    assert bars[-2:] == [["merge", 5, 5, 0, True]] * 2


def test_features_of_another_system(tmp_path, bars):
    folder = data_folder(tmp_path / "data", [(64, 48)] * 4)
    (folder / "att").mkdir()
    for i in (100, 101, 103):
        np.save(folder / "att" / f"{i}.npy", np.ones((2, 4)))
    adopt.main(adopt.Options(folder, att=folder / "att"))
    assert bars == [["check", 4, 4, 1, True], ["adopt", 4, 4, 1, True]]
    (folder / "a.tsv").write_text("".join(f"{i}\t1\tAAAAAA==\n" for i in range(100, 104)))
    (folder / "features.h5").unlink()
    adopt.main(adopt.Options(folder, att=folder / "a.tsv"))
    size = (folder / "a.tsv").stat().st_size
    assert ["a.tsv", size, size, 0, True] in bars


def test_files_of_annotations(tmp_path, bars):
    for i in range(2):
        write_shard(tmp_path / f"{i}.tar", range(3 * i, 3 * i + 3))
    (tmp_path / "a.png").write_bytes(picture(1))
    (tmp_path / "c.tsv").write_text("a dog\ta.png\n")
    files = (*(tmp_path / f"{i}.tar" for i in range(2)), tmp_path / "c.tsv")
    labels.main(labels.Options(files, tmp_path, tmp_path / "out"))
    assert bars == [["files", 3, 3, 0, True]]
    path, _, _ = write_sgrvinod(tmp_path)
    labels.main(labels.Options((path,), tmp_path, tmp_path / "out"))
    assert bars[1:] == [
        [f"pictures {s}", n, n, 0, True] for s, n in (("train", 2), ("val", 1), ("test", 1))
    ]
