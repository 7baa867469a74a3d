"""How far a score can be trusted: bootstrap intervals, and whether two systems really differ.

In: the `Scores` of one system or of two on the same images. Out: an interval, or a difference with
its interval and p-values. Each resampling draws images, never captions of an image; the document
frequencies stay those of all images. The corpus score is computed anew from the drawn images, so
BLEU is BLEU of the resampled corpus and no mean of the images' BLEU.

Efron, Tibshirani: An introduction to the bootstrap, 1993. Koehn: Statistical significance tests for
machine translation evaluation, EMNLP 2004. Riezler, Maxwell: On some pitfalls in automatic
evaluation and significance testing for MT, 2005 (why p comes from a permutation test).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from eval.metrics.ngram_counts import Scores
from eval.permutation import holm, permutation_test

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
    permutations: int  # of the test that p comes from
    exact: bool  # these are all permutations
    p_holm: float | None = None  # p, corrected for the number of systems compared with ours
    p_seeds: float | None = None  # p of a test over the seeds of both systems


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
    p comes from `permutation_test`, with `times` permutations where it is not exact.
    """
    ours, theirs = _drawable(ours), _drawable(theirs)
    order = _order([*ours.values(), *theirs.values()])
    ours, theirs = (
        {n: replace(s, parts=s.parts[order]) for n, s in side.items()} for side in (ours, theirs)
    )
    drawn: dict[str, list[np.ndarray]] = {name: [] for name in ours}
    for weights in _draws(len(order), times, seed):
        for name, score in ours.items():
            first, second = weights @ score.parts, weights @ theirs[name].parts
            drawn[name].append(score.combine(second) - score.combine(first))
    test = permutation_test(ours, theirs, times, seed)
    found = {}
    for name, values in drawn.items():
        first, second = (side[name].combine(side[name].parts.sum(0)) for side in (ours, theirs))
        interval = _middle(np.concatenate(values))
        found[name] = Comparison(
            float(second - first), *interval, test.p[name], test.count, test.exact
        )
    return found


def corrected(
    comparisons: Sequence[Mapping[str, Comparison]],
) -> list[dict[str, Comparison]]:
    """Comparisons of several systems with ours, their p-values corrected metric by metric."""
    if len(comparisons) < 2:
        return [dict(found) for found in comparisons]
    p_holm = {name: holm([found[name].p for found in comparisons]) for name in comparisons[0]}
    return [
        {name: replace(one, p_holm=p_holm[name][index]) for name, one in found.items()}
        for index, found in enumerate(comparisons)
    ]


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


def _blocks(images: int, times: int) -> Iterator[int]:
    rows = max(1, BLOCK // images)
    yield from (min(rows, times - start) for start in range(0, times, rows))


def _middle(values: np.ndarray) -> tuple[float, float]:
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)
