"""METEOR's paraphrase table as arrays, built once in the user's cache.

In: paraphrase-en.gz, 5.3 million pairs of phrases of one to seven words. Out: `Paraphrases`.

A phrase is a node of a trie: node 0 is the empty phrase, and the phrases of n words are numbered
in the order of (the node of the first n-1 words) * words + the last word. The index is one .npz
file: `words` (UTF-8, one a line), `keys1` .. `keys7` int64 (sorted), `first` int64 (sorted), and
`second` int64, the two nodes of each pair; pairs of one first phrase are in the table's order.
"""

import gzip
import os
import sys
import zipfile
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eval.files import whole_file
from eval.metrics.ngram_counts import find
from eval.results_provenance import file_sha256

LONGEST = 7  # words of a phrase


@dataclass(frozen=True)
class Paraphrases:
    """The table."""

    words: dict[str, int]
    keys: tuple[np.ndarray, ...]  # by length - 1, sorted int64
    first: np.ndarray  # (P,) int32, sorted
    second: np.ndarray  # (P,) int32

    def nodes(self, words: np.ndarray, left: np.ndarray) -> list[np.ndarray]:
        """By length, (T,) the node of the phrase that begins at each word, -1 where none does.

        `words` (T,) are numbers of words or -1; `left` (T,) says how many words the sentence has
        from each word on.
        """
        node, found, offset = np.zeros(len(words), np.int64), [], 1
        for length, keys in enumerate(self.keys):
            last = np.append(words[length:], np.full(min(length, len(words)), -1))
            key = node * len(self.words) + last
            position = find(key, keys)
            known = (node >= 0) & (last >= 0) & (left > length) & (position >= 0)
            node = np.where(known, position + offset, -1)
            found.append(node)
            offset += len(keys)
        return found

    def among(self, nodes: np.ndarray) -> dict[int, dict[int, int]]:
        """By phrase, its paraphrases and their ranks in the table; both phrases are in `nodes`."""
        begin, end = (np.searchsorted(self.first, nodes, side) for side in ("left", "right"))
        count = end - begin
        pair = np.repeat(begin - np.cumsum(count) + count, count) + np.arange(count.sum())
        pair = pair[np.isin(self.second[pair], nodes)]
        found: dict[int, dict[int, int]] = {}
        for rank, first, second in zip(
            pair.tolist(), self.first[pair].tolist(), self.second[pair].tolist(), strict=True
        ):
            found.setdefault(first, {})[second] = rank
        return found


def paraphrases(table: Path) -> Paraphrases:
    """The table from its index; the first call writes the index, half a minute's work."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    path = cache / "resnet-caption" / f"meteor-paraphrases-{file_sha256(table)[:16]}.npz"
    if not path.is_file():
        print(f"METEOR: writing the index of its paraphrases, {path} (once)", file=sys.stderr)
        build(table, path)
    try:
        with np.load(path, allow_pickle=False) as file:
            words = file["words"].tobytes().decode("utf-8").split("\n")
            keys = tuple(file[f"keys{n}"] for n in range(1, LONGEST + 1))
            number = {word: index for index, word in enumerate(words)}
            return Paraphrases(number, keys, file["first"], file["second"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        raise ValueError(f"{path}: not an index of METEOR's paraphrases; delete it") from None


def build(table: Path, path: Path) -> None:
    """Write the index, whole or not at all."""
    number: dict[bytes, int] = {}
    words, lengths = array("i"), array("b")
    with gzip.open(table, "rb") as file:
        for _probability in file:  # three lines a pair
            for _ in range(2):
                phrase = file.readline().split()
                lengths.append(len(phrase))
                words.extend([number.setdefault(word, len(number)) for word in phrase])
    keys, nodes = _trie(
        np.frombuffer(words, np.int32), np.frombuffer(lengths, np.int8), len(number)
    )
    order = np.argsort(nodes[::2], kind="stable")
    arrays = {f"keys{n}": level for n, level in enumerate(keys, 1)}
    with whole_file(path) as partial, open(partial, "wb") as out:
        text = np.frombuffer(b"\n".join(number), np.uint8)
        np.savez(out, words=text, first=nodes[::2][order], second=nodes[1::2][order], **arrays)


def _trie(
    words: np.ndarray, lengths: Sequence[int], vocabulary: int
) -> tuple[list[np.ndarray], np.ndarray]:
    """The keys of each level, and (phrases,) int32 the node of each phrase."""
    starts = np.cumsum(lengths, dtype=np.int64) - lengths
    node, keys, offset = np.zeros(len(starts), np.int32), [], 1
    for length in range(LONGEST):
        longer = np.flatnonzero(lengths > length)
        key = node[longer].astype(np.int64) * vocabulary + words[starts[longer] + length]
        level, position = np.unique(key, return_inverse=True)
        node[longer] = position + offset
        keys.append(level)
        offset += len(level)
    return keys, node
