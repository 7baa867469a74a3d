"""Flickr8k.token.txt and results_20130124.token: name.jpg#0<TAB>caption, one a line."""

from collections.abc import Iterator
from pathlib import Path

from prepro.annotations.records import ImageRecord
from prepro.annotations.validation import Report

ACCEPTS = "lines of name.jpg#0<TAB>caption"


def matches(path: Path, value: object) -> bool:
    if path.suffix == ".json":
        return False
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        key = file.readline(10_000).split("\t")[0]
    return key.rpartition("#")[2].strip().isdigit()


def read(path: Path, value: None, report: Report) -> Iterator[ImageRecord]:
    """The id is the file name without its suffix. ValueError for a line of another form."""
    captions: dict[str, list[str]] = {}
    with open(path, encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            key, tab, caption = line.rstrip("\n").partition("\t")
            name, hash, _ = key.rpartition("#")
            if not tab or not hash:
                raise ValueError(f"{path}, line {number}: expected name.jpg#0<TAB>caption")
            captions.setdefault(name, []).append(caption)
    for name, texts in captions.items():
        yield ImageRecord(Path(name).stem, name, "", tuple(texts))
