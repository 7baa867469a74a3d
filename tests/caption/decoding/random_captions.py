"""Random captions as a data folder holds them, for the tests of reward and self-critical loss."""

from pathlib import Path

import numpy as np

from prepro.annotations.records import ImageRecord
from prepro.storage.label_file import Labels
from prepro.vocabulary import Vocabulary


def labels(captions: list[list[list[int]]], words: tuple[str, ...], longest: int, **more) -> Labels:
    """`captions`: of each image, lists of word indices, cut off after `longest` words.

    `splits`: of each image; train by default.
    """
    splits = more.get("splits", ["train"] * len(captions))
    flat = [caption[:longest] for some in captions for caption in some]
    ends = np.cumsum([len(some) for some in captions])
    table = np.zeros((len(flat), longest), np.uint32)
    for row, caption in zip(table, flat, strict=True):
        row[: len(caption)] = caption
    records = [ImageRecord(i, f"{i}.jpg", split, ()) for i, split in enumerate(splits)]
    ranges = np.stack([np.append(0, ends[:-1]), ends], 1)
    lengths = np.array([len(caption) for caption in flat])
    return Labels(Path(), Path(), Vocabulary(words), tuple(records), table, lengths, ranges)


def random_captions(images: int, words: int, longest: int, seed: int) -> list[list[list[int]]]:
    """1 to 5 captions an image of 0 to `longest` words, few words, so that n-grams repeat."""
    rng = np.random.default_rng(seed)
    return [
        [rng.integers(1, words + 1, rng.integers(0, longest + 1)).tolist() for _ in range(count)]
        for count in rng.integers(1, 6, images)
    ]


def tokens(row: list[int]) -> list[int]:
    """A row's words and its end, the 0; a row without a 0 was cut off and has none."""
    row = list(map(int, row))
    return row[: row.index(0) + 1] if 0 in row else row
