"""Several seeds of one model as one system: mean scores, and their spread.

In: the `Result` of each seed, on the same images. Out: one `Result`, whose scores are the means
over the seeds and can be resampled like those of one seed.
"""

import statistics
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np

from eval.metrics.ngram_counts import Scores
from eval.scoring import Result, result


def average(seeds: Sequence[Result]) -> Result:
    """The mean over the seeds, of the corpus and of every image; one seed is itself.

    Raises ValueError where the seeds scored different images or have different metrics.
    """
    first = seeds[0]
    if any(other.pairs.ids != first.pairs.ids for other in seeds):
        raise ValueError("the results are of different images")
    if len(seeds) == 1:
        return first
    scores = {name: _mean([one.scores[name] for one in seeds]) for name in first.scores}
    warnings = tuple(dict.fromkeys(line for one in seeds for line in one.warnings))
    return result(first.pairs, scores, {"seeds": len(seeds), **first.provenance}, warnings)


def std(seeds: Sequence[Result]) -> dict[str, float]:
    """By metric, the standard deviation of the seeds' corpus scores (divisor: seeds - 1).

    {} for one seed.
    """
    if len(seeds) == 1:
        return {}
    return {name: statistics.stdev(one.corpus[name] for one in seeds) for name in seeds[0].corpus}


def mean_values(rows: Sequence[Mapping[str, float | None]]) -> dict[str, float | None]:
    """The mean of each value over the rows; as it is where all rows have the same."""
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    return {
        name: values[0] if len(set(values)) == 1 else float(np.mean(values))
        for name, values in columns.items()
    }


def _mean(seeds: Sequence[Scores]) -> Scores:
    """The scores of S seeds as one: their parts side by side, (N, S * P)."""
    corpus = float(np.mean([one.corpus for one in seeds]))
    per_image = np.mean([one.per_image for one in seeds], axis=0)
    if seeds[0].parts is None:
        return Scores(corpus, per_image)
    parts = np.concatenate([one.parts for one in seeds], axis=1)
    return Scores(corpus, per_image, parts, partial(_combine, seeds[0].combine, len(seeds)))


def _combine(combine, seeds: int, sums: np.ndarray) -> np.ndarray:
    """(..., S * P) sums to (...) the mean of the seeds' scores."""
    return combine(sums.reshape(*sums.shape[:-1], seeds, -1)).mean(-1)
