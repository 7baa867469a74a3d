"""labels.json and labels.h5, the captions of a data folder: written atomically, read with checks.

    labels.json   ix_to_word, images [{id, file_path, split, captions}], dataset, version, ...
    labels.h5     labels (M, L), label_length (M,), label_start_ix and label_end_ix (N,)

Names and conventions are neuraltalk2's, so that its files and tools work: no BOS or EOS tokens, and
the captions of image i in the rows start..end, counted from 1, the end included.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import h5py
import numpy as np

from eval.files import read_json, whole_file, write_json
from prepro.annotations.records import ImageRecord
from prepro.storage.hdf5 import open_h5
from prepro.vocabulary import Vocabulary

VERSION = 1


@dataclass(frozen=True)
class Labels:
    """A data folder's captions: N images, M encoded captions of at most L tokens."""

    folder: Path
    image_root: Path
    vocabulary: Vocabulary
    records: tuple[ImageRecord, ...]
    labels: np.ndarray  # (M, L) uint32, zero-padded
    lengths: np.ndarray  # (M,)
    ranges: np.ndarray  # (N, 2): first and one past the last row of `labels`

    def split(self, name: str) -> np.ndarray:
        """Indices of a split's images, (n,) int64. ValueError for an empty split."""
        wanted = [i for i, record in enumerate(self.records) if record.split == name]
        if not wanted:
            raise ValueError(f"{self.folder}/labels.json: no picture in the split {name!r}")
        return np.array(wanted)

    @cached_property
    def images_sha256(self) -> str:
        return images_sha256(self.records)


def images_sha256(records: Sequence[ImageRecord]) -> str:
    """A hash of the images' ids and paths in order; features.h5 stores it to match labels.json."""
    digest = hashlib.sha256()
    for record in records:
        digest.update(json.dumps([record.id, record.path]).encode() + b"\n")
    return digest.hexdigest()


def write_labels(
    folder: Path,
    records: Sequence[ImageRecord],
    vocabulary: Vocabulary,
    encoded: Sequence[Sequence[int]],
    max_length: int,
    facts: dict[str, object],
) -> None:
    """Write both files. encoded: the token ids of each caption, image by image."""
    flat = np.fromiter((index for row in encoded for index in row), np.uint32)
    lengths = np.array([len(row) for row in encoded], np.int64)
    write_label_arrays(folder, records, vocabulary, flat, lengths, max_length, facts)


def write_label_arrays(
    folder: Path,
    records: Sequence[ImageRecord],
    vocabulary: Vocabulary,
    flat: np.ndarray,
    lengths: np.ndarray,
    max_length: int,
    facts: dict[str, object],
) -> None:
    """write_labels with concatenated captions: `flat` (T,) token ids, `lengths` (M,) of captions.

    labels.json is written last. `facts` are further values for it.
    """
    counts = np.array([len(record.captions) for record in records])
    assert counts.sum() == len(lengths) and lengths.sum() == len(flat)
    start = np.cumsum(lengths) - lengths
    kept = np.arange(len(flat)) < np.repeat(start + max_length, lengths)
    lengths = np.minimum(lengths, max_length).astype(np.uint32)
    labels = np.zeros((len(lengths), max_length), np.uint32)
    labels[np.arange(max_length) < lengths[:, None]] = flat[kept]
    end = np.cumsum(counts)
    with whole_file(folder / "labels.h5") as path, h5py.File(path, "w") as file:
        file["labels"] = labels
        file["label_length"] = lengths
        file["label_start_ix"] = (end - counts + 1).astype(np.uint32)
        file["label_end_ix"] = end.astype(np.uint32)
        file.attrs["version"] = VERSION
        file.attrs["vocabulary"] = vocabulary.sha256
        file.attrs["images"] = images_sha256(records)
    images = [
        {"id": r.id, "file_path": r.path, "split": r.split, "captions": list(r.captions)}
        for r in records
    ]
    words = {str(i): word for i, word in enumerate(vocabulary.words, 1)}
    write_json(
        folder / "labels.json",
        {"version": VERSION, **facts, "ix_to_word": words, "images": images},
    )


def read_labels(folder: Path) -> Labels:
    """Read a data folder. FileNotFoundError; ValueError when the files do not match each other."""
    path = folder / "labels.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; make it with python -m prepro.labels")
    value = read_json(path)
    if not isinstance(value, dict) or not {"ix_to_word", "images"} <= set(value):
        raise ValueError(f"{path}: expected the keys ix_to_word and images")
    words = value["ix_to_word"]
    vocabulary = Vocabulary(tuple(words[str(i)] for i in range(1, len(words) + 1)))
    records = tuple(
        ImageRecord(
            i.get("id", i["file_path"]), i["file_path"], i["split"], tuple(i.get("captions", ()))
        )
        for i in value["images"]
    )
    with open_h5(folder / "labels.h5", ("labels", "label_start_ix", "label_end_ix")) as file:
        labels = file["labels"][:]
        start, end = file["label_start_ix"][:].astype(np.int64), file["label_end_ix"][:]
        lengths = file["label_length"][:] if "label_length" in file else (labels > 0).sum(1)
        attributes = dict(file.attrs)
    found = Labels(
        folder,
        folder / value.get("image_root", ""),
        vocabulary,
        records,
        labels,
        lengths.astype(np.int64),
        np.stack([start - 1, end.astype(np.int64)], 1),
    )
    _check_labels(found, attributes)
    return found


def _check_labels(found: Labels, attributes: dict) -> None:
    path = found.folder / "labels.h5"
    if len(found.ranges) != len(found.records):
        counts = f"{len(found.ranges)} pictures, labels.json has {len(found.records)}"
        raise ValueError(f"{path}: {counts}")
    if found.labels.size and found.labels.max() > len(found.vocabulary):
        size = len(found.vocabulary)
        raise ValueError(f"{path}: word {found.labels.max()} of a vocabulary of {size}")
    if found.ranges.min() < 0 or found.ranges.max() > len(found.labels):
        raise ValueError(f"{path}: label_start_ix and label_end_ix point outside the captions")
    expected = {"vocabulary": found.vocabulary.sha256, "images": found.images_sha256}
    for name, value in expected.items():
        if attributes.get(name, value) != value:
            raise ValueError(
                f"{path}: made with another {name} than labels.json; run prepro.labels again"
            )
