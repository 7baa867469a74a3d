"""Greedy decoding and beam search in numpy, of one picture; equal to caption.decoding.

In: a function that reads a token of each hypothesis, and a state. Out: captions, best first.

K hypotheses, R regions, V vocabulary, t tokens so far.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from caption.decoding.options import FORBIDDEN_ENDINGS, DecodeOptions, LengthRule
from prepro.vocabulary import UNK

ALPHA = 0.7  # of the length rule wu, as in caption.decoding.search
Rows = tuple[np.ndarray, ...]
"""the state of K hypotheses, (1, K, ...) each"""
Step = Callable[[np.ndarray, Rows], tuple[np.ndarray, Rows, np.ndarray | None]]
"""tokens (K,) and rows to log-probabilities (K, V + 1), rows and attention (K, R) or None"""


@dataclass(frozen=True)
class Hypothesis:
    """A caption as tokens, without the end token."""

    tokens: tuple[int, ...]
    log_probs: tuple[float, ...]
    """of each token and of the end token"""
    attention: tuple[np.ndarray, ...]
    """(R,) for each token and the end token; empty without attention"""

    @property
    def log_prob(self) -> float:
        return sum(self.log_probs)

    def extend(self, token: int, log_prob: float, attention: np.ndarray | None) -> "Hypothesis":
        """With one more token; 0 ends the caption."""
        tokens = (*self.tokens, token) if token else self.tokens
        seen = () if attention is None else (attention,)
        return Hypothesis(tokens, (*self.log_probs, log_prob), (*self.attention, *seen))


def search(
    step: Step, rows: Rows, options: DecodeOptions, words: Sequence[str]
) -> list[Hypothesis]:
    """The options.n best captions. `rows` are those of one hypothesis, (1, 1, ...)."""
    forbid = Forbidden(options, words)
    if options.beam == 1:
        return [_greedy(step, rows, options, forbid)]
    return _beam_search(step, rows, options, forbid)


def _greedy(step: Step, rows: Rows, options: DecodeOptions, forbid: "Forbidden") -> Hypothesis:
    best, token = Hypothesis((), (), ()), np.zeros(1, np.int64)
    for _ in range(options.max_length):
        log_probs, rows, attention = step(token, rows)
        forbid(log_probs, [best.tokens])
        token = log_probs.argmax(-1)
        seen = None if attention is None else attention[0]
        best = best.extend(int(token[0]), float(log_probs[0, token[0]]), seen)
        if token[0] == 0:
            break
    return best


def _beam_search(
    step: Step, rows: Rows, options: DecodeOptions, forbid: "Forbidden"
) -> list[Hypothesis]:
    """Captions that were cut off at the maximal length rank below those that ended."""
    width, length, rule = options.beam, options.max_length, options.length_rule
    beams, tokens = [Hypothesis((), (), ())], np.zeros(1, np.int64)
    scores = np.zeros(1, np.float32)
    finished: list[tuple[np.float32, Hypothesis]] = []
    for position in range(1, length + 1):
        log_probs, rows, attention = step(tokens, rows)
        forbid(log_probs, [beam.tokens for beam in beams])
        parents, tokens, scores = _best(scores, log_probs, width)
        gains = log_probs[parents, tokens]
        seen = [None] * width if attention is None else attention[parents]
        beams = [
            beams[parent].extend(int(token), float(gain), weights)
            for parent, token, gain, weights in zip(parents, tokens, gains, seen, strict=True)
        ]
        ended = (tokens == 0) & (scores > -np.inf)
        ranks = scores / _divisor(rule, position)
        finished += [(ranks[k], beams[k]) for k in np.flatnonzero(ended)]
        finished = sorted(finished, key=lambda pair: -pair[0])[: options.n]  # a stable order
        scores = np.where(tokens == 0, np.float32(-np.inf), scores)
        worst = finished[-1][0] if len(finished) == options.n else -np.inf
        if not (scores / _divisor(rule, length)).max() > worst:
            return [caption for _, caption in finished]
        rows = tuple(t[:, parents] for t in rows)
    cut = [k for k in np.argsort(-scores, kind="stable") if scores[k] > -np.inf]
    return [*(caption for _, caption in finished), *(beams[k] for k in cut)][: options.n]


def _best(
    scores: np.ndarray, log_probs: np.ndarray, width: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The `width` best continuations of all beams: parents, tokens and scores (width,).

    Of equal values the first comes first, as in caption.decoding.beams.
    """
    each = min(width, log_probs.shape[1])
    tokens = np.argsort(-log_probs, axis=1, kind="stable")[:, :each]
    totals = (scores[:, None] + np.take_along_axis(log_probs, tokens, 1)).ravel()
    order = np.argsort(-totals, kind="stable")[:width]
    parents, chosen, best = order // each, tokens.ravel()[order], totals[order]
    missing = width - len(order)  # a first step has one hypothesis
    filler = np.zeros(missing, np.int64)
    best = np.concatenate([best, np.full(missing, -np.inf, np.float32)])
    return np.concatenate([parents, filler]), np.concatenate([chosen, filler]), best


def _divisor(rule: LengthRule, length: int) -> float:
    return {"none": 1.0, "avg": float(length), "wu": ((5 + length) / 6) ** ALPHA}[rule]


class Forbidden:
    """Sets the log-probabilities of forbidden tokens to -inf, as caption.decoding.constraints."""

    def __init__(self, options: DecodeOptions, words: Sequence[str]) -> None:
        index = {word: i for i, word in enumerate(words, 1)}
        self.options = options
        self.unk = index.get(UNK, 0) if options.suppress_unk else 0
        endings = FORBIDDEN_ENDINGS if options.block_bad_endings else ()
        self.endings = [index[word] for word in endings if word in index]

    def __call__(self, log_probs: np.ndarray, histories: Sequence[tuple[int, ...]]) -> None:
        """`log_probs` (K, V + 1), in place; `histories` are the tokens of each hypothesis."""
        end = log_probs[:, 0].copy()
        if self.unk:
            log_probs[:, self.unk] = -np.inf
        for row, history in zip(log_probs, histories, strict=True):
            self._forbid(row, history)
        stuck = log_probs.max(1) == -np.inf  # without any token, a caption ends
        log_probs[stuck, 0] = end[stuck]

    def _forbid(self, row: np.ndarray, history: tuple[int, ...]) -> None:
        options = self.options
        if len(history) < options.min_length:
            row[0] = -np.inf
        if options.block_repeats and history:
            row[history[-1]] = -np.inf
        if options.block_trigrams and len(history) > 2:
            row[_thirds(history)] = -np.inf
        if self.endings:
            if len(history) == options.max_length - 1:
                row[self.endings] = -np.inf
            if history and history[-1] in self.endings:
                row[0] = -np.inf


def _thirds(history: tuple[int, ...]) -> list[int]:
    """The tokens that have followed the last two tokens before."""
    triples = zip(history, history[1:], history[2:], strict=False)
    return [third for *pair, third in triples if tuple(pair) == history[-2:]]
