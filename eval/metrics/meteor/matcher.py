"""What can match between a candidate and a reference: words of one form, stem or sense, phrases.

In: all sentences, once. Out: the possible matches of any two of them, for `aligner.best`.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from eval.metrics.meteor.lexicon import EXACT, PARAPHRASE, Lexicon, java_hash
from eval.metrics.meteor.paraphrases import Paraphrases


class Match(NamedTuple):
    """Words of the reference, words of the candidate, and the stage that found them."""

    start: int  # in the reference
    length: int
    other: int  # in the candidate
    other_length: int
    stage: int


@dataclass(frozen=True)
class Sentence:
    """A sentence, and where its words and phrases are."""

    hashes: tuple[int, ...]
    words: tuple[str, ...]
    positions: dict[str, list[int]]
    phrases: list[tuple[int, int]]  # (position, node) of those that have paraphrases, in order
    phrase_positions: dict[int, list[int]]


class Matcher:
    """The matches among some sentences."""

    def __init__(
        self, sentences: Iterable[Sequence[str]], lexicon: Lexicon, paraphrases: Paraphrases
    ):
        distinct = list(dict.fromkeys(map(tuple, sentences)))
        self.partners = lexicon.partners(word for words in distinct for word in words)
        self.hashes = {word: java_hash(word) for word in self.partners}
        phrases, self.lengths = _phrases(distinct, paraphrases)
        self.paraphrases = paraphrases.among(np.array(sorted(self.lengths), np.int64))
        targets = {node for others in self.paraphrases.values() for node in others}
        self.sentences = {
            words: self._sentence(words, found, targets)
            for words, found in zip(distinct, phrases, strict=True)
        }

    def _sentence(
        self, words: tuple[str, ...], phrases: list[tuple[int, int]], targets: set[int]
    ) -> Sentence:
        positions: dict[str, list[int]] = {}
        for position, word in enumerate(words):
            positions.setdefault(word, []).append(position)
        phrase_positions: dict[int, list[int]] = {}
        for position, node in phrases:
            if node in targets:
                phrase_positions.setdefault(node, []).append(position)
        used = [found for found in phrases if found[1] in self.paraphrases]
        return Sentence(
            tuple(self.hashes[w] for w in words), words, positions, used, phrase_positions
        )

    def matches(self, candidate: Sequence[str], reference: Sequence[str]) -> list[list[Match]]:
        """By position in the reference, the matches that begin there, in the order of METEOR's."""
        first, second = self.sentences[tuple(candidate)], self.sentences[tuple(reference)]
        if first.hashes == second.hashes:  # METEOR then looks for exact matches only
            return [
                self._words(word, start, first, EXACT) for start, word in enumerate(second.words)
            ]
        found = [
            self._words(word, start, first, PARAPHRASE) for start, word in enumerate(second.words)
        ]
        for start, length, other, other_length in self._paraphrases(second, first):
            found[start].append(Match(start, length, other, other_length, PARAPHRASE))
        for other, other_length, start, length in self._paraphrases(first, second):
            found[start].append(Match(start, length, other, other_length, PARAPHRASE))
        return found

    def _words(self, word: str, start: int, candidate: Sentence, last: int) -> list[Match]:
        """The matches of one word, up to stage `last`."""
        partners = self.partners[word]
        found = [
            (stage, other)
            for same in partners.keys() & candidate.positions.keys()
            for stage in partners[same]
            if stage <= last
            for other in candidate.positions[same]
        ]
        found.sort()
        return [Match(start, 1, other, 1, stage) for stage, other in found]

    def _paraphrases(self, one: Sentence, two: Sentence) -> Iterator[tuple[int, int, int, int]]:
        """(position, length) in `one` of each phrase with a paraphrase in `two`, and its there."""
        if not two.phrase_positions:
            return
        for position, node in one.phrases:
            ranks = self.paraphrases[node]
            for other in sorted(ranks.keys() & two.phrase_positions.keys(), key=ranks.__getitem__):
                for other_position in two.phrase_positions[other]:
                    yield position, self.lengths[node], other_position, self.lengths[other]


def _phrases(
    sentences: Sequence[tuple[str, ...]], paraphrases: Paraphrases
) -> tuple[list[list[tuple[int, int]]], dict[int, int]]:
    """By sentence, (position, node) of each phrase, short ones first; and the nodes' lengths."""
    counts = np.array([len(words) for words in sentences], np.int64)
    number = paraphrases.words
    words = np.array([number.get(w, -1) for sentence in sentences for w in sentence], np.int64)
    sentence = np.repeat(np.arange(len(counts)), counts)  # (T,)
    position = np.arange(len(words)) - (np.cumsum(counts) - counts)[sentence]  # (T,)
    found: list[list[tuple[int, int]]] = [[] for _ in sentences]
    lengths: dict[int, int] = {}
    levels = np.stack(paraphrases.nodes(words, counts[sentence] - position), 1)  # (T, LONGEST)
    token, level = np.nonzero(levels >= 0)  # in the order of tokens, then of lengths
    nodes = levels[token, level].tolist()
    lengths = dict(zip(nodes, (level + 1).tolist(), strict=True))
    for index, start, node in zip(
        sentence[token].tolist(), position[token].tolist(), nodes, strict=True
    ):
        found[index].append((start, node))
    return found, lengths
