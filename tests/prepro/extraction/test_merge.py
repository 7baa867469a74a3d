"""Shards joined by virtual datasets: the same rows, and no shard is missed in silence."""

import os
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from prepro.extraction.image_list import ImageList
from prepro.extraction.merge import merge_shards
from prepro.extraction.shards import Shard
from prepro.storage.feature_file import FeatureFile, Provenance
from prepro.storage.feature_writer import FeatureWriter, create

COUNT, REGIONS, DIM = 11, 4, 3
RNG = np.random.default_rng(0)
FC = RNG.random((COUNT, DIM)).astype(np.float16)
ATT = RNG.random((COUNT, REGIONS, DIM)).astype(np.float16)
IMAGES = ImageList(Path("pictures"), tuple(range(COUNT)), tuple(map(str, range(COUNT))), "abc")


def write_shard(folder: Path, shard: Shard, bad: int | None = None, weights: str = "w") -> Path:
    """The rows of FC and ATT of a shard; row `bad` of all could not be read."""
    rows = shard.rows(COUNT)
    path = shard.path(folder)
    provenance = Provenance("net", weights, weights, "{}", "abc", DIM, REGIONS)
    create(path, provenance, [str(row) for row in rows], shard=str(shard))
    good = [row for row in rows if row != bad]
    with FeatureWriter(path) as writer:
        own = np.array(good) - rows.start
        reasons = {bad - rows.start: "torn"} if bad in rows else {}
        writer.write(own, FC[good], ATT[good], reasons)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    for number in (1, 2, 3):
        write_shard(tmp_path / "data", Shard(number, 3), bad=5)
    return tmp_path / "data"


def check(path: Path) -> None:
    file, rows = FeatureFile(path), np.array([9, 0, 4, 3, 10, 6])
    assert np.array_equal(file.fc(rows), FC[rows])
    assert np.array_equal(file.att(rows), ATT[rows])
    assert file.bad == {5: "torn"} and file.ids() == [str(i) for i in range(COUNT)]
    file.require("abc")


def test_joined_and_copied_files_have_the_rows_of_the_shards(folder: Path) -> None:
    check(merge_shards(folder, IMAGES))
    assert FeatureFile(folder / "features.h5").is_virtual
    check(merge_shards(folder, IMAGES, copy=True))
    assert not FeatureFile(folder / "features.h5").is_virtual
    for number in (1, 2, 3):
        Shard(number, 3).path(folder).unlink()
    check(folder / "features.h5")


def test_the_folder_may_be_moved(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    merge_shards(folder, IMAGES)
    (tmp_path / "elsewhere").mkdir()
    shutil.move(folder, tmp_path / "moved")
    monkeypatch.chdir(tmp_path / "elsewhere")
    check(tmp_path / "moved" / "features.h5")
    check(Path(os.path.relpath(tmp_path / "moved" / "features.h5")))


def test_a_missing_shard_is_named(folder: Path) -> None:
    merge_shards(folder, IMAGES)
    (folder / "features.2-of-3.h5").unlink()
    with pytest.raises(ValueError, match=r"its shard features\.2-of-3\.h5 is missing"):
        FeatureFile(folder / "features.h5")


def test_a_foreign_or_changed_shard_is_named(folder: Path) -> None:
    merge_shards(folder, IMAGES)
    path = folder / "features.2-of-3.h5"
    path.unlink()
    write_shard(folder, Shard(2, 3), bad=5, weights="others")
    with pytest.raises(ValueError, match=r"features\.2-of-3\.h5: made with weights_sha256 others"):
        FeatureFile(folder / "features.h5")
    path.unlink()
    write_shard(folder, Shard(2, 3))
    with pytest.raises(ValueError, match="changed since it was merged"):
        FeatureFile(folder / "features.h5")
    merge_shards(folder, IMAGES)  # again, with the shard as it is now
    assert FeatureFile(folder / "features.h5").bad == {}


def test_virtual_datasets_of_other_files_are_refused(folder: Path, tmp_path: Path) -> None:
    merge_shards(folder, IMAGES)
    secret = tmp_path / "features.1-of-1.h5"
    with h5py.File(secret, "w") as file:
        file["fc"] = np.ones((COUNT, DIM), np.float16)
    for name in (str(secret), "../features.1-of-1.h5"):
        with h5py.File(folder / "features.h5", "r+") as file:
            del file["fc"]
            layout = h5py.VirtualLayout((COUNT, DIM), np.float16)
            layout[:] = h5py.VirtualSource(name, "fc", (COUNT, DIM))
            file.create_virtual_dataset("fc", layout)
        with pytest.raises(ValueError, match="lies in another file"):
            FeatureFile(folder / "features.h5")


def test_a_merge_leaves_other_features_alone(folder: Path) -> None:
    (folder / "other").mkdir()
    other = write_shard(folder / "other", Shard(), weights="others")
    other.rename(folder / "features.h5")
    for copy in (False, True):
        with pytest.raises(ValueError, match="made with weights_sha256"):
            merge_shards(folder, IMAGES, copy)
