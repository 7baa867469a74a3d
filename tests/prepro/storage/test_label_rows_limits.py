"""Labels that are read by row: many words, wrong layouts, and numbers at the edge of what fits."""

import h5py
import numpy as np
import pytest

from prepro.annotations.records import ImageRecord
from prepro.storage import label_row_writer, label_rows
from prepro.storage.label_file import read_labels
from prepro.storage.label_row_writer import write_label_rows
from prepro.storage.label_spool import LabelSpool
from prepro.vocabulary import Vocabulary, vocabulary_from_counts

RECORDS = [
    ImageRecord(7, "7.jpg", "train", ("a dog", "dog")), ImageRecord(8, "8.jpg", "val", ("a cat",)),
    ImageRecord(9, "9.jpg", "test", ()),
]  # fmt: skip
ENCODED = [[np.array([1, 3]), np.array([3])], [np.array([1, 2])], []]
WORDS = Vocabulary(("a", "cat", "dog"))


def write(folder, encoded=ENCODED, words=WORDS, length=3):
    write_label_rows(folder, zip(RECORDS, encoded, strict=True), words, length, {})
    return folder


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path / "a" / "data")


@pytest.mark.parametrize("size", [65_535, 65_536])
def test_numbers_of_words_above_16_bits(tmp_path, size):
    words = Vocabulary(tuple(map(str, range(size))))
    write(tmp_path, [[np.array([size]), np.array([1])], [np.array([2])], []], words)
    found = read_labels(tmp_path)
    assert found.tokens(slice(None)).tolist() == [[size, 0, 0], [1, 0, 0], [2, 0, 0]]


@pytest.mark.parametrize("block", [1, 13, 16])
def test_rows_that_are_copied_in_blocks(tmp_path, monkeypatch, folder, block):
    monkeypatch.setattr(label_row_writer, "BLOCK", block)
    found, whole = read_labels(write(tmp_path)), read_labels(folder)
    assert list(found.records) == list(whole.records) == RECORDS
    assert found.labels.tolist() == [[1, 3, 0], [3, 0, 0], [1, 2, 0]]
    assert found.lengths.tolist() == [2, 1, 2]
    assert found.ranges.tolist() == [[0, 2], [2, 3], [3, 3]]


def test_arrays_of_other_captions_of_the_same_words_are_refused(folder, tmp_path):
    for i, changed in enumerate(([[3], [3]], [[1, 3, 2], [3]])):
        other = [[np.array(ids) for ids in changed], *ENCODED[1:]]
        write(tmp_path / str(i), other)
        (folder / "labels.h5").write_bytes((tmp_path / str(i) / "labels.h5").read_bytes())
        with pytest.raises(ValueError, match="made with other arrays than labels.json"):
            read_labels(folder)
    (folder / "labels.h5").unlink()
    with pytest.raises(FileNotFoundError, match=r"labels\.h5: no such file; make it with"):
        read_labels(folder)


def test_rows_are_counted_from_both_ends(folder):
    records = read_labels(folder).records
    assert [records[i] for i in (-3, -2, -1, 0, 1, 2)] == RECORDS * 2
    assert records[:-1] == tuple(RECORDS[:-1]) and records[::2] == tuple(RECORDS[::2])
    for row in (3, -4):
        with pytest.raises(IndexError):
            records[row]


def test_a_picture_without_captions_has_no_rows(folder):
    found = read_labels(folder)
    assert found.tokens(slice(*found.ranges[2])).shape == (0, 3)


def test_the_limit_of_a_record(folder, monkeypatch):
    with h5py.File(folder / "labels.h5") as file:
        sizes = np.diff(file["image_offsets"][:])
    records = read_labels(folder).records
    monkeypatch.setattr(label_rows, "MAX_RECORD", int(sizes[1]))
    assert records[1] == RECORDS[1]
    monkeypatch.setattr(label_rows, "MAX_RECORD", int(sizes[1]) - 1)
    with pytest.raises(ValueError, match="damaged .image_offsets of row 1"):
        records[1]


