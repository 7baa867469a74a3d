"""The vocabulary: words to token ids, and token ids to a sentence.

Training and evaluation use one tokenizer, `eval.tokenizer`. Id 0 is BOS, EOS and padding at once,
as in self-critical.pytorch; words start at 1; UNK, the token for all rare words, is the last, and
missing when no word is rare.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from eval.tokenizer import detokenize, tokenize, words_alone

UNK = "UNK"
CHUNK = 50_000  # captions tokenised at a time, which limits memory


@dataclass(frozen=True)
class Vocabulary:
    """V words; words[i] has the id i + 1, and the model has V + 1 classes."""

    words: tuple[str, ...]
    index: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "index", {word: i for i, word in enumerate(self.words, 1)})
        if len(self.index) != len(self.words):
            raise ValueError("the vocabulary has a word twice")

    def __len__(self) -> int:
        return len(self.words)

    @property
    def classes(self) -> int:
        return len(self.words) + 1

    @property
    def unk(self) -> int:
        """The id of UNK, or 0 when no training word is rare."""
        return self.index.get(UNK, 0)

    @property
    def sha256(self) -> str:
        return hashlib.sha256("\n".join(self.words).encode()).hexdigest()

    def encode(self, words: Iterable[str]) -> list[int]:
        """Ids of the words; an unknown word becomes UNK, or is dropped without UNK."""
        indices = (self.index.get(word, self.unk) for word in words)
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
        """The caption as text, which the tokenizer splits into the same words."""
        return detokenize(self.decode(indices))


@dataclass(frozen=True)
class Tokens:
    """M tokenised captions as numbers: T tokens in all, W different words."""

    words: list[str]
    """(W,) different words"""
    flat: np.ndarray
    """(T,) int32, indices into `words`, caption after caption"""
    lengths: np.ndarray
    """(M,) int32, tokens of each caption"""

    def counts(self, chosen: np.ndarray) -> Counter:
        """How often each word occurs in the captions where `chosen` (M,) is True."""
        wanted = self.flat[np.repeat(chosen, self.lengths)]
        found = np.bincount(wanted, minlength=len(self.words))
        return Counter({word: n for word, n in zip(self.words, found.tolist(), strict=True) if n})

    def encode(self, vocabulary: "Vocabulary") -> tuple[np.ndarray, np.ndarray]:
        """Vocabulary.encode of all captions: ids (T',) uint32 and lengths (M,)."""
        get = vocabulary.index.get
        table = np.array([get(word, vocabulary.unk) for word in self.words], np.uint32)
        indices = table[self.flat] if len(table) else np.zeros(0, np.uint32)
        kept = indices > 0
        caption = np.repeat(np.arange(len(self.lengths)), self.lengths)[kept]
        return indices[kept], np.bincount(caption, minlength=len(self.lengths))


def tokenize_captions(captions: Sequence[str]) -> Tokens:
    """`tokenize` many captions; each different piece of text between spaces is tokenised once."""
    chunks = (captions[start : start + CHUNK] for start in range(0, len(captions), CHUNK))
    return _join([_number(chunk) for chunk in chunks])


def tokens_of(captions: Sequence[Sequence[str]]) -> Tokens:
    """Captions that are words already."""
    index = _numbering()
    flat = np.array([index[word] for words in captions for word in words], np.int32)
    return Tokens(list(index), flat, np.array([len(words) for words in captions], np.int32))


def _number(captions: Sequence[str]) -> Tokens:
    # P pieces of text between spaces, caption after caption
    pieces = _numbering()
    ids = np.fromiter(map(pieces.__getitem__, " ".join(captions).split(" ")), np.int64)
    row = np.repeat(np.arange(len(captions)), [caption.count(" ") + 1 for caption in captions])
    alone = [words_alone(piece) for piece in pieces]
    # A piece may depend on its neighbours (words_alone is None): its caption becomes one piece.
    odd = np.unique(row[np.array([words is None for words in alone])[ids]])
    ids[np.isin(row, odd)] = len(alone)
    ids[np.searchsorted(row, odd)] = np.arange(len(odd)) + len(alone) + 1
    words_of = [*(words or [] for words in alone), [], *(tokenize(captions[i]) for i in odd)]
    # from pieces to words
    index = _numbering()
    table = np.array([index[word] for words in words_of for word in words], np.int32)
    sizes = np.array([len(words) for words in words_of])
    starts, counts = (np.cumsum(sizes) - sizes)[ids], sizes[ids]  # (P,)
    index_of = np.arange(counts.sum()) + np.repeat(starts - np.cumsum(counts) + counts, counts)
    lengths = np.bincount(row, counts, len(captions)).astype(np.int32)
    return Tokens(list(index), table[index_of], lengths)


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
    """The words that occur more than `min_count` times (as in neuraltalk2), frequent ones first."""
    kept = [word for word, count in counts.items() if count > min_count and word != UNK]
    kept.sort(key=lambda word: (-counts[word], word))
    return Vocabulary((*kept, UNK) if len(kept) < len(counts) else tuple(kept))
