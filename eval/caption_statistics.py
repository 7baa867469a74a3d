"""What a score does not show: are the captions varied, finished, and new?

In: tokenised captions, one an image. Out: `CaptionStatistics`. Shares are of all captions, 0..1.
Training captions, of which there may be millions, pass by once: `look_up` keeps what is asked.
"""

import itertools
from collections.abc import Iterable, Sequence
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


@dataclass(frozen=True)
class TrainingCaptions:
    """What training captions have in common with some captions."""

    said: frozenset[tuple[str, ...]]
    """those of the captions that are training captions"""
    words: frozenset[str]
    """all words of the training captions"""


def look_up(
    captions: Iterable[Sequence[str]], training: Iterable[Sequence[str]]
) -> TrainingCaptions:
    """Which of the tokenised `captions` are among `training`, which may be a stream."""
    wanted, said, words = {tuple(caption) for caption in captions}, set(), set()
    for caption in map(tuple, training):
        words.update(caption)
        if caption in wanted:
            said.add(caption)
    return TrainingCaptions(frozenset(said), frozenset(words))


def caption_statistics(
    candidates: Sequence[Sequence[str]], training: TrainingCaptions | None = None
) -> CaptionStatistics:
    """The statistics of `candidates`; `training` is what `look_up` found of these or of more.

    Raises ValueError when there is no caption.
    """
    if not candidates:
        raise ValueError("no captions to examine")
    captions = [tuple(words) for words in candidates]
    used = {word for words in captions for word in words}
    known = training.words if training else frozenset()
    return CaptionStatistics(
        captions=len(captions),
        empty=_share(captions, lambda words: not words),
        unique=len(set(captions)) / len(captions),
        vocabulary=len(used),
        mean_length=sum(map(len, captions)) / len(captions),
        bad_endings=_share(captions, lambda words: bool(words) and words[-1] in BAD_ENDINGS),
        repeated=_share(captions, repeats),
        novel=training and _share(captions, lambda words: words not in training.said),
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
