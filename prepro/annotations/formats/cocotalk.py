"""neuraltalk2's cocotalk.json with cocotalk_label.h5 beside it, which holds the captions."""

from collections.abc import Iterator
from pathlib import Path

from prepro.annotations.records import ImageRecord
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


def read(path: Path, value: dict, report: Report) -> Iterator[ImageRecord]:
    """Captions are the words of the stored token ids. FileNotFoundError without the HDF5 file."""
    import h5py

    candidates = [path.with_name(path.stem + end) for end in ("_label.h5", ".h5", "_labels.h5")]
    labels_path = next((candidate for candidate in candidates if candidate.is_file()), None)
    if labels_path is None:
        raise FileNotFoundError(f"{path}: needs {candidates[0].name} (or .h5) beside it")
    words = {int(index): word for index, word in value["ix_to_word"].items()}
    with h5py.File(labels_path, "r") as file:
        labels = file["labels"][:]  # (M, L), padded with 0
        first, last = file["label_start_ix"][:], file["label_end_ix"][:]
    for image, start, end in zip(value["images"], first, last, strict=True):
        rows = labels[int(start) - 1 : int(end)]  # neuraltalk2 counts from 1, the end included
        captions = (" ".join(words[int(index)] for index in row if index) for row in rows)
        yield ImageRecord(
            image.get("id", image["file_path"]), image["file_path"], image["split"], tuple(captions)
        )
