"""Records and captions that are read by row: labels.h5 holds them when labels.json has no `images`.

    labels        (M, L) uint16 or uint32    label_length  (M,) uint16
    label_ranges  (N, 2) int64, from 0, the end left out
    split         (N,) uint8, an index of SPLITS
    images        (bytes,) uint8: of each image the JSON object that labels.json would have
    image_offsets (N + 1,) int64, where each object begins, and the end of the last

The datasets are contiguous, so they are mapped into memory: opening reads nothing, a row costs what
it costs in memory, and the processes of a machine share the pages. Of a chunked dataset, h5py would
read 250 scattered rows forty times slower.
"""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import overload

import h5py
import numpy as np
import orjson

from eval.schema import items, mapping, text
from prepro.annotations.records import ImageRecord
from prepro.annotations.validation import SPLITS
from prepro.storage.hdf5 import damage_named, open_h5

MAX_RECORD = 64 << 20  # bytes of one image's JSON object
IMAGE = mapping(
    {"file_path": text(10_000), "split": text(100)}, {"captions": items(text(1_000_000), 100_000)},
    more=True,
)  # fmt: skip
LAYOUT = {  # dataset -> its rank and its dtypes
    "labels": (2, "HI"), "label_length": (1, "H"), "label_ranges": (2, "q"), "split": (1, "B"),
    "images": (1, "B"), "image_offsets": (1, "q"),
}  # fmt: skip


def record_of(image: dict, path: Path) -> ImageRecord:
    """One of labels.json's `images`, which has passed IMAGE. ValueError names the file."""
    id = image.get("id", image["file_path"])
    if isinstance(id, bool) or not isinstance(id, int | str):
        raise ValueError(f"{path}: {id!r} is not an image id (a number or a text)")
    split = "train" if image["split"] == "restval" else image["split"]  # in a cocotalk.json
    return ImageRecord(id, image["file_path"], split, tuple(image.get("captions", ())))


def json_of(record: ImageRecord) -> dict:
    """What labels.json holds of an image."""
    return {
        "id": record.id, "file_path": record.path, "split": record.split,
        "captions": list(record.captions),
    }  # fmt: skip


class RecordRows(Sequence[ImageRecord]):
    """The N records of a labels.h5; each is read when it is asked for."""

    def __init__(
        self, path: Path, arrays: dict[str, np.ndarray], attributes: dict, start: int, size: int
    ) -> None:
        """The objects are the `size` bytes of the file from `start` on."""
        self.path, self._offsets = path, arrays["image_offsets"]
        self._file = open(path, "rb", buffering=0)  # noqa: SIM115 of all reads, by any thread
        self._start, self._size = start, size
        self.splits = arrays["split"]
        self.images_sha256, self.captions_sha256 = attributes["images"], attributes["captions"]

    def __len__(self) -> int:
        return len(self.splits)

    @overload
    def __getitem__(self, row: int) -> ImageRecord: ...

    @overload
    def __getitem__(self, row: slice) -> Sequence[ImageRecord]: ...

    def __getitem__(self, row: int | slice) -> ImageRecord | Sequence[ImageRecord]:
        """IndexError; ValueError for a damaged row."""
        if isinstance(row, slice):
            return tuple(self[i] for i in range(*row.indices(len(self))))
        row = int(row) + (len(self) if row < 0 else 0)
        if not 0 <= row < len(self):
            raise IndexError(row)
        first, last = self._offsets[row : row + 2].tolist()
        if not 0 <= first < last <= self._size or last - first > MAX_RECORD:
            raise ValueError(f"{self.path}: damaged (image_offsets of row {row})")
        try:
            value = _parse(os.pread(self._file.fileno(), last - first, self._start + first))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{self.path}: damaged (row {row} of images: {error})") from None
        IMAGE(value, f"{self.path}: row {row} of images")
        return record_of(value, self.path)

    def __iter__(self) -> Iterator[ImageRecord]:
        return (self[row] for row in range(len(self)))

    def rows_of(self, split: str) -> np.ndarray:
        """(n,) int64, the rows of a split's images, rising; only the column `split` is read."""
        if split not in SPLITS:
            return np.zeros(0, np.int64)
        return np.flatnonzero(self.splits == SPLITS.index(split))


def _parse(data: bytes) -> object:
    with suppress(orjson.JSONDecodeError):  # faster, but without half surrogates
        return orjson.loads(data)
    return json.loads(data)


def map_rows(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str], RecordRows]:
    """The datasets of LAYOUT, mapped read-only; the attributes; the records. Nothing else is read.

    FileNotFoundError; ValueError for another layout, or sizes that do not fit each other.
    """
    with open_h5(path, tuple(LAYOUT)) as file, damage_named(path):
        found = {n: _map(path, file[n], rank, kinds) for n, (rank, kinds) in LAYOUT.items()}
        attributes = {name: str(value) for name, value in file.attrs.items()}
        start = file["images"].id.get_offset() or 0
    missing = [n for n in ("images", "captions", "arrays", "vocabulary") if n not in attributes]
    if missing:
        raise ValueError(f"{path}: no attribute {missing[0]!r}; run prepro.labels again")
    images, captions = len(found["split"]), len(found["labels"])
    sizes = (len(found["label_length"]), found["label_ranges"].shape, len(found["image_offsets"]))
    if sizes != (captions, (images, 2), images + 1):
        raise ValueError(f"{path}: damaged (its datasets do not have the sizes of each other)")
    check_captions(path, found["labels"], found["label_length"], found["label_ranges"])
    records = RecordRows(path, found, attributes, start, len(found["images"]))
    return found, attributes, records


def check_captions(path: Path, labels: np.ndarray, lengths: np.ndarray, ranges: np.ndarray) -> None:
    """ValueError for a length or a range that leads out of `labels` (M, L), which are not read."""
    first, last = ranges.T
    if ranges.size and (first.min() < 0 or (first > last).any() or last.max() > len(labels)):
        raise ValueError(f"{path}: the ranges of the pictures point outside the captions")
    fits = not lengths.size or 0 <= lengths.min() <= lengths.max() <= labels.shape[1]
    if len(lengths) != len(labels) or not fits:
        raise ValueError(f"{path}: label_length does not fit labels")


def _map(path: Path, data: h5py.Dataset, rank: int, kinds: str) -> np.ndarray:
    if data.ndim != rank or data.dtype not in [np.dtype(kind).newbyteorder("<") for kind in kinds]:
        raise ValueError(f"{path}: {data.name} holds {data.ndim} dimensions of {data.dtype}")
    if not data.size:
        return np.zeros(data.shape, data.dtype)
    offset = data.id.get_offset()
    if offset is None or data.id.get_create_plist().get_nfilters():
        raise ValueError(f"{path}: {data.name} is not contiguous; run prepro.labels again")
    try:
        return np.asarray(np.memmap(path, data.dtype, "r", offset, data.shape))
    except (ValueError, OverflowError) as error:  # longer than the file
        raise ValueError(f"{path}: damaged ({error})") from None
