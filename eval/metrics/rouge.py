"""ROUGE-L as coco-caption computes it.

In: `Pairs`. Out: `Scores` in 0..1. Lin, Och: Automatic evaluation of machine translation quality
using longest common subsequence, ACL 2004. With LCS the length of the longest common subsequence,

    P = max over references of LCS / candidate length    R = max of LCS / reference length
    ROUGE-L = (1 + b^2) P R / (R + b^2 P),   b = 1.2

P and R may come from different references. A caption without words counts as one empty word: the
official tool splits "" into [""], and two empty captions score 1.

The LCS of 64 words at a time is a bit vector (Hyyro: Bit-parallel LCS-length computation revisited,
2004): for each word of the reference, V = (V + (V & M)) | (V & ~M), where M marks the positions of
that word in the candidate; the zeros of V are the LCS. Words with no position change nothing.
"""

import numpy as np

from eval.metrics.ngram_counts import Pairs, Scores, find, mean_scores

BETA = 1.2
BITS = 64


def score(pairs: Pairs) -> dict[str, Scores]:
    """The metric of this file, by the name that papers print."""
    return {"ROUGE-L": rouge_l(pairs)}


def rouge_l(pairs: Pairs) -> Scores:
    """ROUGE-L; the corpus score is the mean over the images."""
    text, references = pairs.whole, pairs.n_references
    lcs = common_lengths(pairs)
    length = text.lengths[references:]
    precision = np.maximum.reduceat(lcs, pairs.first_of) / length
    recall = np.maximum.reduceat(lcs / text.lengths[:references], pairs.first_of)
    below = recall + BETA**2 * precision
    return mean_scores((1 + BETA**2) * precision * recall / np.where(below > 0, below, 1))


def common_lengths(pairs: Pairs) -> np.ndarray:
    """(R,) int64: the LCS of each reference and its image's candidate."""
    text, references = pairs.whole, pairs.n_references
    split = int(text.lengths[:references].sum())
    types = len(text.vocabulary)
    image = text.sentence[split:] - references
    position = np.arange(split, len(text.words)) - text.starts[references + image]  # in its caption
    key = image * types + text.words[split:]
    order = np.argsort(key, kind="stable")
    table, first = np.unique(key[order], return_index=True)
    marks = np.bitwise_or.reduceat(
        np.uint64(1) << (position[order] % BITS).astype(np.uint64), first
    )
    sentence = text.sentence[:split]
    at = find(pairs.image_of[sentence] * types + text.words[:split], table)
    known = at >= 0  # the reference's words that the candidate has
    lcs = _short(sentence[known], marks[at[known]], references)
    for number in np.flatnonzero(text.lengths[references + pairs.image_of] > BITS):
        lcs[number] = _long(text.of(number), text.of(references + pairs.image_of[number]))
    return lcs


def _short(sentence: np.ndarray, mark: np.ndarray, references: int) -> np.ndarray:
    """(R,) LCS where the candidate has at most 64 words, all pairs in step."""
    words = np.bincount(sentence, minlength=references)
    start = np.cumsum(words) - words
    order = np.argsort(-words, kind="stable")  # at each step the live pairs are the first ones
    vector = np.full(references, ~np.uint64(0))
    live = np.searchsorted(-words[order], -np.arange(words.max(initial=0)), "left")
    for step, count in enumerate(live):
        here, now = vector[:count], mark[start[order[:count]] + step]
        vector[:count] = (here + (here & now)) | (here & ~now)
    lcs = np.empty(references, np.int64)
    lcs[order] = np.bitwise_count(~vector)
    return lcs


def _long(first: np.ndarray, second: np.ndarray) -> int:
    """LCS of two sentences of any length: the same bit vector in one Python integer."""
    marks: dict[int, int] = {}
    for position, word in enumerate(second.tolist()):
        marks[word] = marks.get(word, 0) | 1 << position
    whole = (1 << len(second)) - 1
    vector = whole
    for word in first.tolist():
        if mark := marks.get(word, 0):
            vector = ((vector + (vector & mark)) | (vector & ~mark)) & whole
    return len(second) - vector.bit_count()
