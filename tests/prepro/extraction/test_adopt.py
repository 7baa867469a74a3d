"""Importing the features of other systems: every format, and refused input."""

import json
import os

import h5py
import numpy as np
import pytest

from prepro import adopt
from prepro.annotations.records import ImageRecord
from prepro.storage.feature_file import BAD, FeatureFile
from prepro.storage.label_file import read_labels, write_labels
from prepro.vocabulary import Vocabulary

D = 5
RNG = np.random.default_rng(0)
GRIDS = {i: RNG.random((2, 3, D)).astype(np.float32) for i in (11, 12, 13)}
BOXES = {i: RNG.random((i - 9, D)).astype(np.float32) for i in (11, 12, 13)}  # 2, 3 and 4 regions


@pytest.fixture
def folder(tmp_path):
    records = [ImageRecord(i, f"pictures/{i}.jpg", "train", ("a",)) for i in GRIDS]
    write_labels(tmp_path, records, Vocabulary(("a",)), [[1]] * 3, 2, {"image_root": ""})
    return tmp_path


def import_features(folder, status=0, **sources):
    assert adopt.main(adopt.Options(folder, **sources)) == status
    found = FeatureFile(folder / "features.h5")
    found.require(read_labels(folder).images_sha256)
    return found


def save(folder, kind, arrays):
    folder.mkdir()
    for i, value in arrays.items():
        np.save(folder / f"{i}.npy", value) if kind == "npy" else np.savez_compressed(
            folder / f"{i}.npz", feat=value
        )
    return folder


@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_import_of_cocotalk_fc_and_att(folder, kind):
    pooled = {i: grid.reshape(-1, D).max(0) for i, grid in GRIDS.items()}
    fc, att = save(folder / "fc", "npy", pooled), save(folder / "att", kind, GRIDS)
    found = import_features(folder, fc=fc, att=att)
    rows = np.array([2, 0])
    assert np.allclose(found.fc(rows), [pooled[13], pooled[11]], atol=1e-3)
    assert np.allclose(found.att(rows)[1], GRIDS[11].reshape(6, D), atol=1e-3)
    assert found.count is None and found.mask(rows).all() and found.transform == {}


def test_bottom_up_regions_are_padded_and_masked(folder):
    found = import_features(folder, att=save(folder / "att", "npz", BOXES))
    rows = np.array([1, 0, 2])
    assert found.att(rows).shape == (3, 4, D)
    for row, i in enumerate((12, 11, 13)):
        mask = found.mask(rows)[row]
        assert mask.tolist() == [k < i - 9 for k in range(4)]
        assert np.allclose(found.att(rows)[row][mask], BOXES[i], atol=1e-3)
        assert not found.att(rows)[row][~mask].any()
        assert np.allclose(found.fc(rows)[row], BOXES[i].mean(0), atol=1e-3)


def test_import_of_an_hdf5_file(folder):
    with h5py.File(folder / "feats.h5", "w") as file:
        for i, grid in GRIDS.items():
            file[str(i)] = grid
    found = import_features(folder, att=folder / "feats.h5")
    assert np.allclose(found.att(np.array([1]))[0], GRIDS[12].reshape(6, D), atol=1e-3)


def test_import_of_pooled_vectors_only(folder):
    found = import_features(
        folder, fc=save(folder / "fc", "npy", {i: np.full(D, i) for i in GRIDS})
    )
    assert found.provenance.regions == 0 and found.fc(np.arange(3))[:, 0].tolist() == [11, 12, 13]


class Payload:
    def __reduce__(self):
        return os.mkdir, ("unpickled",)


