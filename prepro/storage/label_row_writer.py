"""Write labels.h5 with the records in it, row after row, and the small labels.json beside it.

In: records with their encoded captions, one after the other. Out: the files that label_rows reads.
Memory does not grow with their number: rows are spooled to temporary files in the data folder, and
copied into HDF5 when their number is known, since a dataset that can be mapped has a fixed size.
"""

import hashlib
import json
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import accumulate, pairwise
from pathlib import Path
from typing import IO

import h5py
import numpy as np

from eval.files import write_json
from prepro.annotations.records import ImageRecord
from prepro.annotations.validation import SPLITS
from prepro.storage.label_file import VERSION, image_line, record_line
from prepro.storage.label_rows import LAYOUT, json_of
from prepro.storage.new_hdf5 import new_h5
from prepro.vocabulary import Vocabulary

BLOCK = 16 << 20  # bytes that are copied at a time


def write_label_rows(
    folder: Path,
    rows: Iterable[tuple[ImageRecord, Sequence[np.ndarray]]],
    vocabulary: Vocabulary,
    max_length: int,
    facts: dict[str, object],
) -> None:
    """Write both files; `rows` gives each record and the token ids (T,) of each caption.

    labels.json is written last. `facts` are further values for it.
    """
    word = np.uint16 if len(vocabulary) < 1 << 16 else np.uint32
    kinds = {name: np.dtype(kind[0]).newbyteorder("<") for name, (_, kind) in LAYOUT.items()}
    kinds["labels"] = np.dtype(word).newbyteorder("<")
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        files = {name: stack.enter_context(tempfile.TemporaryFile(dir=folder)) for name in LAYOUT}
        hashes = _spool(files, rows, kinds, max_length)
        with new_h5(folder / "labels.h5") as file:
            for name, spool in files.items():
                width = {"labels": (max_length,), "label_ranges": (2,)}.get(name, ())
                _copy(spool, file, name, kinds[name], width)
            file.attrs["version"] = VERSION
            file.attrs["vocabulary"] = vocabulary.sha256
            file.attrs["splits"] = " ".join(SPLITS)
            for name, value in hashes.items():
                file.attrs[name.removesuffix("_sha256")] = value
    words = {str(i): one for i, one in enumerate(vocabulary.words, 1)}
    write_json(folder / "labels.json", {"version": VERSION, **hashes, **facts, "ix_to_word": words})


def encoded_rows(
    records: Iterable[ImageRecord], flat: np.ndarray, lengths: np.ndarray
) -> Iterator[tuple[ImageRecord, list[np.ndarray]]]:
    """The rows of concatenated captions: `flat` (T,) token ids, `lengths` (M,) of captions."""
    first = caption = 0
    for record in records:
        own = lengths[caption : caption + len(record.captions)].tolist()
        ends = [first, *(first + end for end in accumulate(own))]
        yield record, [flat[start:end] for start, end in pairwise(ends)]
        first, caption = ends[-1], caption + len(own)


def _spool(
    files: dict[str, IO[bytes]],
    rows: Iterable[tuple[ImageRecord, Sequence[np.ndarray]]],
    kinds: dict[str, np.dtype],
    max_length: int,
) -> dict[str, str]:
    """Append every row to the files; returns images_sha256, captions_sha256, arrays_sha256."""
    images, captions, arrays = hashlib.sha256(), hashlib.sha256(), hashlib.sha256()
    offset = first = 0
    files["image_offsets"].write(np.array(0, kinds["image_offsets"]).tobytes())
    for record, encoded in rows:
        text = json.dumps(json_of(record)).encode()
        offset, last = offset + len(text), first + len(encoded)
        table = np.zeros((len(encoded), max_length), kinds["labels"])
        for row, ids in zip(table, encoded, strict=True):
            row[: len(ids)] = ids[:max_length]
        lengths = [min(len(ids), max_length) for ids in encoded]
        parts = {
            "labels": table.tobytes(),
            "label_length": np.array(lengths, kinds["label_length"]).tobytes(),
            "label_ranges": np.array([first, last], kinds["label_ranges"]).tobytes(),
            "split": bytes([SPLITS.index(record.split)]),
            "images": text,
            "image_offsets": np.array(offset, kinds["image_offsets"]).tobytes(),
        }
        for name, part in parts.items():
            files[name].write(part)
        arrays.update(parts["labels"] + parts["label_length"] + parts["label_ranges"])
        images.update(image_line(record))
        captions.update(record_line(record))
        first = last
    found = {"images": images, "captions": captions, "arrays": arrays}
    return {f"{name}_sha256": digest.hexdigest() for name, digest in found.items()}


def _copy(
    spool: IO[bytes], file: h5py.File, name: str, kind: np.dtype, width: tuple[int, ...]
) -> None:
    """The spooled bytes as a contiguous dataset of rows of `width`."""
    row = kind.itemsize * int(np.prod(width, dtype=np.int64))
    data = file.create_dataset(name, (spool.tell() // row, *width), kind)
    spool.seek(0)
    step = max(1, BLOCK // row)
    for start in range(0, len(data), step):
        block = np.frombuffer(spool.read(step * row), kind).reshape(-1, *width)
        data[start : start + len(block)] = block
