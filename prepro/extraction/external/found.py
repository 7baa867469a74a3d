"""What a file of another system holds for one picture, and the name under which it does.

In: an ImageRecord. Out: a FoundFeatures, with the values as they are stored.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from prepro.annotations.records import ImageRecord

MAX_BYTES = 1 << 30  # of the features of one picture


class FoundFeatures(NamedTuple):
    """The features of one picture, in the layout of their file."""

    features: np.ndarray
    boxes: np.ndarray | None = None
    """(R, 4) left, top, right and bottom: in pixels, or as fractions of the picture's sides"""
    size: tuple[float, float] | None = None
    """width and height of the picture in pixels, where the file says so"""


ReadFeatures = Callable[[ImageRecord], FoundFeatures]
"""Raises ValueError for a picture without features, AmbiguousName for one with two"""


class AmbiguousName(ValueError):
    """One file has the image's id as its name, and another one the name of the image's file."""


def find_name(record: ImageRecord, exists: Callable[[str], bool], source: object) -> str:
    """The name of the image's features: its id, or its file name without extension.

    Where neither exists: its file name, or its id with zeros in front, as COCO writes it.
    AmbiguousName if both of the first two exist; ValueError if there is none.
    """
    stem = Path(record.path).stem
    found = [name for name in dict.fromkeys((str(record.id), stem)) if exists(name)]
    if len(found) > 1:
        raise AmbiguousName(
            f"{source}: features named {found[0]!r} and {found[1]!r} for one picture, which has "
            f"the id {record.id!r} and the file {record.path}; keep those of one naming"
        )
    for name in () if found else (Path(record.path).name, *_padded(record, stem)):
        if exists(name):
            found.append(name)
            break
    if not found:
        raise ValueError(f"no features named {record.id} in {source}")
    return found[0]


def _padded(record: ImageRecord, stem: str) -> list[str]:
    """COCO's 12 digits of a number, unless the file's name is another picture's number."""
    id, number = str(record.id), re.search(r"\d*$", stem)[0]
    is_another = number and number.lstrip("0") != id.lstrip("0")
    return [] if is_another or not id.isascii() or not id.isdigit() else [id.zfill(12)]


def require_size(size: int, name: str) -> None:
    """ValueError for an array of more bytes than the features of a picture can have."""
    if size > MAX_BYTES:
        raise ValueError(f"{name}: {size:,} bytes for one picture, more than {MAX_BYTES:,}")
