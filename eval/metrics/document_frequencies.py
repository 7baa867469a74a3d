"""Document frequencies: in how many images' references each n-gram occurs; CIDEr weighs by them.

In: `Pairs`, or a file written by `--save-df`. Out: `Frequencies`, or that file: a NumPy .npz with

    images                   N, the images that were counted
    vocabulary               the words in order, UTF-8, one a line
    grams1 .. grams4 int64   sorted; an n-gram is (its first n-1 words' position among the
                             (n-1)-grams) * words + its last word; grams1 is 0, 1, 2, ...
    counts1 .. counts4 int64 the images of each n-gram
"""

import os
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eval.files import whole_file
from eval.metrics.ngram_counts import ORDERS, Pairs, find


@dataclass(frozen=True)
class Frequencies:
    """Document frequencies of a set of reference captions."""

    images: int
    vocabulary: tuple[str, ...]
    grams: tuple[np.ndarray, ...]  # by order, (G,) int64 as in the file
    counts: tuple[np.ndarray, ...]  # by order, (G,) int64

    def look_up(self, pairs: Pairs, order: int) -> np.ndarray:
        """(G,) int64: the images of each n-gram of `pairs`, 0 for one that is not known."""
        counts = np.append(self.counts[order - 1], 0)  # where -1 points to
        return counts[self._positions(pairs, order)]

    def _positions(self, pairs: Pairs, order: int) -> np.ndarray:
        """(G,) int64: the index in `grams` of each n-gram of `pairs`, or -1."""
        number = {word: position for position, word in enumerate(self.vocabulary)}
        words = np.array([number.get(word, -1) for word in pairs.text.vocabulary], np.int64)
        if order == 1:
            return words
        before, last = np.divmod(pairs.grams(order).types, len(words))
        before, last = self._positions(pairs, order - 1)[before], words[last]
        position = find(before * len(self.vocabulary) + last, self.grams[order - 1])
        return np.where(last >= 0, position, -1)  # negative, and so not found, if `before` is


def count(pairs: Pairs) -> Frequencies:
    """The document frequencies of the references in `pairs`."""
    grams, counts, words = [], [], len(pairs.text.vocabulary)
    position = np.zeros(1, np.int64)  # of the (n-1)-grams among those that references have
    vocabulary: tuple[str, ...] = ()
    for order in ORDERS:
        table = pairs.grams(order)
        used = table.images_with > 0
        before, last = np.divmod(table.types[used], words)
        if order == 1:
            vocabulary = tuple(pairs.text.vocabulary[word] for word in last)
            number = np.cumsum(used) - 1
            grams.append(np.arange(len(vocabulary)))
        else:
            grams.append(position[before] * len(vocabulary) + number[last])
        position = np.cumsum(used) - 1
        counts.append(table.images_with[used])
    return Frequencies(len(pairs.ids), vocabulary, tuple(grams), tuple(counts))


def save(frequencies: Frequencies, path: str | os.PathLike) -> None:
    """Write the file, whole or not at all."""
    text = "\n".join(frequencies.vocabulary).encode("utf-8", "surrogatepass")
    arrays = {f"grams{order}": frequencies.grams[order - 1] for order in ORDERS}
    arrays |= {f"counts{order}": frequencies.counts[order - 1] for order in ORDERS}
    with whole_file(path) as partial, open(partial, "wb") as file:
        vocabulary = np.frombuffer(text, np.uint8)
        np.savez_compressed(file, images=frequencies.images, vocabulary=vocabulary, **arrays)


def load(path: str | os.PathLike) -> Frequencies:
    """Read a file that `save` wrote; ValueError when it is something else."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        with np.load(path, allow_pickle=False) as file:
            words = file["vocabulary"].tobytes().decode("utf-8", "surrogatepass")
            grams = tuple(file[f"grams{order}"].astype(np.int64) for order in ORDERS)
            counts = tuple(file[f"counts{order}"].astype(np.int64) for order in ORDERS)
            images = int(file["images"])
    except (ValueError, KeyError, TypeError, EOFError, OSError, zipfile.BadZipFile):
        raise ValueError(f"{path}: not document frequencies written by --save-df") from None
    vocabulary = tuple(words.split("\n")) if words else ()
    if images < 1 or [len(g) for g in grams] != [len(c) for c in counts]:
        raise ValueError(f"{path}: the document frequencies are damaged")
    return Frequencies(images, vocabulary, grams, counts)
