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
    assert "no 13.npy or .npz" in found.bad[2] and "allow_pickle" in found.bad[1]
    np.save(att / "12.npy", GRIDS[12])
    np.save(att / "13.npy", GRIDS[13])
    assert import_features(folder, att=att).bad == {}


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
