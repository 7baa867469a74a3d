"""labels.json and labels.h5: their hashes, neuraltalk2's own files, and what is refused."""

import hashlib
import json

import h5py
import numpy as np
import pytest

from prepro.annotations.records import ImageRecord
from prepro.storage.label_file import arrays_sha256, read_labels, write_labels
from prepro.vocabulary import Vocabulary

WORDS = Vocabulary(("a", "cat", "dog"))
RECORDS = [
    ImageRecord(7, "7.jpg", "train", ("a dog", "dog")), ImageRecord("é", "e.jpg", "val", ("a cat",))
]  # fmt: skip
ENCODED = [[1, 3], [3], [1, 2]]


@pytest.fixture
def folder(tmp_path):
    write_labels(tmp_path, RECORDS, WORDS, ENCODED, 3, {"image_root": "pictures"})
    return tmp_path


def edit(folder, change):
    value = json.loads((folder / "labels.json").read_text())
    change(value)
    (folder / "labels.json").write_text(json.dumps(value))


def replace(folder, name, change):
    with h5py.File(folder / "labels.h5", "r+") as file:
        values = change(file[name][:])
        del file[name]
        if values is not None:
            file[name] = values


def sha256(*rows):
    return hashlib.sha256(b"".join(json.dumps(row).encode() + b"\n" for row in rows)).hexdigest()


def test_hashes_are_those_that_features_and_checkpoints_have_stored(folder):
    found = read_labels(folder)
    assert found.images_sha256 == sha256([7, "7.jpg"], ["é", "e.jpg"])
    assert found.captions_sha256 == sha256(
        [7, "7.jpg", "train", ["a dog", "dog"]], ["é", "e.jpg", "val", ["a cat"]]
    )
    assert found.vocabulary.sha256 == hashlib.sha256(b"a\ncat\ndog").hexdigest()
    labels = np.array([[1, 3, 0], [3, 0, 0], [1, 2, 0]], "<u4")
    arrays = (labels, *(np.array(row, "<u4") for row in ([2, 1, 2], [1, 3], [2, 3])))
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(str(array.shape).encode() + array.tobytes())
    value = json.loads((folder / "labels.json").read_text())
    assert value["arrays_sha256"] == digest.hexdigest()
    assert arrays_sha256(labels) != arrays_sha256(labels.reshape(-1))


def test_tokens_of_chosen_captions(folder):
    found = read_labels(folder)
    assert found.tokens(np.array([2, 0])).tolist() == [[1, 2, 0], [1, 3, 0]]
    assert found.tokens(np.array([], int)).shape == (0, 3)
    assert found.image_root == folder / "pictures"


def test_numbers_of_captions_that_do_not_fit_are_not_written(tmp_path):
    for encoded in (ENCODED[:2], [*ENCODED, [1]]):
        with pytest.raises(AssertionError):
            write_labels(tmp_path, RECORDS, WORDS, encoded, 3, {})
    assert not list(tmp_path.iterdir())


def test_files_without_lengths_are_read(folder, capsys):
    """neuraltalk2's first files have no label_length."""
    before = read_labels(folder)
    assert capsys.readouterr().err == ""
    replace(folder, "label_length", lambda _: None)
    found = read_labels(folder)
    assert found.lengths.tolist() == before.lengths.tolist() == [2, 1, 2]
    assert np.array_equal(found.ranges, before.ranges)


