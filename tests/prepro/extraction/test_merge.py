"""Shards joined by virtual datasets: the same rows, and no shard is missed in silence."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from prepro.extraction.image_list import ImageList
from prepro.extraction.merge import merge_shards
from prepro.extraction.shards import Shard
from prepro.storage.feature_file import FeatureFile, Provenance, hash_of_pictures
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


def change(path: Path, what: Callable[[h5py.File], None]) -> None:
    with h5py.File(path, "r+") as file:
        what(file)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        (lambda file: file["status"].__setitem__([0, 2], 0), "2 of 4 pictures missing; run its"),
        (lambda file: file["id"].__setitem__(3, "x"), "its pictures are not those of shard 2/3"),
        (lambda file: file.attrs.modify("shard", "3/3"), "it holds shard 3/3 of another list"),
        (lambda file: file.attrs.modify("precision", "float16"), "made with precision float16"),
    ],
)
def test_a_shard_that_does_not_fit_is_named(folder: Path, what: Callable, message: str) -> None:
    change(folder / "features.2-of-3.h5", what)
    for copy in (False, True):
        with pytest.raises(ValueError, match=rf"features\.2-of-3\.h5: {message}"):
            merge_shards(folder, IMAGES, copy)
    assert not (folder / "features.h5").exists()


def test_shards_of_other_pictures_are_named(folder: Path) -> None:
    images = ImageList(IMAGES.root, IMAGES.names, IMAGES.ids, "other")
    with pytest.raises(ValueError, match=r"features\.1-of-3\.h5: it holds shard 1/3 of another"):
        merge_shards(folder, images)


def test_shards_of_several_runs_and_none_are_refused(folder: Path, tmp_path: Path) -> None:
    write_shard(folder, Shard(1, 2))
    with pytest.raises(ValueError, match=r"shards of runs with N = \[2, 3\]"):
        merge_shards(folder, IMAGES)
    with pytest.raises(FileNotFoundError, match="no shards"):
        merge_shards(tmp_path, IMAGES)


@pytest.mark.parametrize("rows", [1, 2, 3, 64])
def test_a_stopped_copy_goes_on_where_it_was(
    folder: Path, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    monkeypatch.setattr("prepro.extraction.merge.ROWS", rows)
    written, write = [], FeatureWriter.write

    def watched(writer: FeatureWriter, own: np.ndarray, *rest: object, **more: object) -> None:
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(own.tolist())
        write(writer, own, *rest, **more)

    monkeypatch.setattr(FeatureWriter, "write", watched)
    with pytest.raises(KeyboardInterrupt):
        merge_shards(folder, IMAGES, copy=True)
    assert not FeatureFile(folder / "features.h5").complete
    first = [*written, [], []]
    written[:] = [None] * 3  # and it is not stopped again
    check(merge_shards(folder, IMAGES, copy=True))
    again = [row for own in written[3:] for row in own]
    before = [row for own in first for row in own]
    assert sorted(before + again) == [row for row in range(COUNT) if row != 5]


def test_numbers_of_regions_and_hashes_are_those_of_the_shards(tmp_path: Path) -> None:
    count = np.arange(COUNT, dtype=np.uint16) % (REGIONS + 1)
    marks = np.arange(3 * COUNT).reshape(COUNT, 3)
    reason = "r" * 119 + "é"
    for shard in (Shard(1, 2), Shard(2, 2)):
        rows = np.array(shard.rows(COUNT))
        provenance = Provenance("net", "w", "w", "{}", "abc", DIM, REGIONS)
        path = shard.path(tmp_path)
        create(path, provenance, list(rows), counted=True, shard=str(shard), hashed=True)
        good = rows[rows != 8]
        with FeatureWriter(path) as writer:
            bad = {8 - rows[0]: reason} if 8 in rows else {}
            own = good - rows[0]
            writer.write(own, FC[good], ATT[good], bad, count[good], None, marks[good])
    count[8], marks[8] = 0, 0
    for copy in (False, True):
        file = FeatureFile(merge_shards(tmp_path, IMAGES, copy))
        assert file.count.tolist() == count.tolist()
        assert file.picture.tolist() == marks.tolist() and not file.has_boxes
        assert file.bad == {8: "r" * 119 + "\ufffd"}
        with h5py.File(file.path) as stored:
            assert stored.attrs["pictures"].decode() == hash_of_pictures(marks)
            assert stored.attrs["complete"] and stored.attrs["shard"] == "1/1"


def test_hashes_that_only_some_shards_have_are_left_out(folder: Path) -> None:
    def hashed(file: h5py.File) -> None:
        file["picture"] = np.ones((len(file["status"]), 3), np.int64)

    change(folder / "features.1-of-3.h5", hashed)
    for copy in (False, True):
        path = merge_shards(folder, IMAGES, copy)
        check(path)
        assert FeatureFile(path).picture is None


def test_the_same_merge_twice_and_over_a_copy(folder: Path) -> None:
    check(merge_shards(folder, IMAGES, copy=True))
    check(merge_shards(folder, IMAGES, copy=True))
    (folder / "features.2-of-3.h5").unlink()
    write_shard(folder, Shard(2, 3))  # whose bad picture was mended
    assert FeatureFile(merge_shards(folder, IMAGES, copy=True)).bad == {}
