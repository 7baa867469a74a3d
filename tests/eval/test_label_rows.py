"""eval reads a split of labels that are stored by row as it reads labels.json."""

import fcntl
import json

import h5py
import numpy as np
import pytest

from eval import label_rows
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


def write(folder, rows, codes, offsets=None, splits="train val"):
    """A data folder whose labels.h5 holds these rows; the path of its labels.json."""
    data = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    offsets = np.cumsum([0, *map(len, data)]) if offsets is None else offsets
    (folder / "labels.json").write_text('{"ix_to_word": {}}')
    with h5py.File(folder / "labels.h5", "w") as file:
        file["split"] = np.array(codes)
        file["images"] = np.frombuffer(b"".join(data), np.uint8)
        file["image_offsets"] = np.array(offsets)
        file.attrs["splits"] = splits
    return folder / "labels.json"


ROWS = [{"id": i, "captions": [f"a {i}"]} for i in range(4)]


def test_a_split_has_the_rows_of_its_code(tmp_path):
    path = write(tmp_path, ROWS, [1, 0, 1, 5])
    assert label_rows.read(path, "val") == [ROWS[0], ROWS[2]]
    assert label_rows.read(path, None) == ROWS and label_rows.read(path, "test") == []
    assert label_rows.split_names(path) == ["train", "val"]
    assert label_rows.split_names(write(tmp_path, ROWS[:2], [1, 2])) == ["val"]


@pytest.mark.parametrize(
    ("rows", "offsets"),
    [
        ([b"[]"], None),
        ([b"{"], None),
        ([b"{}"], [-2, 2]),
        ([b"{}"], [0, 3]),
        ([b"{}"], [0, 0]),
        ([b"{}"], [2, 0]),
        ([b"{}"], [0]),
        ([b"[" * 100_000], None),
    ],
)
def test_damaged_rows_are_named(tmp_path, rows, offsets):
    path = write(tmp_path, rows, [0], offsets)
    with pytest.raises(ValueError, match=r"labels\.h5: damaged"):
        label_rows.read(path, "train")


def test_an_object_may_have_the_size_of_the_limit(tmp_path, monkeypatch):
    path = write(tmp_path, [b"{}", b"[" * 90, b'{"a": 1}'], [1, 1, 0])
    monkeypatch.setattr(label_rows, "LIMIT", 8)
    assert label_rows.read(path, "train") == [{"a": 1}]
    monkeypatch.setattr(label_rows, "LIMIT", 7)
    with pytest.raises(ValueError, match="damaged .image_offsets of row 2"):
        label_rows.read(path, "train")


@pytest.mark.parametrize("content", [{}, {"images": []}, {"images": [], "ix_to_word": {}}, []])
def test_other_files_are_no_header_of_rows(tmp_path, content):
    path = write(tmp_path, ROWS, [0] * 4)
    assert label_rows.are_beside(path, {"ix_to_word": {}})
    assert not label_rows.are_beside(path, content)
    assert not label_rows.are_beside(tmp_path / "other.json", {"ix_to_word": {}})


@pytest.mark.parametrize("kind", ["soft", "external", "external data", "virtual", "group", "none"])
def test_rows_that_lie_elsewhere_are_refused(tmp_path, kind):
    path = write(tmp_path, ROWS, [0] * 4)
    (tmp_path / "raw").write_bytes(bytes(64))
    with h5py.File(tmp_path / "labels.h5", "r+") as file:
        file.move("split", "elsewhere")
        if kind == "soft":
            file["split"] = h5py.SoftLink("/elsewhere")
        elif kind == "external":
            file["split"] = h5py.ExternalLink(str(tmp_path / "labels.h5"), "/elsewhere")
        elif kind == "external data":
            raw = [(str(tmp_path / "raw"), 0, 32)]
            file.create_dataset("split", (4,), "i8", external=raw)
        elif kind == "virtual":
            layout = h5py.VirtualLayout((4,), "i8")
            layout[:] = h5py.VirtualSource(file["elsewhere"])
            file.create_virtual_dataset("split", layout)
        elif kind == "group":
            file.create_group("split")
    with pytest.raises(ValueError, match="no dataset 'split' of its own") as error:
        label_rows.read(path, None)
    h5py.File(tmp_path / "labels.h5", "r+").close()  # it is not left open
    assert str(error.value).startswith(str(tmp_path))


def test_rows_are_read_although_another_program_has_locked_the_file(tmp_path):
    path = write(tmp_path, ROWS, [0] * 4)
    with open(tmp_path / "labels.h5", "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert label_rows.read(path, None) == ROWS