@pytest.mark.parametrize(
    ("place", "offset", "row"),
    [(-1, lambda end: end + 5, 2), (-1, lambda end: end + 1, 2), (0, lambda _: -1, 0),
     (1, lambda _: -5, 0), (1, lambda _: 0, 0)],
)  # fmt: skip
def test_offsets_outside_the_records_are_named(folder, place, offset, row):
    with h5py.File(folder / "labels.h5", "r+") as file:
        file["image_offsets"][place] = offset(file["image_offsets"][place])
    with pytest.raises(ValueError, match=f"damaged .image_offsets of row {row}"):
        read_labels(folder).records[row]


def test_a_record_with_other_keys_is_named(folder):
    with h5py.File(folder / "labels.h5", "r+") as file:
        text = file["images"][:].tobytes().replace(b"file_path", b"fool_path", 1)
        file["images"][:] = np.frombuffer(text, np.uint8)
    with pytest.raises(ValueError, match=r"labels\.h5: row 0 of images"):
        read_labels(folder).records[0]


@pytest.mark.parametrize("name", ["images", "captions", "arrays", "vocabulary"])
def test_a_missing_attribute_is_named(folder, name):
    with h5py.File(folder / "labels.h5", "r+") as file:
        del file.attrs[name]
    with pytest.raises(ValueError, match=f"labels.h5: no attribute '{name}'"):
        read_labels(folder)


def chunked(data):
    return {"data": data, "chunks": data.shape}


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("labels", chunked, "labels is not contiguous"),
        ("label_length", lambda a: {"data": a[:, None]}, "holds 2 dimensions of uint16"),
        ("labels", lambda a: {"data": a.astype("<i2")}, "holds 2 dimensions of int16"),
        ("labels", lambda a: {"data": a.astype(">u2")}, "holds 2 dimensions of >u2"),
        ("label_ranges", lambda a: {"data": a[:, :1]}, "do not have the sizes of each other"),
        ("image_offsets", lambda a: {"data": a[:-1]}, "do not have the sizes of each other"),
        ("label_length", lambda a: {"data": a[:-1]}, "do not have the sizes of each other"),
    ],
)
def test_datasets_of_another_layout_are_named(folder, name, change, message):
    with h5py.File(folder / "labels.h5", "r+") as file:
        values = file[name][:]
        del file[name]
        file.create_dataset(name, **change(values))
    with pytest.raises(ValueError, match=f"labels.h5: .*{message}"):
        read_labels(folder)


@pytest.mark.parametrize("block", [1, 3, 1000])
@pytest.mark.parametrize("count", [3, 11, 100])
def test_a_tenth_is_drawn_for_val_and_for_test(tmp_path, monkeypatch, count, block):
    monkeypatch.setattr("prepro.storage.label_spool.BLOCK", block)
    records = (ImageRecord(i, f"{i}.jpg", "", ("a dog", f"{i % 3}")) for i in range(count))
    spool = LabelSpool(tmp_path / "a" / "b", records)
    splits = [record.split for record, _ in spool.rows(vocabulary_from_counts(spool.counts(), 0))]
    assert {name: splits.count(name) for name in splits} == spool.splits
    tenth = max(1, count // 10)
    assert (spool.splits["val"], spool.splits["test"]) == (tenth, tenth)
    assert (spool.images, spool.captions) == (count, 2 * count)


def test_of_many_pictures_5000_are_drawn_as_in_karpathys_split(tmp_path):
    spool = LabelSpool(tmp_path, [ImageRecord(i, f"{i}", "", ("a",)) for i in range(3)])
    spool.images = 100_000
    drawn = [spool._drawn(row) for row in range(100_000)]
    assert (drawn.count("val"), drawn.count("test")) == (5000, 5000)
