"""How far a score can be trusted: bootstrap intervals, and whether two systems really differ.

In: the `Scores` of one system or of two on the same images. Out: an interval, or a difference with
its interval and p-value. Each resampling draws images, never captions of an image; the document
frequencies stay those of all images. The corpus score is computed anew from the drawn images, so
BLEU is BLEU of the resampled corpus and no mean of the images' BLEU.

Efron, Tibshirani: An introduction to the bootstrap, 1993. Koehn: Statistical significance tests for
machine translation evaluation, EMNLP 2004. Riezler, Maxwell: On some pitfalls in automatic
evaluation and significance testing for MT, 2005 (why the p-value is of a randomisation test).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from eval.metrics.ngram_counts import Scores

BLOCK = 4_000_000  # image draws in memory at a time


@dataclass(frozen=True)
class Interval:
    """The middle of the bootstrap distribution, from the 2.5th to the 97.5th percentile."""

    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """Another system's corpus score less ours."""

    difference: float
    low: float  # 95% interval of the difference, paired bootstrap
    high: float
    p: float  # of so large a difference, either way, if the two systems were one


def bootstrap(
    scores: Mapping[str, Scores], times: int = 1000, seed: int = 0
) -> dict[str, Interval]:
    """95% intervals of the corpus scores, by metric; all metrics see the same draws."""
    scores = _drawable(scores)
    order = _order(scores.values())
    found: dict[str, list[np.ndarray]] = {name: [] for name in scores}
    for weights in _draws(len(order), times, seed):
        for name, score in scores.items():
            found[name].append(score.combine(weights @ score.parts[order]))
    return {name: Interval(*_middle(np.concatenate(values))) for name, values in found.items()}


def compare(
    ours: Mapping[str, Scores], theirs: Mapping[str, Scores], times: int = 1000, seed: int = 0
) -> dict[str, Comparison]:
    """Theirs less ours, by metric, both on the same images in the same order.

    The interval comes from a paired bootstrap: both systems are scored on each drawn set of images.
    The p-value comes from approximate randomisation: the two captions of an image change sides with
    probability 1/2, and p = (1 + draws with a difference at least as large) / (1 + draws).
    """
    ours, theirs = _drawable(ours), _drawable(theirs)
    order = _order([*ours.values(), *theirs.values()])
    found = {}
    for name in ours:
        first, second = ours[name].parts[order], theirs[name].parts[order]
        combine = ours[name].combine
        difference = float(combine(second.sum(0)) - combine(first.sum(0)))
        drawn = [
            combine(weights @ second) - combine(weights @ first)
            for weights in _draws(len(order), times, seed)
        ]
        swapped = []
        for swap in _coins(len(order), times, seed):
            moved = swap @ (second - first)
            swapped.append(combine(second.sum(0) - moved) - combine(first.sum(0) + moved))
        extreme = np.abs(np.concatenate(swapped)) >= abs(difference) * (1 - 1e-12)
        p = float((1 + extreme.sum()) / (1 + times))
        found[name] = Comparison(difference, *_middle(np.concatenate(drawn)), p)
    return found


def _drawable(scores: Mapping[str, Scores]) -> dict[str, Scores]:
    """Without SPICE, whose corpus score cannot be computed again from parts."""
    return {name: score for name, score in scores.items() if score.parts is not None}


def _order(scores: Iterable[Scores]) -> np.ndarray:
    """(N,) the images sorted by what they score, so that their order in the file plays no part."""
    return np.lexsort(np.concatenate([score.parts for score in scores], axis=1).T)


def _draws(images: int, times: int, seed: int) -> Iterator[np.ndarray]:
    """Blocks of (B, N): how often each image is drawn in each of B resamplings."""
    random = np.random.default_rng(seed)
    for rows in _blocks(images, times):
        drawn = random.integers(images, size=(rows, images)) + images * np.arange(rows)[:, None]
        yield (
            np.bincount(drawn.ravel(), minlength=rows * images).reshape(rows, images).astype(float)
        )


def _coins(images: int, times: int, seed: int) -> Iterator[np.ndarray]:
    """Blocks of (B, N) of 0 and 1."""
    random = np.random.default_rng([seed, 1])
    for rows in _blocks(images, times):
        yield random.integers(2, size=(rows, images)).astype(float)


def _blocks(images: int, times: int) -> Iterator[int]:
    rows = max(1, BLOCK // images)
    yield from (min(rows, times - start) for start in range(0, times, rows))


def _middle(values: np.ndarray) -> tuple[float, float]:
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)
