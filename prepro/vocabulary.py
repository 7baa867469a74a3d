"""The vocabulary: token lists in, integer labels out, and back to a sentence.

The tokenizer is `eval.tokenizer`, the one that scores use, so that a word means the same thing in
training and in evaluation. Index 0 is begin, end and padding at once, as in self-critical.pytorch;
words start at 1; UNK, if any word is rare, is the last.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from eval.tokenizer import detokenize, tokenize, words_alone

UNK = "UNK"
CHUNK = 50_000  # captions that are tokenised at a time, so that memory stays small


@dataclass(frozen=True)
class Vocabulary:
    """V words; word i has the index i + 1, and the model has V + 1 classes."""

    words: tuple[str, ...]
    index: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "index", {word: i for i, word in enumerate(self.words, 1)})
        if len(self.index) != len(self.words):
            raise ValueError("the vocabulary holds a word twice")

    def __len__(self) -> int:
        return len(self.words)

    @property
    def classes(self) -> int:
        return len(self.words) + 1

    @property
    def unk(self) -> int:
        """The index of UNK, or 0 when every training word was frequent enough to have its own."""
        return self.index.get(UNK, 0)

    @property
    def sha256(self) -> str:
        return hashlib.sha256("\n".join(self.words).encode()).hexdigest()

    def encode(self, tokens: Iterable[str]) -> list[int]:
        """Indices of the tokens; an unknown one is UNK, or left out when there is no UNK."""
        indices = (self.index.get(token, self.unk) for token in tokens)
        return [index for index in indices if index]

    def decode(self, indices: Iterable[int]) -> list[str]:
        """The words up to the first 0."""
        words = []
        for index in indices:
            if index == 0:
                break
            words.append(self.words[index - 1])
        return words

    def sentence(self, indices: Iterable[int]) -> str:
        """One line of text that the tokenizer splits into the same words again."""
        return detokenize(self.decode(indices))


@dataclass(frozen=True)
class Tokens:
    """Tokenised captions as numbers: M captions, T tokens in all, W different words."""

    words: list[str]
    """W, no two alike"""
    flat: np.ndarray
    """(T,) int32, positions in `words`, caption after caption"""
    lengths: np.ndarray
    """(M,) int32, tokens of each caption"""

    def counts(self, chosen: np.ndarray) -> Counter:
        """How often each word occurs in the captions where `chosen` (M,) is True."""
        wanted = self.flat[np.repeat(chosen, self.lengths)]
        found = np.bincount(wanted, minlength=len(self.words))
        return Counter({word: n for word, n in zip(self.words, found.tolist(), strict=True) if n})

    def encode(self, vocabulary: "Vocabulary") -> tuple[np.ndarray, np.ndarray]:
        """Vocabulary.encode of all captions: indices (T',) uint32, and the lengths (M,)."""
        get = vocabulary.index.get
        table = np.array([get(word, vocabulary.unk) for word in self.words], np.uint32)
        indices = table[self.flat] if len(table) else np.zeros(0, np.uint32)
        kept = indices > 0
        caption = np.repeat(np.arange(len(self.lengths)), self.lengths)[kept]
        return indices[kept], np.bincount(caption, minlength=len(self.lengths))


def tokenize_captions(captions: Sequence[str]) -> Tokens:
    """`tokenize` of many captions, where each different piece between spaces is read once."""
    chunks = (captions[start : start + CHUNK] for start in range(0, len(captions), CHUNK))
    return _join([_number(chunk) for chunk in chunks])


def _number(captions: Sequence[str]) -> Tokens:
    # P pieces between spaces, all captions' one after the other
    pieces = _numbering()
    ids = np.fromiter(map(pieces.__getitem__, " ".join(captions).split(" ")), np.int64)
    row = np.repeat(np.arange(len(captions)), [caption.count(" ") + 1 for caption in captions])
    alone = [words_alone(piece) for piece in pieces]
    # A caption with a piece whose words hang on its neighbours becomes one piece, the first.
    odd = np.unique(row[np.array([words is None for words in alone])[ids]])
    ids[np.isin(row, odd)] = len(alone)
    ids[np.searchsorted(row, odd)] = np.arange(len(odd)) + len(alone) + 1
    words_of = [*(words or [] for words in alone), [], *(tokenize(captions[i]) for i in odd)]
    # from pieces to words
    index = _numbering()
    table = np.array([index[word] for words in words_of for word in words], np.int32)
    sizes = np.array([len(words) for words in words_of])
    starts, counts = (np.cumsum(sizes) - sizes)[ids], sizes[ids]  # (P,)
    place = np.arange(counts.sum()) + np.repeat(starts - np.cumsum(counts) + counts, counts)
    lengths = np.bincount(row, counts, len(captions)).astype(np.int32)
    return Tokens(list(index), table[place], lengths)


def _numbering() -> defaultdict[str, int]:
    """Gives every new key the next number."""
    index: defaultdict[str, int] = defaultdict()
    index.default_factory = index.__len__
    return index


def _join(parts: Sequence[Tokens]) -> Tokens:
    words = list(dict.fromkeys(word for part in parts for word in part.words))
    index = {word: i for i, word in enumerate(words)}
    flat = [np.array([index[w] for w in p.words], np.int32)[p.flat] for p in parts if p.words]
    lengths = np.concatenate([part.lengths for part in parts])
    return Tokens(words, np.concatenate(flat) if flat else np.zeros(0, np.int32), lengths)


def vocabulary_from_captions(
    captions: Iterable[Sequence[str]], min_count: int
) -> tuple[Vocabulary, Counter]:
    """The vocabulary of tokenised captions, and the counts of all their words."""
    counts: Counter = Counter()
    for tokens in captions:
        counts.update(tokens)
    return vocabulary_from_counts(counts, min_count), counts


def vocabulary_from_counts(counts: Counter, min_count: int) -> Vocabulary:
    """The words that occur more than `min_count` times (neuraltalk2's rule), by falling count."""
    kept = [word for word, count in counts.items() if count > min_count and word != UNK]
    kept.sort(key=lambda word: (-counts[word], word))
    return Vocabulary((*kept, UNK) if len(kept) < len(counts) else tuple(kept))
