"""neuraltalk2's raw list: [{"file_path", "captions", "id"}]."""

from collections.abc import Iterator
from pathlib import Path

from prepro.annotations.records import ImageRecord
from prepro.annotations.validation import Report

ACCEPTS = "a JSON list of {file_path, captions}"


def matches(path: Path, value: object) -> bool:
    return isinstance(value, list)


def read(path: Path, value: list, report: Report) -> Iterator[ImageRecord]:
    """`captions` is a text or a list of texts; `id` and `split` are optional."""
    for image in value:
        name, texts = image["file_path"], image["captions"]
        captions = (texts,) if isinstance(texts, str) else tuple(texts)
        yield ImageRecord(image.get("id", name), name, image.get("split", ""), captions)
