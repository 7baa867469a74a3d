"""labels.json and labels.h5, the captions of a data folder: written atomically, read with checks.

    labels.json   ix_to_word, images [{id, file_path, split, captions}], dataset, version, ...
    labels.h5     labels (M, L), label_length (M,), label_start_ix and label_end_ix (N,)

Names and conventions are neuraltalk2's, so that its files and tools work: no BOS or EOS tokens, and
the captions of image i in the rows start..end, counted from 1, the end included.

Without `images` in labels.json, labels.h5 holds them too, by row (prepro/storage/label_rows.py):
nothing is read until it is asked for, and the hashes of both files are compared, not computed.
"""

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import h5py
import numpy as np

from eval.files import read_json, write_json
from eval.schema import items, mapping, text
from prepro.annotations.records import ImageRecord
from prepro.remote import RemotePath, typed
from prepro.storage.hdf5 import damage_named, open_h5
from prepro.storage.label_rows import (
    IMAGE,
    RecordRows,
    check_captions,
    json_of,
    map_rows,
    record_of,
)  # fmt: skip
from prepro.storage.new_hdf5 import new_h5
from prepro.vocabulary import Vocabulary

VERSION = 1
MAX_BYTES = 512 << 20  # of an array; labels.h5 of more captions is read by row
ARRAYS = ("labels", "label_length", "label_start_ix", "label_end_ix")
SCHEMA = mapping(
    {"ix_to_word": mapping({}, more=True)},
    {"image_root": text(10_000), "images": items(IMAGE, 1 << 31)},
    more=True,
)
"""of labels.json"""


@dataclass(frozen=True)
class Labels:
    """A data folder's captions: N images, M encoded captions of at most L tokens."""

    folder: Path
    image_root: Path
    vocabulary: Vocabulary
    records: Sequence[ImageRecord]  # a tuple, or RecordRows
    labels: np.ndarray  # (M, L) uint32 or uint16, zero-padded
    lengths: np.ndarray  # (M,)
    ranges: np.ndarray  # (N, 2): first and one past the last row of `labels`

    def split(self, name: str) -> np.ndarray:
        """Indices of a split's images, (n,) int64. ValueError for an empty split."""
        if isinstance(self.records, RecordRows):
            wanted = self.records.rows_of(name)
        else:
            found = [i for i, record in enumerate(self.records) if record.split == name]
            wanted = np.array(found, np.int64)
        if not len(wanted):
            raise ValueError(f"{self.folder}/labels.json: no picture in the split {name!r}")
        return wanted

    def tokens(self, rows: np.ndarray | slice) -> np.ndarray:
        """(..., L) the captions `rows`. ValueError for a word that the vocabulary does not have."""
        found, size = self.labels[rows], len(self.vocabulary)
        if found.size and found.max() > size:
            path = self.folder / "labels.h5"
            raise ValueError(f"{path}: word {found.max()} of a vocabulary of {size}")
        return found

    @cached_property
    def images_sha256(self) -> str:
        stored = isinstance(self.records, RecordRows)
        return self.records.images_sha256 if stored else images_sha256(self.records)

    @cached_property
    def captions_sha256(self) -> str:
        stored = isinstance(self.records, RecordRows)
        return self.records.captions_sha256 if stored else captions_sha256(self.records)

    def __reduce_ex__(self, protocol: int) -> tuple:
        """A worker process opens the files again, rather than getting a copy of all rows."""
        if isinstance(self.records, RecordRows):
            return read_labels, (self.folder,)
        return super().__reduce_ex__(protocol)


def images_sha256(records: Sequence[ImageRecord]) -> str:
    """A hash of the images' ids and paths in order; features.h5 stores it to match labels.json."""
    digest = hashlib.sha256()
    for record in records:
        digest.update(image_line(record))
    return digest.hexdigest()


def captions_sha256(records: Sequence[ImageRecord]) -> str:
    """A hash of the images, their splits and their captions; labels.h5 and checkpoints store it."""
    digest = hashlib.sha256()
    for record in records:
        digest.update(record_line(record))
    return digest.hexdigest()


def image_line(record: ImageRecord) -> bytes:
    """What images_sha256 hashes of an image."""
    return json.dumps([record.id, record.path]).encode() + b"\n"


def record_line(record: ImageRecord) -> bytes:
    """What captions_sha256 hashes of an image."""
    row = [record.id, record.path, record.split, record.captions]
    return json.dumps(row).encode() + b"\n"


