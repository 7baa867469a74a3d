"""METEOR 1.5 for English, as coco-caption runs it (-l en -norm), without Java.

In: `Pairs`. Out: `Scores`; their parts are METEOR's counts, so that the corpus score is METEOR's
own aggregate and can be resampled. The word lists and the paraphrase table are those of the package
pycocoevalcap (the extra `meteor`).

    from eval.metrics.meteor import meteor
    print(meteor(pairs).corpus)

Denkowski, Lavie: Meteor universal, WMT 2014.
"""

import importlib.util
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from eval.metrics.meteor.aligner import best, chunks
from eval.metrics.meteor.lexicon import Lexicon, read_lexicon
from eval.metrics.meteor.matcher import Match, Matcher
from eval.metrics.meteor.normalizer import normalize
from eval.metrics.meteor.paraphrases import Paraphrases, paraphrases
from eval.metrics.ngram_counts import Pairs, Scores
from eval.metrics.unavailable import Unavailable

ALPHA, BETA, GAMMA, DELTA = 0.85, 0.2, 0.6, 0.75  # the parameters of English, task rank
WEIGHTS = (1.0, 0.6, 0.8, 0.6)  # of exact, stem, synonym and paraphrase matches
STAGES = len(WEIGHTS)
# The counts of a sentence: candidate, then reference, of each of words, function words and, by
# stage, matched content words and matched function words; then chunks
WORDS, FUNCTION, CONTENT_MATCHES = 0, 2, 4
FUNCTION_MATCHES, CHUNKS = 4 + 2 * STAGES, 4 + 4 * STAGES


def meteor(pairs: Pairs) -> Scores:
    """METEOR in 0..1, of each image by its best reference; raises `Unavailable`."""
    lexicon, table = _data(_package())
    distinct = {
        tuple(words): normalize(" ".join(words), lexicon.prefixes) for words in pairs.tokens
    }
    matcher = Matcher(distinct.values(), lexicon, table)
    function_words = lexicon.function_words
    rows = []
    for references, candidate in pairs.by_image():
        ours = distinct[tuple(candidate)]
        for reference in references:
            theirs = distinct[tuple(reference)]
            found = best(matcher.matches(ours, theirs))
            rows.append(_counts(ours, theirs, found, function_words))
    counts = np.array(rows)  # (R, P)
    order = np.lexsort((-_score(counts), pairs.image_of))  # stable: the first of equal ones
    parts = counts[order[pairs.first_of]]  # (N, P)
    per_image = _score(parts)
    parts[_perfect(parts), CHUNKS] = 0
    return Scores(float(_score(parts.sum(0))), per_image, parts, _score)


def _counts(
    candidate: Sequence[str], reference: Sequence[str], matches: Sequence[Match], function_words
) -> list[float]:
    """(P,) the counts of a sentence."""
    row = [0.0] * (CHUNKS + 1)
    spans = ((candidate, lambda m: m[2:4]), (reference, lambda m: m[:2]))
    for side, (words, span) in enumerate(spans):
        function = [word in function_words for word in words]
        row[WORDS + side], row[FUNCTION + side] = len(words), sum(function)
        for match in matches:
            start, length = span(match)
            functional = sum(function[start : start + length])
            row[CONTENT_MATCHES + 2 * match.stage + side] += length - functional
            row[FUNCTION_MATCHES + 2 * match.stage + side] += functional
    row[CHUNKS] = chunks(matches)
    return row


def _matched(counts: np.ndarray) -> np.ndarray:
    """(..., 2) the matched words of candidate and reference."""
    by_stage = counts[..., CONTENT_MATCHES:CHUNKS]
    return by_stage.reshape(*counts.shape[:-1], 2 * STAGES, 2).sum(-2)


def _perfect(counts: np.ndarray) -> np.ndarray:
    """(...) whether every word is matched, in one chunk."""
    whole = (_matched(counts) == counts[..., WORDS:FUNCTION]).all(-1)
    return whole & (counts[..., CHUNKS] == 1)


def _score(counts: np.ndarray) -> np.ndarray:
    """(...) METEOR of counts (..., P)."""
    lengths, function = counts[..., WORDS:FUNCTION], counts[..., FUNCTION:CONTENT_MATCHES]
    length = DELTA * (lengths - function) + (1 - DELTA) * function  # (..., 2)
    weighted = np.zeros_like(length)
    for first, weight in ((CONTENT_MATCHES, DELTA), (FUNCTION_MATCHES, 1 - DELTA)):
        for stage in range(STAGES):
            column = first + 2 * stage
            weighted = weighted + counts[..., column : column + 2] * WEIGHTS[stage] * weight
    with np.errstate(divide="ignore", invalid="ignore"):
        share = weighted / length  # precision and recall
        mean = 1 / ((1 - ALPHA) / share[..., 0] + ALPHA / share[..., 1])
        fragments = counts[..., CHUNKS] / (_matched(counts).sum(-1) / 2)
        score = mean * (1 - GAMMA * np.where(_perfect(counts), 0, fragments) ** BETA)
    return np.where(np.isnan(score), 0, np.maximum(score, 0))


@lru_cache(maxsize=1)
def _data(folder: Path) -> tuple[Lexicon, Paraphrases]:
    lexicon = read_lexicon(folder / "meteor-1.5.jar")
    return lexicon, paraphrases(folder / "data" / "paraphrase-en.gz")


def _package() -> Path:
    """The folder of METEOR's data."""
    for name in ("pycocoevalcap", "snowballstemmer"):
        if not importlib.util.find_spec(name):
            raise Unavailable(f"METEOR is left out: install the extra `meteor` (no {name})")
    found = importlib.util.find_spec("pycocoevalcap")
    return Path(found.submodule_search_locations[0]) / "meteor"
