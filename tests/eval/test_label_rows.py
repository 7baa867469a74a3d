"""eval reads a split of labels that are stored by row as it reads labels.json."""

import h5py
import pytest

from eval.caption_files import read_references, split_names
from tests.caption.drawn_folder import make_folder
from tests.prepro.storage.test_label_rows import by_row


def test_references_equal_those_of_labels_json(tmp_path):
    folder = make_folder(tmp_path / "data")
    path = folder / "labels.json"
    before = {split: read_references(path, split) for split in (None, "train", "val", "test")}
    names = split_names(path)
    by_row(folder)
    assert {split: read_references(path, split) for split in before} == before
    assert split_names(path) == names
    with pytest.raises(ValueError, match="no image of split 'dev'"):
        read_references(path, "dev")
    with h5py.File(folder / "labels.h5", "r+") as file:
        file["image_offsets"][1] = -5
    with pytest.raises(ValueError, match=r"labels\.h5: damaged"):
        read_references(path, "train")
    (folder / "labels.h5").write_bytes(b"no")
    with pytest.raises(ValueError, match="not a readable HDF5"):
        read_references(path, "train")
