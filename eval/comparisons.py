"""One model beside others, each by the results of its seeds: differences, intervals, p-values.

In: the `Result` of each seed, all on the same images. Out: what the report of `eval.score` has
under `against`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy as np

from eval.permutation import seed_test
from eval.scoring import Result
from eval.seeds import average, std
from eval.significance import Comparison, compare, corrected

Rows = dict[str, dict[str, object]]


def compare_models(
    ours: Sequence[Result], others: Mapping[str, Sequence[Result]], times: int
) -> dict[str, Rows]:
    """By name of the other model, by metric: its score, and what the difference from ours means.

    Raises ValueError, with the name, for a model whose results are of other images.
    """
    mean, found = average(ours), []
    for name, seeds in others.items():
        theirs = average(seeds)
        if theirs.pairs.ids != mean.pairs.ids:
            raise ValueError(f"{name}: not the same images")
        found.append(compare(mean.scores, theirs.scores, times))
    return {
        name: {metric: _row(metric, ours, seeds, one) for metric, one in rows.items()}
        for (name, seeds), rows in zip(others.items(), corrected(found), strict=True)
    }


def _row(
    metric: str, ours: Sequence[Result], theirs: Sequence[Result], comparison: Comparison
) -> dict[str, object]:
    first, second = ([one.corpus[metric] for one in side] for side in (ours, theirs))
    row = {"score": float(np.mean(second)), **asdict(comparison)}
    row |= {"p_seeds": seed_test(first, second), "std": std(theirs).get(metric)}
    return {name: value for name, value in row.items() if value is not None}
