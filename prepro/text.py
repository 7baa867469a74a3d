"""The vocabulary: token lists in, integer labels out, and back to a sentence.

The tokenizer is `eval.tokenizer`, the one that scores use, so that a word means the same thing in
training and in evaluation. Index 0 is begin, end and padding at once, as in self-critical.pytorch;
words start at 1; UNK, if any word is rare, is the last.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from eval.tokenizer import detokenize

UNK = "UNK"


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


def build(captions: Iterable[Sequence[str]], min_count: int) -> tuple[Vocabulary, Counter]:
    """The words that occur more than `min_count` times (neuraltalk2's rule), by falling count.

    Returns the vocabulary and the counts of all words.
    """
    counts: Counter = Counter()
    for tokens in captions:
        counts.update(tokens)
    kept = [word for word, count in counts.items() if count > min_count and word != UNK]
    kept.sort(key=lambda word: (-counts[word], word))
    rare = len(kept) < len(counts)
    return Vocabulary((*kept, UNK) if rare else tuple(kept)), counts
