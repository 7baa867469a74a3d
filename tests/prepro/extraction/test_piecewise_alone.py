"""Pieces of an extraction in one process: what is told, what is done already, what is refused."""

import os
import shutil
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from prepro import features
from prepro.extraction import piecewise
from prepro.extraction.image_list import read_image_list
from prepro.extraction.piecewise import extract_pieces
from prepro.storage.feature_file import FeatureFile
from tests.prepro.test_features import data_folder, options

FLAGS = {"encoder": "resnet8", "resize": 40, "crop": 32, "batch_size": 2}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(piecewise, "PICTURES", 4)
    return data_folder(tmp_path / "data", [(64, 48)] * 10)


def run(folder: Path, rank: int, world: int = 2, **more: object) -> int:
    return extract_pieces(options(folder, **FLAGS | more), read_image_list(folder), rank, world)


def pieces(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("features.*-of-*.h5"))


def watch(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of the shards that are computed from now on."""
    computed, extract = [], piecewise.extract_shard

    def watched(job: object, shard: piecewise.Shard) -> None:
        computed.append(shard.number)
        extract(job, shard)

    monkeypatch.setattr(piecewise, "extract_shard", watched)
    return computed


@pytest.mark.parametrize(
    ("rank", "world", "order"), [(0, 2, [1, 2, 3]), (1, 2, [2, 3, 1]), (2, 3, [3, 1, 2])]
)
def test_processes_begin_at_pieces_that_lie_apart(folder, monkeypatch, capsys, rank, world, order):
    computed = watch(monkeypatch)
    assert run(folder, rank, world) == 0
    assert computed == order and len(pieces(folder)) == 3
    assert not list(folder.glob(".features*"))
    told = capsys.readouterr()
    lead = rank == 0
    assert told.err.count(f"{folder / 'features.h5'}: allocating space for 10 pictures") == lead
    assert told.err.count("allocating") == told.out.count("10 pictures, 49 regions") == lead
    assert run(folder, rank, world) == 0 and computed == order
    assert "allocating" not in capsys.readouterr().err


def test_features_are_those_of_one_process(folder, tmp_path):
    assert run(folder, 1) == 0
    whole = data_folder(tmp_path / "whole", [(64, 48)] * 10)
    for number in (1, 2, 3):
        features.main(options(whole, **FLAGS, shard=f"{number}/3"))
    features.main(options(whole, **FLAGS, merge=True))
    rows = np.arange(10)
    one, two = (FeatureFile(each / "features.h5") for each in (folder, whole))
    assert np.array_equal(one.fc(rows), two.fc(rows))
    assert np.array_equal(one.att(rows), two.att(rows))


@pytest.mark.parametrize(("count", "total"), [(1, 1), (4, 1), (5, 2), (8, 2), (9, 3), (100, 6)])
def test_a_piece_has_enough_pictures_and_there_are_not_too_many(folder, monkeypatch, count, total):
    monkeypatch.setattr(piecewise, "PIECES", 6)
    assert piecewise._number_of_pieces(folder, count) == total


def test_pieces_of_several_runs_are_refused(folder):
    for name in ("features.1-of-3.h5", "features.2-of-5.h5"):
        (folder / name).write_bytes(b"")
    with pytest.raises(ValueError, match=r"shards of runs with N = \[3, 5\]"):
        run(folder, 0)


@pytest.mark.parametrize("total", [1, 2, 3])
def test_the_space_is_told_once_whatever_the_number_of_pieces(tmp_path, monkeypatch, capsys, total):
    monkeypatch.setattr(piecewise, "PICTURES", 12 // total)
    folder = data_folder(tmp_path / "data", [(64, 48)] * 10)
    assert run(folder, 0) == 0
    told = capsys.readouterr().err
    assert told.count("allocating space for 10 pictures") == told.count("allocating") == 1
    assert len(pieces(folder)) == (total if total > 1 else 0)
    for path in folder.glob("features*"):
        path.unlink()
    assert run(folder, 1) == 0
    told = capsys.readouterr()
    assert "allocating" not in told.err and told.out == ""


def test_bad_pictures_are_tried_once_a_run_and_told_by_the_first_process(
    folder, monkeypatch, capsys
):
    good = (folder / "9.png").read_bytes()
    (folder / "9.png").write_bytes(b"torn")
    computed = watch(monkeypatch)
    assert run(folder, 1) == 1 and computed == [2, 3, 1]
    assert capsys.readouterr().out == ""
    past = time.time() - 100
    os.utime(folder / "features.3-of-3.h5", (past, past))
    assert run(folder, 0) == 1 and computed[3:] == [3]
    assert "9.png: not a picture" in capsys.readouterr().err
    os.utime(folder / "features.3-of-3.h5", (past, past))
    with monkeypatch.context() as clock:
        clock.setattr(piecewise.time, "time", lambda: past)
        assert run(folder, 1) == 1 and computed[4:] == []  # of the second in which it began
    (folder / "9.png").write_bytes(good)
    os.utime(folder / "features.3-of-3.h5", (past, past))
    assert run(folder, 1) == 0 and computed[4:] == [3]
    assert FeatureFile(folder / "features.h5").bad == {}


def test_pieces_of_another_encoder_are_refused(folder):
    assert run(folder, 0) == 0
    (folder / "features.h5").unlink()
    with pytest.raises(ValueError, match="made with encoder resnet8, but asked for resnet10-w8"):
        run(folder, 0, encoder="resnet10-w8")


def test_a_piece_that_was_lost_is_computed_again(folder, monkeypatch, capsys):
    assert run(folder, 0) == 0
    before = FeatureFile(folder / "features.h5").fc(np.arange(10))
    (folder / "features.2-of-3.h5").unlink()
    computed = watch(monkeypatch)
    capsys.readouterr()
    assert run(folder, 0) == 0 and computed == [2]
    assert "allocating" not in capsys.readouterr().err
    assert np.array_equal(FeatureFile(folder / "features.h5").fc(np.arange(10)), before)
    (folder / "features.h5").unlink()
    (folder / "7.png").unlink()  # a picture that is not there any more keeps its features
    shutil.copy(folder / "0.png", folder / "8.png")
    assert run(folder, 0) == 0 and computed == [2, 3]
    after = FeatureFile(folder / "features.h5").fc(np.arange(10))
    assert np.array_equal(after[[*range(8), 9]], before[[*range(8), 9]])
    assert np.allclose(after[8], before[0], atol=1e-2)


def test_pieces_are_for_several_processes_without_a_shard(folder, monkeypatch):
    given = options(folder, **FLAGS)
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert features.main(given) == 0
    assert pieces(folder) == [] and not FeatureFile(folder / "features.h5").is_virtual
    (folder / "features.h5").unlink()
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert features.main(options(folder, **FLAGS, shard="2/5")) == 0
    assert pieces(folder) == ["features.2-of-5.h5"]
    (folder / "features.2-of-5.h5").unlink()
    assert features.main(given) == 0 and len(pieces(folder)) == 3


@pytest.mark.parametrize(
    "more",
    [{"batch_size": 0}, {"batch_size": -1}, {"workers": -1}, {"batch_size": 0, "workers": 2}],
)
def test_sizes_below_the_least_are_refused(folder, more):
    with pytest.raises(ValueError, match="--batch-size must be at least 1 and --workers at least"):
        features.main(options(folder, **FLAGS | more))
    assert features.main(options(folder, **FLAGS | {"batch_size": 1, "workers": 0})) == 0
    with pytest.raises(ValueError, match="--copy: it copies the shards that --merge joins"):
        features.main(options(folder, **FLAGS, copy=True))


def test_any_grid_up_to_the_largest(folder):
    for side in (-1, 33):
        with pytest.raises(ValueError, match=f"--regions {side}: it must be from 0 to 32"):
            features.main(options(folder, **FLAGS | {"regions": side}))
    assert features.main(options(folder, **FLAGS | {"regions": 3})) == 0
    with h5py.File(folder / "features.h5") as file:
        assert file["att"].shape[1] == 9
