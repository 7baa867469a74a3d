"""Candidate captions beside their references, as numbers: what every metric is computed from.

In: captions by image id. Out: `Pairs`, whose words and n-grams are small integers in flat numpy
arrays. Words are numbered in sorted order, so no result depends on the order of the images.

Legend: N images, R references in all, S = R + N sentences (the references, then the candidates),
T words in all sentences, G distinct n-grams.

    pairs = pair({1: ["A dog runs.", "a dog"]}, {1: "a dog runs"})
    print(bleu(pairs).corpus, cider_d(pairs).per_image)
"""

import math
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Protocol

import numpy as np

from eval.tokenizer import tokenize_corpus

ORDERS = (1, 2, 3, 4)  # the n-grams that BLEU and CIDEr count


@dataclass(frozen=True)
class Scores:
    """The scores of one metric: of the corpus, and of each image in the order of `Pairs.ids`."""

    corpus: float
    per_image: np.ndarray  # (N,) float64
    parts: np.ndarray | None = None  # (N, P) what, summed over images, gives the corpus score
    combine: Callable[[np.ndarray], np.ndarray] | None = None  # (..., P) sums to (...) scores


def mean_scores(per_image: np.ndarray) -> Scores:
    """The scores of a metric whose corpus score is the mean over the images."""
    parts = np.stack([per_image, np.ones_like(per_image)], axis=1)
    corpus = math.fsum(per_image) / len(per_image)
    return Scores(corpus, per_image, parts, lambda sums: sums[..., 0] / sums[..., 1])


@dataclass(frozen=True)
class Text:
    """Sentences as word numbers."""

    words: np.ndarray  # (T,) int64, all sentences one after another
    lengths: np.ndarray  # (S,) int64
    vocabulary: tuple[str, ...]  # sorted

    @cached_property
    def sentence(self) -> np.ndarray:
        """(T,) int64: the sentence of each word."""
        return np.repeat(np.arange(len(self.lengths)), self.lengths)

    @cached_property
    def starts(self) -> np.ndarray:
        """(S,) int64: where each sentence begins in `words`."""
        return np.cumsum(self.lengths) - self.lengths

    def of(self, sentence: int) -> np.ndarray:
        """The words of one sentence."""
        return self.words[self.starts[sentence] :][: self.lengths[sentence]]


def encode(sentences: Sequence[Sequence[str]]) -> Text:
    """Number the words of tokenised sentences."""
    lengths = np.fromiter(map(len, sentences), np.int64, len(sentences))
    words = list(chain.from_iterable(sentences))
    vocabulary = tuple(sorted(set(words)))
    number = dict(zip(vocabulary, range(len(vocabulary)), strict=True))
    ids = np.fromiter(map(number.__getitem__, words), np.int64, len(words))
    return Text(ids, lengths, vocabulary)


@dataclass(frozen=True)
class Grams:
    """The n-grams of one order, counted in every sentence, an entry each; sorted by image, gram."""

    types: np.ndarray  # (G,) int64, sorted: the (n-1)-gram before * vocabulary + the last word
    ref_sentence: np.ndarray  # (E,) int64, below R
    ref_gram: np.ndarray  # (E,) int64, below G
    ref_count: np.ndarray  # (E,) int64, how often the n-gram occurs in the sentence
    match: np.ndarray  # (E,) int64: the entry of the same gram in the image's candidate, or -1
    cand_image: np.ndarray  # (F,) int64, below N
    cand_gram: np.ndarray  # (F,) int64
    cand_count: np.ndarray  # (F,) int64
    images_with: np.ndarray  # (G,) int64: in how many images' references the gram occurs


class DocumentFrequencies(Protocol):
    """The document frequencies of a reference set; see `eval.metrics.document_frequencies`."""

    @property
    def images(self) -> int: ...
    def look_up(self, pairs: "Pairs", order: int) -> np.ndarray: ...


