"""Captions of any number on their way to labels.h5: tokenised once, spooled to the disk, encoded.

In: records, in a stream. Out: the counts of the training words, then the rows that
label_row_writer writes. Memory holds the different words, and 20,000 pictures at a time.
"""

import json
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np

from prepro.annotations.records import ImageRecord
from prepro.storage.label_row_writer import encoded_rows
from prepro.storage.label_rows import json_of, record_of
from prepro.vocabulary import Tokens, Vocabulary, tokenize_captions

BLOCK = 20_000  # pictures
HELD_OUT = 5000  # pictures that are drawn for val, and as many for test, as in Karpathy's split


class LabelSpool:
    """The records of a stream with the numbers of their words. Files without names, in `folder`."""

    def __init__(self, folder: Path, records: Iterable[ImageRecord]) -> None:
        """Reads all of `records`. ValueError without pictures, or for splits of some only."""
        folder.mkdir(parents=True, exist_ok=True)
        self._records, self._flat, self._lengths = (
            tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
            for _ in range(3)
        )
        self._index: defaultdict[str, int] = defaultdict()
        self._index.default_factory = self._index.__len__
        self.splits: Counter[str] = Counter()
        self.captions = 0
        stream = iter(records)
        while block := list(islice(stream, BLOCK)):
            self._add(block)
        self.images = self.splits.total()
        self._words = list(self._index)
        self._is_drawn = self.splits.keys() <= {""}
        self._check()
        if self._is_drawn:
            self.splits = Counter(map(self._drawn, range(self.images)))

    def _add(self, records: Sequence[ImageRecord]) -> None:
        tokens = tokenize_captions([caption for record in records for caption in record.captions])
        table = np.array([self._index[word] for word in tokens.words], np.int32)
        self._flat.write(table[tokens.flat].tobytes() if len(table) else b"")
        self._lengths.write(tokens.lengths.tobytes())
        self._records.writelines(json.dumps(json_of(r)).encode() + b"\n" for r in records)
        self.splits.update(record.split for record in records)
        self.captions += len(tokens.lengths)

    def _check(self) -> None:
        if not self.images:
            raise ValueError("the annotations list no picture with a caption")
        if self._is_drawn and self.images < 3:
            raise ValueError(f"{self.images} pictures: too few to draw splits")
        if not self._is_drawn and self.splits[""]:
            raise ValueError(
                f"{self.splits['']:,} pictures without a split; name every file by its split, such "
                "as train-00000.tar, or none"
            )
        if not self._is_drawn and not self.splits["train"]:
            raise ValueError("no picture in the train split")

    def _drawn(self, row: int) -> str:
        """At most a tenth is held out for val, and as much for test, spread over all files."""
        every = min(max(10, self.images // HELD_OUT), self.images)
        return {1: "val", 2: "test"}.get(row % every, "train")

    def _blocks(self) -> Iterator[tuple[list[ImageRecord], Tokens]]:
        for file in (self._records, self._flat, self._lengths):
            file.seek(0)
        row = 0
        while lines := list(islice(self._records, BLOCK)):
            records = [record_of(json.loads(line), Path("spool")) for line in lines]
            if self._is_drawn:
                records = [replace(r, split=self._drawn(row + i)) for i, r in enumerate(records)]
            row += len(records)
            lengths = _read(self._lengths, sum(len(record.captions) for record in records))
            yield records, Tokens(self._words, _read(self._flat, int(lengths.sum())), lengths)

    def counts(self) -> Counter[str]:
        """How often each word occurs in the training captions."""
        total: Counter[str] = Counter()
        for records, tokens in self._blocks():
            is_train = [r.split == "train" for r in records for _ in r.captions]
            total.update(tokens.counts(np.array(is_train)))
        return total

    def longer_than(self, words: int) -> int:
        """The number of captions of more than so many words."""
        return sum(int((tokens.lengths > words).sum()) for _, tokens in self._blocks())

    def rows(self, vocabulary: Vocabulary) -> Iterator[tuple[ImageRecord, list[np.ndarray]]]:
        """Every record with the token ids of its captions."""
        for records, tokens in self._blocks():
            yield from encoded_rows(records, *tokens.encode(vocabulary))


def _read(file, count: int) -> np.ndarray:
    return np.frombuffer(file.read(4 * count), np.int32)
