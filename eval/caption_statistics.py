"""What a score does not show: are the captions varied, finished, and new?

In: tokenised captions, one an image. Out: `CaptionStatistics`. Shares are of all captions, 0..1.
"""

import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass

# Words that no English caption ends with, from the list of self-critical.pytorch (Luo et al. 2018).
BAD_ENDINGS = frozenset(
    "with in on of a at to for an this his her that the and or is are from by into".split()
)
LOW_UNIQUE = 0.25  # share of different captions below which caption_warnings has a warning


@dataclass(frozen=True)
class CaptionStatistics:
    """Statistics of captions, without their references."""

    captions: int
    empty: float  # share without a word
    unique: float  # different captions / captions
    vocabulary: int  # different words used
    mean_length: float  # in words
    bad_endings: float  # share that ends in a word no sentence ends with
    repeated: float  # share in which two words in a row come again, or one word comes twice running
    novel: float | None  # share that is no training caption; None without training captions
    training_vocabulary_used: float | None  # share of the training words that is used


def caption_statistics(
    candidates: Sequence[Sequence[str]], training: Collection[Sequence[str]] | None = None
) -> CaptionStatistics:
    """The statistics of `candidates`; `training` holds tokenised captions, as tuples or lists.

    Raises ValueError when there is no caption.
    """
    if not candidates:
        raise ValueError("no captions to examine")
    captions = [tuple(words) for words in candidates]
    seen = None if training is None else {tuple(words) for words in training}
    used = {word for words in captions for word in words}
    known = {word for words in seen for word in words} if seen else set()
    return CaptionStatistics(
        captions=len(captions),
        empty=_share(captions, lambda words: not words),
        unique=len(set(captions)) / len(captions),
        vocabulary=len(used),
        mean_length=sum(map(len, captions)) / len(captions),
        bad_endings=_share(captions, lambda words: bool(words) and words[-1] in BAD_ENDINGS),
        repeated=_share(captions, repeats),
        novel=None if seen is None else _share(captions, lambda words: words not in seen),
        training_vocabulary_used=len(used & known) / len(known) if known else None,
    )


def caption_warnings(captions: Sequence[str]) -> list[str]:
    """What to suspect of these captions, one an image: that they are empty, or nearly all equal."""
    said = [text for text in captions if text.strip()]
    empty, different = len(captions) - len(said), len(set(said))
    found = [f"{empty:,} of {len(captions):,} captions are empty"] if empty else []
    if different < LOW_UNIQUE * len(said):
        found.append(f"{len(said):,} captions, but only {different:,} different")
    return found


def repeats_trigram(words: Sequence[str]) -> bool:
    """Whether three words in a row come a second time."""
    trigrams = list(zip(words, words[1:], words[2:], strict=False))
    return len(set(trigrams)) < len(trigrams)


def repeats(words: Sequence[str]) -> bool:
    """Whether a word comes twice running or a pair of words comes twice."""
    pairs = list(itertools.pairwise(words))
    return len(set(pairs)) < len(pairs) or any(first == second for first, second in pairs)


def _share(captions: Sequence, test) -> float:
    return sum(map(test, captions)) / len(captions)