def test_bad_files_are_recorded_and_nothing_is_unpickled(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    att = save(folder / "att", "npy", {11: GRIDS[11]})
    np.save(att / "12.npy", np.array([Payload()], object), allow_pickle=True)
    found = import_features(folder, status=1, att=att)
    assert found.status.tolist() == [1, BAD, BAD] and not (folder / "unpickled").exists()
    assert "no features named 13" in found.bad[2] and "allow_pickle" in found.bad[1]
    np.save(att / "12.npy", GRIDS[12])
    np.save(att / "13.npy", GRIDS[13])
    repaired = import_features(folder, att=att)
    (folder / "features.h5").unlink()
    assert repaired.bad == {} and repaired.provenance == import_features(folder, att=att).provenance


def test_invalid_input_is_refused(folder):
    with pytest.raises(ValueError, match="give --att, --fc or both"):
        adopt.main(adopt.Options(folder))
    with pytest.raises(FileNotFoundError, match="no such folder or file"):
        adopt.main(adopt.Options(folder, att=folder / "none"))
    with pytest.raises(
        ValueError, match=r"no picture of labels\.json has features in --att or --fc"
    ):
        adopt.main(adopt.Options(folder, att=save(folder / "other", "npy", {99: GRIDS[11]})))
    mixed = save(folder / "mixed", "npy", GRIDS | {12: np.zeros((2, D + 1))})
    with pytest.raises(ValueError, match=r"features of \[5, 6\] numbers"):
        adopt.main(adopt.Options(folder, att=mixed))
    assert json.loads((folder / "labels.json").read_text())["images"][0]["id"] == 11
    assert not (folder / "features.h5").exists()


def test_other_features_under_the_same_names_are_other_features(folder):
    """Equal sizes and names, other numbers: neither a resumed import nor a run may mix them."""
    save(folder / "att", "npy", GRIDS)
    save(folder / "other", "npy", {i: grid + 1 for i, grid in GRIDS.items()})
    first = import_features(folder, att=folder / "att").provenance
    with pytest.raises(ValueError, match="made with weights_sha256"):
        adopt.main(adopt.Options(folder, att=folder / "other"))
    (folder / "features.h5").unlink()
    assert import_features(folder, att=folder / "other").provenance != first
    (folder / "features.h5").unlink()
    assert import_features(folder, att=folder / "att").provenance == first
    np.save(folder / "att" / "12.npy", GRIDS[12] * 2)
    with pytest.raises(ValueError, match="made with weights_sha256"):
        adopt.main(adopt.Options(folder, att=folder / "att"))


def test_two_names_for_one_picture_are_refused(tmp_path):
    """The id of one picture is the file name of the other."""
    records = [ImageRecord(1, "2.jpg", "train", ("a",)), ImageRecord(2, "1.jpg", "train", ("a",))]
    write_labels(tmp_path, records, Vocabulary(("a",)), [[1]] * 2, 2, {"image_root": ""})
    att = save(tmp_path / "att", "npy", {1: GRIDS[11], 2: GRIDS[12]})
    with pytest.raises(ValueError, match="'1' and '2' for one picture"):
        adopt.main(adopt.Options(tmp_path, att=att))


def test_too_many_regions_and_lying_headers_are_bad_pictures(folder):
    att = save(folder / "att", "npy", {11: GRIDS[11], 12: np.zeros((70_000, D), np.float32)})
    lie = np.lib.format.header_data_from_array_1_0(GRIDS[11]) | {"shape": (1 << 40, D)}
    with open(att / "13.npy", "wb") as file:
        np.lib.format.write_array_header_1_0(file, lie)
    found = import_features(folder, status=1, att=att)
    assert "70,000 regions" in found.bad[1] and "13.npy: cannot be read" in found.bad[2]


def test_many_pictures_of_which_a_long_row_is_missing_at_first(tmp_path):
    """More pictures than are written at a time; the missing ones are tried again each time."""
    ids = range(100, 180)
    records = [ImageRecord(i, f"{i}.jpg", "train", ("a",)) for i in ids]
    write_labels(tmp_path, records, Vocabulary(("a",)), [[1]] * len(ids), 2, {"image_root": ""})
    missing = range(30, 70)
    there = {i: np.full(D, i) for row, i in enumerate(ids) if row not in missing}
    fc, rows = save(tmp_path / "fc", "npy", there), np.arange(len(ids))
    good = np.setdiff1d(rows, missing)
    for _ in range(2):
        found = import_features(tmp_path, status=1, fc=fc)
        assert sorted(found.bad) == list(missing)
        assert found.fc(good)[:, 0].tolist() == [ids[row] for row in good]
        del found  # an open file is not written
    for row in missing:
        np.save(fc / f"{ids[row]}.npy", np.full(D, ids[row]))
    found = import_features(tmp_path, fc=fc)
    assert not found.bad and found.fc(rows)[:, 0].tolist() == list(ids)
