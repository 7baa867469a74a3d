"""CIDEr-D, which coco-caption prints as "CIDEr", and the CIDEr of the paper.

In: `Pairs`, and document frequencies unless the references under test give them. Out: `Scores`; a
caption that equals all references of its image gets 10 in either.
Vedantam, Zitnick, Parikh: CIDEr: Consensus-based image description evaluation, CVPR 2015.

With c the n-gram counts of a caption, the vector of order n is g_n = c * (log N - log max(1, df)),
where df counts the images (of N) whose references hold the n-gram. For m references r:

    CIDEr   = 10/m sum_r mean_{n=1..4}  <g_n(c), g_n(r)> / (|g_n(c)| |g_n(r)|)
    CIDEr-D = 10/m sum_r mean_n  <min(g_n(c), g_n(r)), g_n(r)> / (|g_n(c)| |g_n(r)|) * exp(-d^2/72)

d is the difference in length, counted, as the official tool does, in bigrams: words - 1, and 0 for
a caption without words. N and df come from the references under test, so scores of different sets
of images do not compare, and with one image every weight is 0; `Frequencies` saves those of a
larger set.
"""

import math
from collections.abc import Callable

import numpy as np

from eval.metrics.ngram_counts import (
    ORDERS,
    DocumentFrequencies,
    Grams,
    Pairs,
    Scores,
    mean_scores,
)

SIGMA = 6.0
Clip = Callable[[np.ndarray, np.ndarray], np.ndarray]  # candidate's and reference's weights


def score(pairs: Pairs) -> dict[str, Scores]:
    """The metrics of this file, by name; coco-caption prints CIDEr-D as "CIDEr"."""
    return {"CIDEr-D": cider_d(pairs, pairs.frequencies), "CIDEr": cider(pairs, pairs.frequencies)}


def cider_d(pairs: Pairs, frequencies: DocumentFrequencies | None = None) -> Scores:
    """CIDEr-D in 0..10; the corpus score is the mean over the images."""
    bigrams = np.maximum(pairs.text.lengths - 1, 0)
    candidate = bigrams[pairs.n_references :][pairs.image_of]
    off = bigrams[: pairs.n_references] - candidate
    return _cider(pairs, frequencies, np.minimum, np.exp(-(off**2) / (2 * SIGMA**2)))


def cider(pairs: Pairs, frequencies: DocumentFrequencies | None = None) -> Scores:
    """The paper's CIDEr in 0..10: no clipping, no length penalty."""
    return _cider(pairs, frequencies, lambda candidate, _: candidate, 1.0)


def similarities(pairs: Pairs, frequencies: DocumentFrequencies | None = None) -> np.ndarray:
    """(R,) the paper's CIDEr / 10 between each reference and its image's candidate."""
    return _similarities(pairs, frequencies, lambda candidate, _: candidate)


def _cider(pairs: Pairs, frequencies: DocumentFrequencies | None, clip: Clip, penalty) -> Scores:
    similarity = _similarities(pairs, frequencies, clip) * penalty
    return mean_scores(10 * np.bincount(pairs.image_of, similarity) / pairs.per_image)


def _similarities(pairs: Pairs, frequencies: DocumentFrequencies | None, clip: Clip) -> np.ndarray:
    """(R,) the mean cosine over the orders."""
    return sum(_cosine(pairs, order, frequencies, clip) for order in ORDERS) / len(ORDERS)


def _cosine(
    pairs: Pairs, order: int, frequencies: DocumentFrequencies | None, clip: Clip
) -> np.ndarray:
    """(R,) similarity of each reference to its candidate in the n-grams of one order."""
    grams = pairs.grams(order)
    weight = _weights(pairs, grams, order, frequencies)
    reference = grams.ref_count * weight[grams.ref_gram]
    candidate = grams.cand_count * weight[grams.cand_gram]
    found = grams.match >= 0
    first, second = candidate[grams.match[found]], reference[found]
    dot = np.bincount(grams.ref_sentence[found], clip(first, second) * second, pairs.n_references)
    squares = np.bincount(grams.ref_sentence, reference**2, pairs.n_references)
    norm = np.sqrt(np.bincount(grams.cand_image, candidate**2, len(pairs.ids)))[pairs.image_of]
    below = np.sqrt(squares) * norm
    return dot / np.where(below > 0, below, 1)


def _weights(
    pairs: Pairs, grams: Grams, order: int, frequencies: DocumentFrequencies | None
) -> np.ndarray:
    """(G,) the weight of each n-gram: log N - log max(1, df)."""
    if frequencies is None:
        return math.log(len(pairs.ids)) - np.log(np.maximum(grams.images_with, 1))
    images_with = frequencies.look_up(pairs, order)
    return math.log(frequencies.images) - np.log(np.maximum(images_with, 1))
