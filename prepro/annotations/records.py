"""ImageRecord: an image with its captions, which every annotation format is converted to."""

from dataclasses import dataclass, field
from typing import NamedTuple


@dataclass(frozen=True)
class ImageRecord:
    """An image with its captions; `path` is relative to the image folder."""

    id: int | str
    path: str
    split: str
    captions: tuple[str, ...]
    tokens: tuple[tuple[str, ...], ...] | None = field(default=None, compare=False, repr=False)
    """the words of each caption, in a format that stores them with its own vocabulary"""


class StoredVocabulary(NamedTuple):
    """The vocabulary of an annotation file that stores captions as numbers."""

    words: tuple[str, ...]
    """words[i] has the number i + 1; "UNK" stands for all rare words"""
    max_length: int
    """words at which the captions were cut"""