class Pairs:
    """Tokenised references and candidates of N images, encoded once and counted when asked.

    `references[i]` and `candidates[i]` belong to `ids[i]`; tokens are those of `eval.tokenizer`.
    With `frequencies` None, CIDEr takes its document frequencies from these references.
    """

    def __init__(
        self,
        ids: Sequence[Hashable],
        references: Sequence[Sequence[Sequence[str]]],
        candidates: Sequence[Sequence[str]],
        frequencies: DocumentFrequencies | None = None,
    ):
        assert len(ids) == len(references) == len(candidates)
        self.ids = tuple(ids)
        self.per_image = np.fromiter(map(len, references), np.int64, len(ids))  # (N,)
        self.first_of = np.cumsum(self.per_image) - self.per_image  # (N,) its first reference
        self.image_of = np.repeat(np.arange(len(ids)), self.per_image)  # (R,)
        self.tokens = [*chain.from_iterable(references), *candidates]  # S lists of words
        self.frequencies = frequencies
        self._grams: dict[int, Grams] = {}

    @property
    def n_references(self) -> int:
        """R."""
        return len(self.image_of)

    def by_image(self) -> Iterator[tuple[list[Sequence[str]], Sequence[str]]]:
        """Yield the tokenised references and the tokenised candidate of each image."""
        for image, (first, count) in enumerate(zip(self.first_of, self.per_image, strict=True)):
            yield self.tokens[first : first + count], self.tokens[self.n_references + image]

    @cached_property
    def whole(self) -> Text:
        """The tokens as they are; a caption without words is one empty word, as ROUGE has it."""
        return encode([words or ("",) for words in self.tokens])

    @cached_property
    def text(self) -> Text:
        """The words that BLEU and CIDEr see: a token with a space inside, "2 1/2", is several."""
        plain = self.whole.vocabulary
        if all(word.split() == [word] for word in plain):
            return self.whole
        return encode([" ".join(words).split() for words in self.tokens])

    def grams(self, order: int) -> Grams:
        """The n-grams of `order` words, counted; orders are computed from 1 upwards, and kept."""
        if order not in self._grams:
            self._count()
        return self._grams[order]

    def _count(self) -> None:
        """Number the n-grams of each order: one n-gram is the (n-1)-gram before and a word."""
        text, vocabulary = self.text, len(self.text.vocabulary)
        position, gram, types = np.arange(len(text.words)), text.words, np.arange(vocabulary)
        left = (text.starts + text.lengths - 1)[
            text.sentence
        ] - position  # words after it, to the end
        for order in ORDERS:
            if order > 1:
                room = left[position] >= order - 1
                position = position[room]
                types, gram = _number(gram[room] * vocabulary + text.words[position + order - 1])
            self._grams[order] = self._table(text.sentence[position], gram, types)

    def _table(self, sentence: np.ndarray, gram: np.ndarray, types: np.ndarray) -> Grams:
        """Count (image, gram, reference) in one sort; a key is the three in one integer."""
        split = np.searchsorted(sentence, self.n_references)
        image, bits = self.image_of[sentence[:split]], len(types).bit_length()
        number = sentence[:split] - self.first_of[image]  # of the reference, in its image
        most = int(self.per_image.max(initial=0)).bit_length()
        assert len(self.ids).bit_length() + bits + most < 63
        key, ref_count = _tally((image << bits | gram[:split]) << most | number)
        ref_key, number = key >> most, key & ((1 << most) - 1)
        ref_image, ref_gram = ref_key >> bits, ref_key & ((1 << bits) - 1)
        own = (sentence[split:] - self.n_references) << bits | gram[split:]
        cand_key, cand_count = _tally(own)
        return Grams(
            types,
            self.first_of[ref_image] + number,
            ref_gram,
            ref_count,
            find(ref_key, cand_key),
            cand_key >> bits,
            cand_key & ((1 << bits) - 1),
            cand_count,
            np.bincount(ref_gram[_changes(ref_key)], minlength=len(types)),
        )


def _number(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct keys in order, and the position of each key among them.

    As np.unique with return_inverse; a key and its position in one integer sort several times
    faster than positions are sorted by their keys.
    """
    bits = len(keys).bit_length()
    if keys.max(initial=0) >= 1 << (62 - bits):
        return np.unique(keys, return_inverse=True)
    packed = np.sort(keys << bits | np.arange(len(keys)))
    ordered = packed >> bits
    new = _changes(ordered)
    inverse = np.empty(len(keys), np.int64)
    inverse[packed & ((1 << bits) - 1)] = np.cumsum(new) - 1
    return ordered[new], inverse


def _tally(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct keys in order, and how often each occurs."""
    keys = np.sort(keys)
    starts = np.flatnonzero(_changes(keys))
    return keys[starts], np.diff(starts, append=len(keys))


def _changes(keys: np.ndarray) -> np.ndarray:
    """Whether each key differs from the one before; the first does."""
    new = np.ones(len(keys), bool)
    np.not_equal(keys[1:], keys[:-1], out=new[1:])
    return new


def find(keys: np.ndarray, table: np.ndarray) -> np.ndarray:
    """The index of each key in the sorted table, or -1."""
    if not len(table):
        return np.full(len(keys), -1)
    position = np.minimum(np.searchsorted(table, keys), len(table) - 1)
    return np.where(table[position] == keys, position, -1)


def pair(
    references: Mapping[Hashable, Sequence[str]],
    candidates: Mapping[Hashable, str | Sequence[str]],
    coco_exact: bool = False,
    frequencies: DocumentFrequencies | None = None,
) -> Pairs:
    """Tokenise captions by image id; the ids of `candidates` say which images count.

    `coco_exact` tokenises in the order of the two mappings, as the official tool does (see
    `eval.tokenizer.tokenize_corpus`). Raises KeyError for an id without references, ValueError
    for an image without a reference or with several candidates.
    """
    ids = tuple(candidates)
    empty = [image for image in ids if not references[image]]
    if empty:
        raise ValueError(f"image {empty[0]!r} has no reference")
    captions = [only(image, candidates[image]) for image in ids]
    flat = tokenize_corpus([*chain.from_iterable(references[i] for i in ids)], coco_exact)
    ends = np.cumsum([len(references[image]) for image in ids]).tolist()
    grouped = [flat[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    return Pairs(ids, grouped, tokenize_corpus(captions, coco_exact), frequencies)


def only(image: Hashable, captions: str | Sequence[str]) -> str:
    """The one candidate of an image, given as it is or in a list."""
    if isinstance(captions, str):
        return captions
    if len(captions) != 1:
        raise ValueError(f"image {image!r} has {len(captions)} candidate captions; one is scored")
    return captions[0]