@pytest.mark.parametrize("where", ["json", "h5", "both"])
def test_files_without_one_of_the_hashes_are_read_with_a_warning(folder, capsys, where):
    if where != "h5":
        edit(folder, lambda value: value.pop("arrays_sha256"))
    if where != "json":
        with h5py.File(folder / "labels.h5", "r+") as file:
            del file.attrs["captions"]
    assert len(read_labels(folder).records) == 2
    assert "labels.h5: without the hashes that tie it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("labels", lambda a: a.astype(float), "labels holds 2 dimensions of float64, expected 2"),
        ("labels", lambda a: a[:, 0], "labels holds 1 dimensions of uint32, expected 2"),
        ("label_length", lambda a: a[:, None], "label_length holds 2 .* expected 1 of whole"),
        ("label_start_ix", lambda a: a.astype("f2"), "label_start_ix holds 1 .* of float16"),
        ("labels", lambda a: -a.astype(int), "a negative word"),
        ("labels", lambda a: a + 1, "word 4 of a vocabulary of 3"),
        ("label_length", lambda a: a + 2, "label_length does not fit labels"),
        ("label_length", lambda a: a[:-1], "label_length does not fit labels"),
        ("label_end_ix", lambda a: a + 1, "point outside the captions"),
        ("label_start_ix", lambda a: a - 1, "point outside the captions"),
        ("label_end_ix", lambda a: a[::-1] * 0, "point outside the captions"),
        ("labels", lambda a: a[::-1], "not the file that labels.json was written with"),
        ("label_start_ix", lambda a: a[:1] + 1, "1 first and 2 last captions of pictures"),
    ],
)
def test_arrays_that_do_not_fit_are_named(folder, name, change, message):
    replace(folder, name, change)
    with pytest.raises(ValueError, match=f"labels.h5: .*{message}"):
        read_labels(folder)


def test_arrays_have_a_largest_size(folder, monkeypatch):
    size = 3 * 3 * 4
    monkeypatch.setattr("prepro.storage.label_file.MAX_BYTES", size)
    assert read_labels(folder).labels.nbytes == size
    monkeypatch.setattr("prepro.storage.label_file.MAX_BYTES", size - 1)
    with pytest.raises(ValueError, match=r"labels\.h5: labels has 0 MB"):
        read_labels(folder)


def test_fewer_pictures_in_one_file_than_in_the_other(folder):
    for name in ("label_start_ix", "label_end_ix"):
        replace(folder, name, lambda array: array[:1])
    with pytest.raises(ValueError, match=r"labels\.h5: 1 pictures, labels\.json has 2"):
        read_labels(folder)


def test_groups_and_virtual_datasets_are_refused(folder):
    with h5py.File(folder / "labels.h5", "r+") as file:
        del file["label_length"]
        file.create_group("label_length")
    with pytest.raises(ValueError, match=r"labels\.h5: label_length is not a dataset"):
        read_labels(folder)
    with h5py.File(folder / "labels.h5", "r+") as file:
        del file["label_length"]
        layout = h5py.VirtualLayout((3,), np.uint32)
        layout[:] = h5py.VirtualSource("features.1-of-1.h5", "fc", (3,))
        file.create_virtual_dataset("label_length", layout)
    with pytest.raises(ValueError, match="'label_length' lies in another file"):
        read_labels(folder)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"1": "a", "3": "dog"}, "ix_to_word: 2: "),
        ({"1": "a\x1b[2J", "2": "dog"}, "ix_to_word: 1: .*without control characters"),
        ({"1": "a", "2": 5}, "ix_to_word: 2: "),
        ({"0": "a", "1": "dog"}, "ix_to_word: 2: "),
    ],
)
def test_words_are_texts_that_are_numbered_from_1(folder, words, message):
    edit(folder, lambda value: value.update(ix_to_word=words))
    with pytest.raises(ValueError, match=f"labels.json: {message}"):
        read_labels(folder)


@pytest.mark.parametrize("id", [True, None, 1.5, [1]])
def test_ids_are_numbers_or_texts(folder, id):
    edit(folder, lambda value: value["images"][1].update(id=id))
    with pytest.raises(ValueError, match=r"labels\.json: .* is not an image id"):
        read_labels(folder)


def test_a_value_of_the_wrong_kind_is_named(folder):
    edit(folder, lambda value: value.update(image_root=3))
    with pytest.raises(ValueError, match=r"labels\.json: image_root"):
        read_labels(folder)
