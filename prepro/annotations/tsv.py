"""A TSV of captions: caption<TAB>address (Conceptual Captions), caption<TAB>path or the reverse.

In: a .tsv without a header. Out: an ImageRecord for each picture; rows of one picture that follow
each other become one record. A row with an address has no picture here and is left out.
"""

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from prepro.annotations.defects import Defects
from prepro.annotations.records import ImageRecord
from prepro.annotations.validation import escapes_folder
from prepro.images import EXTENSIONS
from prepro.remote import RemotePath, opened

LINE = 1 << 20  # bytes of a line that are read


class Row(NamedTuple):
    path: str
    caption: str


def read(path: Path, images: Path, split: str, defects: Defects) -> Iterator[ImageRecord]:
    """The pictures of a TSV; an id is NAME:LINE, since a picture may come again later."""
    for (name, number), rows in groupby(_numbered(path, images, defects), lambda one: one[:2]):
        captions = tuple(row.caption for *_, row in rows)
        yield ImageRecord(f"{path.name}:{number}", name, split, captions)


def _numbered(path: Path, images: Path, defects: Defects) -> Iterator[tuple[str, int, Row]]:
    """(picture, the line where its rows begin, row)."""
    last, start = None, 0
    for number, row in _rows(path, images, defects):
        if row.path != last:
            last, start = row.path, number
        yield row.path, start, row


def _rows(path: Path, images: Path, defects: Defects) -> Iterator[tuple[int, Row]]:
    """Line numbers, from 1, and rows with a picture."""
    with opened(path) as file:
        number = 0
        while line := file.readline(LINE):
            number += 1
            where = f"{path.name}, line {number}"
            if len(line) == LINE and not line.endswith(b"\n"):
                while not line.endswith(b"\n") and (line := file.readline(LINE)):
                    pass
                defects.add(f"lines of more than {LINE:,} bytes", where)
                continue
            try:
                cells = [cell.strip() for cell in line.decode("utf-8-sig").split("\t")]
            except UnicodeDecodeError:
                defects.add("lines that are not UTF-8", where)
                continue
            if len(cells) < 2 or not cells[0] or not cells[1]:
                if cells != [""]:
                    defects.add("lines without a caption and a picture", where)
                continue
            first, second = cells[:2]
            row = Row(first, second) if _is_name(first) else Row(second, first)
            if "://" in row.path:
                defects.add(
                    "addresses instead of picture files (img2dataset fetches them)", row.path
                )
            elif escapes_folder(row.path) or not _may_be_there(images, row.path):
                defects.add(f"rows whose picture is not in {images}", f"{where}: {row.path}")
            else:
                yield number, row


def _may_be_there(images: Path, name: str) -> bool:
    """Whether the picture is a file; in object storage a question takes as long as reading it."""
    return isinstance(images, RemotePath) or (images / name).is_file()


def _is_name(cell: str) -> bool:
    """Whether the first cell is an address or a file, and not the caption."""
    is_file = " " not in cell and cell.lower().endswith(EXTENSIONS)
    return is_file or cell.startswith(("http://", "https://"))
