"""A table beside a folder of images: captions.csv (columns image and caption) or captions.jsonl.

A CSV file has a header and is separated by commas, tabs, semicolons or |. An image may have several
rows, and a row of JSON lines several captions. The columns split and id are optional.
"""

import csv
import json
from collections.abc import Iterator
from pathlib import Path

from prepro.annotations.records import ImageRecord
from prepro.annotations.validation import Report

ACCEPTS = "a CSV with the columns image and caption, or JSON lines"
FILE_KEYS = ("file_path", "file_name", "filename", "image", "image_name", "file", "path")
CAPTION_KEYS = ("caption", "captions", "comment", "text")


def matches(path: Path, value: object) -> bool:
    if path.suffix in (".json", ".jsonl"):
        return path.suffix == ".jsonl"
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        return _has_columns(_split_header(file.readline(10_000)))


def read(path: Path, value: None, report: Report) -> Iterator[ImageRecord]:
    """Rows of one image become one record. ValueError names the line of a defect."""
    rows = _json_lines(path) if path.suffix == ".jsonl" else _csv_rows(path)
    found: dict[str, ImageRecord] = {}
    for number, row in rows:
        name = next((row[key] for key in FILE_KEYS if row.get(key)), None)
        texts = next((row[key] for key in CAPTION_KEYS if row.get(key) is not None), ())
        if not isinstance(name, str):
            raise ValueError(f"{path}, line {number}: no picture; expected a column {FILE_KEYS[0]}")
        if not isinstance(texts, str | list | tuple):
            raise ValueError(f"{path}, line {number}: a caption that is no text")
        old = found.get(name)
        new = (texts,) if isinstance(texts, str) else tuple(texts)
        found[name] = ImageRecord(
            row.get("id") or (old.id if old else name),
            name,
            row.get("split") or (old.split if old else ""),
            (old.captions if old else ()) + new,
        )
    yield from found.values()


def _json_lines(path: Path) -> Iterator[tuple[int, dict]]:
    """Line numbers, from 1, and rows."""
    with open(path, encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise ValueError(f"{path}, line {number}: not JSON ({error})") from None
                if not isinstance(row, dict):
                    raise ValueError(f"{path}, line {number}: expected a JSON object")
                yield number, row


def _csv_rows(path: Path) -> Iterator[tuple[int, dict]]:
    """Line numbers, from 1, and rows under lower-case column names."""
    with open(path, encoding="utf-8-sig", newline="") as file:
        header = file.readline()
        names = _split_header(header)
        reader = csv.DictReader(
            file, names, delimiter=_delimiter(header), skipinitialspace=True, strict=True
        )
        try:
            for row in reader:
                if None in row:
                    raise ValueError(
                        f"{path}, line {reader.line_num + 1}: {len(names) + len(row[None])} fields "
                        f"for {len(names)} columns; put captions with a "
                        f"{_delimiter(header)!r} in double quotes"
                    )
                yield (
                    reader.line_num + 1,
                    {key: (value or "").strip() for key, value in row.items() if key},
                )
        except csv.Error as error:  # a quote that is not closed, a field of 128 KB
            line = reader.reader.line_num + 1  # the dictionary reader's is that of the row before
            raise ValueError(f"{path}, line {line}: not CSV ({error})") from None


def _delimiter(header: str) -> str:
    return max(",\t;|", key=header.count)


def _split_header(header: str) -> list[str]:
    """Column names in lower case."""
    row = next(csv.reader([header], delimiter=_delimiter(header), skipinitialspace=True), [])
    return [name.strip().lower() for name in row]


def _has_columns(names: list[str]) -> bool:
    return bool(set(names) & set(FILE_KEYS) and set(names) & set(CAPTION_KEYS))
