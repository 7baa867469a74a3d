"""Whether two systems differ: permutation tests over images and over seeds, and Holm's correction.

In: the `Scores` of two systems on the same images, or the corpus scores of their seeds. Out:
p-values, two-sided. If the systems were one, the two captions of an image could change sides, and
so could the seeds. A test is exact where it can take every permutation; otherwise it draws some at
random, and says how many.

The corpus score is computed anew from the sums over the images, so BLEU is tested as BLEU of the
corpus. Noreen: Computer-intensive methods for testing hypotheses, 1989. Phipson, Smyth: Permutation
p-values should never be zero, 2010. Holm: A simple sequentially rejective multiple test procedure,
1979.
"""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from eval.metrics.ngram_counts import Scores

EXACT_IMAGES = 16  # with so many different images or fewer, all 2^n permutations are taken
EXACT_SPLITS = 200_000  # ways to divide the seeds: ten of each system
BLOCK = 4_000_000  # numbers in memory at a time
NOISE = 1e-11  # relative; sums in another order differ by less


class Permutations(NamedTuple):
    """The p-values by metric, and the permutations that they come from."""

    p: dict[str, float]
    count: int
    exact: bool  # count is all of them


def permutation_test(
    ours: Mapping[str, Scores], theirs: Mapping[str, Scores], times: int = 1000, seed: int = 0
) -> Permutations:
    """Swap the captions of images: every subset of few images, else `times` random ones.

    The same permutations serve all metrics. Exact: p is the share of permutations whose difference
    is at least as large. Random: p = (1 + such permutations) / (1 + times).
    """
    first, second = ({name: s.parts for name, s in side.items()} for side in (ours, theirs))
    differ = np.any([(first[n] != second[n]).any(1) for n in first], axis=0)  # (N,)
    images = int(differ.sum())
    exact = images <= EXACT_IMAGES
    swaps = [_subsets(images)] if exact else _coins(images, times, seed)
    extreme = dict.fromkeys(first, 0)
    for swap in swaps:  # (B, images)
        for name, score in ours.items():
            one, other = first[name].sum(0), second[name].sum(0)  # (P,)
            moved = swap @ (second[name] - first[name])[differ]  # (B, P)
            found = score.combine(other - moved) - score.combine(one + moved)
            extreme[name] += _at_least(found, score.combine(one), score.combine(other))
    count, more = (2**images, 0) if exact else (times, 1)
    return Permutations({n: (k + more) / (count + more) for n, k in extreme.items()}, count, exact)


def seed_test(ours: Sequence[float], theirs: Sequence[float]) -> float | None:
    """p of the difference of the mean scores of equally many seeds, by every division of them.

    None for one seed a side, which no division tells from the other, and for too many divisions.
    """
    seeds = len(ours)
    if seeds == 1 or math.comb(2 * seeds, seeds) > EXACT_SPLITS:
        return None
    both = np.array([*ours, *theirs], float)
    chosen = np.array(list(itertools.combinations(range(2 * seeds), seeds)))  # (ways, seeds)
    first = both[chosen].mean(1)
    found = 2 * (both.mean() - first)
    return _at_least(found, float(np.mean(ours)), float(np.mean(theirs))) / len(chosen)


def holm(p: Sequence[float]) -> list[float]:
    """p-values corrected for their number: one below a is an error with probability a at most."""
    corrected, least = [0.0] * len(p), 0.0
    for rank, index in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        least = max(least, min(1.0, (len(p) - rank) * p[index]))
        corrected[index] = least
    return corrected


def _at_least(found: np.ndarray, one: float, other: float) -> int:
    """How many differences are as large as that of `one` and `other`, but for rounding."""
    return int((np.abs(found) >= abs(other - one) - NOISE * (abs(one) + abs(other))).sum())


def _subsets(images: int) -> np.ndarray:
    """(2^n, n) of 0 and 1, every subset once."""
    return np.array(list(itertools.product((0.0, 1.0), repeat=images)))


def _coins(images: int, times: int, seed: int) -> Iterator[np.ndarray]:
    """Blocks of (B, n) of 0 and 1."""
    random = np.random.default_rng([seed, 1])
    rows = max(1, BLOCK // images)
    for start in range(0, times, rows):
        yield random.integers(2, size=(min(rows, times - start), images)).astype(float)
