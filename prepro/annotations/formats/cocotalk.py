"""neuraltalk2's cocotalk.json with cocotalk_label.h5 beside it, which holds the captions.

scripts/prepro_labels.py of self-critical.pytorch writes the same. The data folder keeps the words,
their numbers and UNK.
"""

from collections.abc import Iterator
from pathlib import Path

import h5py

from prepro.annotations.records import ImageRecord, StoredVocabulary
from prepro.annotations.validation import Report

ACCEPTS = "a JSON object with images and ix_to_word"
INCLUDES = ("raw",)  # --format cocotalk also takes neuraltalk2's other format


def matches(path: Path, value: object) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("images"), list)
        and "ix_to_word" in value
        and "annotations" not in value
    )


def vocabulary(path: Path, value: dict) -> StoredVocabulary:
    with h5py.File(_labels_path(path), "r", locking=False) as file:
        return StoredVocabulary(_words(path, value), _dataset(file, "labels").shape[1])


def read(path: Path, value: dict, report: Report) -> Iterator[ImageRecord]:
    """Captions are the words of the stored token ids. FileNotFoundError without the HDF5 file."""
    words, labels_path = _words(path, value), _labels_path(path)
    try:
        with h5py.File(labels_path, "r", locking=False) as file:
            labels = _dataset(file, "labels")[:]  # (M, L), padded with 0
            first, last = (_dataset(file, f"label_{end}_ix")[:] for end in ("start", "end"))
    except OSError as error:
        raise ValueError(f"{labels_path}: cannot be read ({error})") from None
    images = value["images"]
    if len(first) != len(images) or len(last) != len(images):
        raise ValueError(f"{labels_path}: {len(first):,} pictures, {path} has {len(images):,}")
    if labels.dtype.kind not in "iu" or labels.ndim != 2:
        raise ValueError(f"{labels_path}: labels of {labels.dtype} {labels.shape}, expected (M, L)")
    if labels.size and not 0 <= labels.min() <= labels.max() <= len(words):
        odd = labels.min() if labels.min() < 0 else labels.max()
        raise ValueError(f"{labels_path}: word {odd} of a vocabulary of {len(words)}")
    for image, start, end in zip(images, first, last, strict=True):
        rows = labels[int(start) - 1 : int(end)]  # neuraltalk2 counts from 1, the end included
        tokens = tuple(tuple(words[int(i) - 1] for i in row if i) for row in rows)
        yield ImageRecord(
            image.get("id", image["file_path"]), image["file_path"], image["split"],
            tuple(map(" ".join, tokens)), tokens,
        )  # fmt: skip


def _words(path: Path, value: dict) -> tuple[str, ...]:
    found = tuple(value["ix_to_word"].get(str(i)) for i in range(1, len(value["ix_to_word"]) + 1))
    if None in found:
        raise ValueError(f"{path}: ix_to_word has no word {found.index(None) + 1}")
    return found


def _labels_path(path: Path) -> Path:
    candidates = [path.with_name(path.stem + end) for end in ("_label.h5", ".h5", "_labels.h5")]
    found = next((candidate for candidate in candidates if candidate.is_file()), None)
    if found is None:
        raise FileNotFoundError(f"{path}: needs {candidates[0].name} (or .h5) beside it")
    return found


def _dataset(file: h5py.File, name: str) -> h5py.Dataset:
    """A dataset of this file. ValueError for a link or for data that lie in another file."""
    if not isinstance(file.get(name, getlink=True), h5py.HardLink) or file[name].external:
        raise ValueError(f"{file.filename}: no dataset {name!r}")
    return file[name]