def arrays_sha256(*arrays: np.ndarray) -> str:
    """A hash of the arrays of labels.h5; labels.json stores it."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.shape}".encode())
        digest.update(np.ascontiguousarray(array, np.uint32).tobytes())
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
    arrays = (labels, lengths, (end - counts + 1).astype(np.uint32), end.astype(np.uint32))
    hashes = {
        "arrays_sha256": arrays_sha256(*arrays), "captions_sha256": captions_sha256(records)
    }  # fmt: skip
    with new_h5(folder / "labels.h5") as file:
        for name, array in zip(ARRAYS, arrays, strict=True):
            file[name] = array
        file.attrs["version"] = VERSION
        file.attrs["vocabulary"] = vocabulary.sha256
        file.attrs["images"] = images_sha256(records)
        file.attrs["captions"] = hashes["captions_sha256"]
    images = [json_of(record) for record in records]
    words = {str(i): word for i, word in enumerate(vocabulary.words, 1)}
    about = {"version": VERSION, **hashes, **facts}
    write_json(folder / "labels.json", {**about, "ix_to_word": words, "images": images})


def read_labels(folder: Path) -> Labels:
    """Read a data folder. FileNotFoundError; ValueError when the files do not match each other."""
    path = folder / "labels.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; make it with python -m prepro.labels")
    value = read_json(path)
    SCHEMA(value, str(path))
    if "images" not in value:
        return _open_rows(folder, value)
    records = tuple(record_of(image, path) for image in value["images"])
    labels, lengths, start, end, attributes = _read_arrays(folder / "labels.h5")
    found = Labels(
        folder, _image_root(folder, value), _vocabulary(value["ix_to_word"], path),
        records, labels, lengths, np.stack([start - 1, end], 1),
    )  # fmt: skip
    _check_labels(found, attributes, value.get("arrays_sha256"))
    return found


def _open_rows(folder: Path, header: dict) -> Labels:
    """The kind that is read by row, whose labels.json is only a header."""
    path = folder / "labels.h5"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; make it with python -m prepro.labels")
    arrays, attributes, records = map_rows(path)
    vocabulary = _vocabulary(header["ix_to_word"], folder / "labels.json")
    expected = {name: header.get(f"{name}_sha256") for name in ("images", "captions", "arrays")}
    for name, value in {"vocabulary": vocabulary.sha256, **expected}.items():
        if attributes[name] != value:
            raise ValueError(
                f"{path}: made with other {name} than labels.json; run prepro.labels again"
            )
    return Labels(
        folder, _image_root(folder, header), vocabulary,
        records, arrays["labels"], arrays["label_length"],
        arrays["label_ranges"],
    )  # fmt: skip


def _image_root(folder: Path, header: dict) -> Path | RemotePath:
    """The picture folder, relative to the data folder, or the address that was typed."""
    root = typed(header.get("image_root", ""))
    return root if isinstance(root, RemotePath) else folder / root


def _vocabulary(words: dict, path: Path) -> Vocabulary:
    """The words of ix_to_word, whose keys are "1", "2" and so on."""
    found = [words.get(str(i)) for i in range(1, len(words) + 1)]
    for number, word in enumerate(found, 1):
        text(1000, printable=True)(word, f"{path}: ix_to_word: {number}")
    return Vocabulary(tuple(found))


def _read_arrays(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict]:
    """labels (M, L); label_length (M,), label_start_ix and label_end_ix (N,) as int64; attributes.

    ValueError for arrays of another kind.
    """
    names = ("labels", "label_start_ix", "label_end_ix")
    with open_h5(path, names) as file, damage_named(path):
        for name in ARRAYS:
            rank = 2 if name == "labels" else 1
            if name in file and not isinstance(file[name], h5py.Dataset):
                raise ValueError(f"{path}: {name} is not a dataset")
            if name in file and (file[name].dtype.kind not in "iu" or file[name].ndim != rank):
                raise ValueError(
                    f"{path}: {name} holds {file[name].ndim} dimensions of {file[name].dtype}, "
                    f"expected {rank} of whole numbers"
                )
            if name in file and file[name].nbytes > MAX_BYTES:  # of a few bytes, if compressed
                raise ValueError(f"{path}: {name} has {file[name].nbytes / 1e6:,.0f} MB")
        labels, start, end = (file[name][:] for name in (ARRAYS[0], *ARRAYS[2:]))
        lengths = file["label_length"][:] if "label_length" in file else (labels > 0).sum(1)
        if labels.size and labels.min() < 0:
            raise ValueError(f"{path}: a negative word")
        if len(start) != len(end):
            raise ValueError(f"{path}: {len(start)} first and {len(end)} last captions of pictures")
        return (
            labels.astype(np.uint32), lengths.astype(np.int64), start.astype(np.int64),
            end.astype(np.int64), dict(file.attrs),
        )  # fmt: skip


def _check_labels(found: Labels, attributes: dict, arrays: object) -> None:
    """Whether the files belong together; `arrays` is the hash that labels.json has of labels.h5.

    Files of earlier versions have no such hashes; they are read with a warning.
    """
    path = found.folder / "labels.h5"
    if len(found.ranges) != len(found.records):
        counts = f"{len(found.ranges)} pictures, labels.json has {len(found.records)}"
        raise ValueError(f"{path}: {counts}")
    found.tokens(slice(None))
    check_captions(path, found.labels, found.lengths, found.ranges)
    first, last = found.ranges.T
    expected = {
        "vocabulary": found.vocabulary.sha256, "images": found.images_sha256,
        "captions": found.captions_sha256,
    }  # fmt: skip
    for name, value in expected.items():
        if str(attributes.get(name, value)) != value:
            raise ValueError(
                f"{path}: made with other {name} than labels.json; run prepro.labels again"
            )
    if arrays is None or "captions" not in attributes:
        print(
            f"{path}: without the hashes that tie it to labels.json; prepro.labels writes them",
            file=sys.stderr,
        )
    elif arrays != arrays_sha256(found.labels, found.lengths, first + 1, last):
        raise ValueError(
            f"{path}: not the file that labels.json was written with; run prepro.labels"
        )
