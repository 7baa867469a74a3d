"""Labels that are read by row equal the ones of labels.json, and are refused when damaged."""

import json
import pickle

import h5py
import numpy as np
import pytest
import torch

from caption.data.batches import CaptionSet
from caption.data.data_folder import DataFolder
from caption.training.reward import Reward
from prepro.annotations.records import ImageRecord
from prepro.storage import label_row_writer
from prepro.storage.label_file import read_labels
from prepro.storage.label_rows import RecordRows
from prepro.storage.left_right import mentions_left_or_right
from tests.caption.drawn_folder import make_folder


def by_row(folder):
    """Rewrite a folder's labels in the kind that is read by row; returns what it held before."""
    small = read_labels(folder)
    flat = np.concatenate([r[:n] for r, n in zip(small.labels, small.lengths, strict=True)])
    rows = label_row_writer.encoded_rows(small.records, flat, small.lengths)
    length = small.labels.shape[1]
    label_row_writer.write_label_rows(folder, rows, small.vocabulary, length, {})
    return small


@pytest.fixture
def folder(tmp_path):
    return make_folder(tmp_path / "data")


def test_rows_equal_the_small_kind(folder):
    before = DataFolder.open(folder)
    small = by_row(folder)
    data = DataFolder.open(folder)  # whose features were made for the small kind
    rows = data.labels
    assert "images" not in json.loads((folder / "labels.json").read_text())
    assert isinstance(rows.records, RecordRows) and not isinstance(small.records, RecordRows)
    assert list(rows.records) == list(small.records) and rows.records[-1] == small.records[-1]
    assert rows.records[2:4] == small.records[2:4]
    for name in ("labels", "lengths", "ranges"):
        assert np.array_equal(getattr(rows, name), getattr(small, name))
    for name in ("train", "val", "test"):
        assert rows.split(name).tolist() == small.split(name).tolist()
    with pytest.raises(ValueError, match="no picture in the split 'dev'"):
        rows.split("dev")
    with pytest.raises(IndexError):
        rows.records[len(small.records)]
    assert rows.images_sha256 == small.images_sha256
    assert rows.captions_sha256 == small.captions_sha256
    assert (mentions_left_or_right(rows) == mentions_left_or_right(small)).all()
    cpu = torch.device("cpu")
    pair = (CaptionSet(one, None, "train", 3, 0, cpu).epoch(1, 4) for one in (before, data))
    for one, other in zip(*pair, strict=True):
        assert all(map(torch.equal, one[2:5], other[2:5]))


def test_a_worker_reopens_the_files(folder):
    by_row(folder)
    labels = read_labels(folder)
    sent = pickle.dumps(labels)
    assert len(sent) < 1000  # not the rows
    assert pickle.loads(sent).records[3] == labels.records[3]


def test_texts_and_ids_of_any_kind(tmp_path):
    records = [
        ImageRecord(7, "a.jpg", "train", ("é 😀", "\ud800 half")), ImageRecord("7b", "b", "val", ())
    ]  # fmt: skip
    vocabulary = read_labels(make_folder(tmp_path / "other")).vocabulary
    rows = zip(records, [[np.array([1, 2, 3]), np.array([], int)], []], strict=True)
    label_row_writer.write_label_rows(tmp_path, rows, vocabulary, 2, {"dataset": "x"})
    found = read_labels(tmp_path)
    assert list(found.records) == records
    assert found.labels.tolist() == [[1, 2], [0, 0]] and found.lengths.tolist() == [2, 0]
    assert found.ranges.tolist() == [[0, 2], [2, 2]]


def test_encoded_rows_cut_what_was_concatenated():
    lengths, flat = np.array([2, 0, 1]), np.arange(3)
    records = [ImageRecord(i, f"{i}", "train", ("",) * n) for i, n in enumerate((1, 0, 2))]
    found = list(label_row_writer.encoded_rows(records, flat, lengths))
    assert [[part.tolist() for part in own] for _, own in found] == [[[0, 1]], [], [[], [2]]]
    assert [record for record, _ in found] == records


def test_files_of_other_labels_are_named(folder, tmp_path):
    other = make_folder(tmp_path / "other", train=5)
    by_row(folder), by_row(other)
    (folder / "labels.json").write_bytes((other / "labels.json").read_bytes())
    with pytest.raises(
        ValueError, match=r"labels\.h5: made with other vocabulary than labels\.json"
    ):
        read_labels(folder)


@pytest.mark.parametrize("kind", ["chunked", "sizes", "dtype", "offsets", "text", "missing"])
def test_damage_is_one_line(folder, kind):
    by_row(folder)
    with h5py.File(folder / "labels.h5", "r+") as file:
        if kind == "offsets":
            file["image_offsets"][1] = 1 << 60
        elif kind == "text":
            file["images"][0] = ord("x")
        else:
            name = {"sizes": "split", "missing": "images"}.get(kind, "labels")
            values = file[name][:]
            del file[name]
            if kind == "chunked":
                file.create_dataset(name, data=values, chunks=True, compression="gzip")
            elif kind != "missing":
                file[name] = values[:-1] if kind == "sizes" else values.astype(np.int32)
    with pytest.raises(ValueError, match=r"labels\.h5: ") as found:
        read_labels(folder).records[0]
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [("label_ranges", [0, 1 << 40], "point outside"), ("label_ranges", [-1, 2], "point outside"),
     ("label_ranges", [2, 1], "point outside"), ("label_length", 60_000, "does not fit")],
)  # fmt: skip
def test_numbers_that_lead_out_of_the_captions_are_refused(folder, name, value, reason):
    by_row(folder)
    with h5py.File(folder / "labels.h5", "r+") as file:
        file[name][3] = value
    with pytest.raises(ValueError, match=rf"labels\.h5: .*{reason}"):
        read_labels(folder)


def test_an_unknown_word_is_refused_where_it_is_read(folder):
    by_row(folder)
    with h5py.File(folder / "labels.h5", "r+") as file:
        file["labels"][:, 0] = 60_000
    data = DataFolder.open(folder)
    captions = CaptionSet(data, None, "train", 2, 0, torch.device("cpu"))
    with pytest.raises(ValueError, match=r"labels\.h5: word 60000 of a vocabulary of"):
        next(captions.epoch(0, 4))
    with pytest.raises(ValueError, match=r"labels\.h5: word 60000 of a vocabulary of"):
        Reward.of(data.labels)


def test_a_truncated_file_is_refused(folder):
    by_row(folder)
    whole = (folder / "labels.h5").read_bytes()
    for size in (100, len(whole) // 2, len(whole) - 50):
        (folder / "labels.h5").write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r"labels\.h5: "):
            read_labels(folder)


def test_draws_in_chunks_are_the_draws_of_one_array(folder, monkeypatch):
    captions = CaptionSet(DataFolder.open(folder), None, "train", 2, 0, torch.device("cpu"))
    whole = captions.draw_captions(3)
    monkeypatch.setattr("caption.data.batches.CHUNK", 5)
    assert (captions.draw_captions(3) == whole).all()
