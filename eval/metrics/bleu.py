"""BLEU-1 to BLEU-4 as coco-caption computes them.

In: `Pairs`. Out: a `Scores` for each order. Papineni, Roukos, Ward, Zhu: BLEU, ACL 2002; the
choices that the paper leaves open are those of coco-caption's `bleu_scorer`:

    BLEU-n = (prod_{k<=n} (clipped_k + 1e-15) / (guessed_k + 1e-9)) ^ (1/n) * brevity
    brevity = exp(1 - 1/ratio) if ratio < 1, with ratio = (length + 1e-15) / (closest + 1e-9)

`closest` is the length of the reference that is nearest in length, the shorter one on a tie. The
corpus score is computed from the sums over all images; it is no mean of the images' scores. There
is no smoothing but the two small numbers, so BLEU-4 of a short caption is tiny and not zero.
"""

from functools import partial

import numpy as np

from eval.metrics.ngram_counts import ORDERS, Grams, Pairs, Scores

TINY, SMALL = 1e-15, 1e-9


def score(pairs: Pairs) -> dict[str, Scores]:
    """The metrics of this file, by the names that papers print."""
    return {f"BLEU-{order}": scores for order, scores in bleu(pairs).items()}


def bleu(pairs: Pairs) -> dict[int, Scores]:
    """BLEU-n by n, each in 0..1."""
    length = pairs.text.lengths[pairs.n_references :]
    counts = np.stack(
        [clipped_matches(pairs.grams(order), len(length)) for order in ORDERS]
        + [np.maximum(length - order + 1, 0) for order in ORDERS]
        + [length, closest_length(pairs, length)],
        axis=1,
    )
    images, corpus = from_counts(counts), from_counts(counts.sum(0))
    parts = counts.astype(float)
    return {
        n: Scores(float(corpus[n - 1]), images[:, n - 1], parts, partial(from_counts, order=n))
        for n in ORDERS
    }


def from_counts(counts: np.ndarray, order: int | None = None) -> np.ndarray:
    """(..., 4) BLEU-1..4, or (...) that of one order.

    `counts` (..., 10): clipped matches of order 1..4, n-grams guessed of order 1..4, the length of
    the candidate, the closest reference length.
    """
    length, closest = counts[..., 8:9], counts[..., 9:10]
    precision = np.cumprod((counts[..., :4] + TINY) / (counts[..., 4:8] + SMALL), axis=-1)
    ratio = (length + TINY) / (closest + SMALL)
    scores = precision ** (1 / np.array(ORDERS)) * np.exp(np.minimum(1 - 1 / ratio, 0))
    return scores if order is None else scores[..., order - 1]


def closest_length(pairs: Pairs, length: np.ndarray) -> np.ndarray:
    """(N,) int64: per image the reference length nearest to `length`, the shorter on a tie."""
    reference = pairs.text.lengths[: pairs.n_references]
    far = np.abs(reference - length[pairs.image_of])
    best = np.lexsort((reference, far, pairs.image_of))  # images come in order, the best first
    return reference[best[pairs.first_of]]


def clipped_matches(grams: Grams, images: int) -> np.ndarray:
    """(N,) int64: n-grams of the candidate, each counted as often as one reference has it."""
    most = np.zeros(len(grams.cand_count), np.int64)
    found = grams.match >= 0
    np.maximum.at(most, grams.match[found], grams.ref_count[found])
    clipped = np.minimum(most, grams.cand_count)
    return np.bincount(grams.cand_image, clipped, images).astype(np.int64)
