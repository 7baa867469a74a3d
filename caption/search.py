"""Beam search over a batch of images and all their beams at once.

In: a decoder of the protocol and features of B images. Out: `Hypotheses`, the n best, best first.

At each step the K best of all K * (V + 1) continuations go on; those that end leave the beam for
the list of finished captions, as in self-critical.pytorch. A search is over as soon as no beam
can still overtake the n-th finished caption, which changes no result. A caption that was cut off
at T words ranks below all that ended.

B batch, K beams, R regions, T words, V vocabulary.
"""

import torch
from torch import Tensor

from caption.decode_options import LengthRule
from caption.hypotheses import Hypotheses
from caption.models import Decoder, Features

ALPHA = 0.7  # of the length rule wu; GNMT found 0.6 to 0.7 best (arXiv 1609.08144, section 7)


def divisor(rule: LengthRule, length: int) -> float:
    """What the log-probability of `length` words, the end included, is divided by."""
    return {"none": 1.0, "avg": float(length), "wu": ((5 + length) / 6) ** ALPHA}[rule]


class Trail:
    """Back-pointers: for each step, what each beam said and from which beam it went on."""

    def __init__(self, b: int, k: int, max_length: int, like: Tensor) -> None:
        self.words = like.new_zeros(max_length, b, k, dtype=torch.int64)
        self.parents = torch.zeros_like(self.words)
        self.log_probs = like.new_zeros(max_length, b, k)
        self.attention: Tensor | None = None

    def write(
        self, step: int, images: Tensor, words: Tensor, parents: Tensor, log_probs: Tensor
    ) -> None:
        width = words.shape[1]
        self.words[step, images, :width] = words
        self.parents[step, images, :width] = parents
        self.log_probs[step, images, :width] = log_probs

    def look(self, step: int, images: Tensor, attention: Tensor) -> None:
        """`attention` (b, K, R) of the beams before this step's choice."""
        if self.attention is None:
            self.attention = attention.new_zeros(*self.words.shape, attention.shape[-1])
        self.attention[step, images, : attention.shape[1]] = attention

    def read(self, steps: Tensor, beams: Tensor, scores: Tensor) -> Hypotheses:
        """The captions whose last word is that of `beams` (B, n) at `steps` (B, n)."""
        words, log_probs, looked = [], [], []
        for step in reversed(range(len(self.words))):
            on = step <= steps
            words.append(self.words[step].gather(1, beams) * on)
            log_probs.append(self.log_probs[step].gather(1, beams).masked_fill(~on, 0))
            beams = torch.where(on, self.parents[step].gather(1, beams), beams)
            if self.attention is not None:
                at = beams[..., None].expand(-1, -1, self.attention.shape[-1])
                looked.append(self.attention[step].gather(1, at) * on[..., None])
        attention = torch.stack(looked[::-1], 2) if looked else None
        return Hypotheses(
            torch.stack(words[::-1], 2), torch.stack(log_probs[::-1], 2), scores, attention
        )


class Finished:
    """The n best captions that have ended, of each image."""

    def __init__(self, b: int, n: int, like: Tensor) -> None:
        self.scores = like.new_full((b, n), -torch.inf)
        self.steps = like.new_zeros(b, n, dtype=torch.int64)
        self.beams = torch.zeros_like(self.steps)

    def offer(self, images: Tensor, scores: Tensor, step: int) -> None:
        """`scores` (b, K) of the beams that ended at this step, -inf for the others."""
        beams = torch.arange(scores.shape[1], device=scores.device).expand_as(scores)
        merged = torch.cat([self.scores[images], scores], 1)
        index = merged.argsort(dim=1, descending=True, stable=True)[:, : self.scores.shape[1]]
        self.scores[images] = merged.gather(1, index)
        for mine, new in ((self.steps, torch.full_like(beams, step)), (self.beams, beams)):
            mine[images] = torch.cat([mine[images], new], 1).gather(1, index)


def largest(x: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest of the last dimension, falling; of equals, the first.

    topk leaves the order of equals open. They are rare, so only the rows where some are among the
    k + 1 largest are sorted.
    """
    values, index = x.topk(min(k + 1, x.shape[-1]))
    equal = (values[..., 1:] == values[..., :-1]) & (values[..., 1:] > -torch.inf)
    rows = equal.any(-1)
    values, index = values[..., :k], index[..., :k]
    if rows.any():
        in_order, places = x[rows].sort(descending=True, stable=True)
        values[rows], index[rows] = in_order[:, :k], places[:, :k]
    return values, index


def best_continuations(scores: Tensor, log_probs: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """The k best of all beams' continuations: parents, words and log-probabilities, each (B, k).

    `scores` (B, K) of the beams, `log_probs` (B, K, V + 1). First the k best of each beam, then
    the k best of those: no sum is formed for the many that cannot win.
    """
    gains, words = largest(log_probs, k)
    totals = (scores[..., None] + gains).flatten(1)
    index = totals.argsort(dim=1, descending=True, stable=True)[:, :k]
    parents = index // gains.shape[-1]
    return parents, words.flatten(1).gather(1, index), gains.flatten(1).gather(1, index)


@torch.no_grad()
def beam_search(
    model: Decoder,
    features: Features,
    beam: int = 3,
    max_length: int = 20,
    n: int = 1,
    rule: LengthRule = "none",
    need_attention: bool = False,
) -> Hypotheses:
    """The `n` best captions of each image; n is at most `beam`."""
    assert n <= beam
    state = model.begin(features)
    b, device = len(state.rows[0]), state.rows[0].device
    images = torch.arange(b, device=device)
    words = torch.zeros(b, 1, dtype=torch.int64, device=device)
    log_probs, state, attention = model.step(words, state)
    scores = log_probs.new_zeros(b, 1)
    trail, finished = Trail(b, beam, max_length, scores), Finished(b, n, scores)
    for step in range(max_length):
        if step > 0:
            log_probs, state, attention = model.step(words, state)
        parents, words, gains = best_continuations(scores, log_probs, beam)
        scores = scores.gather(1, parents) + gains
        trail.write(step, images, words, parents, gains)
        if need_attention and attention is not None:
            trail.look(step, images, attention)
        ended = words == 0
        ranks = (scores / divisor(rule, step + 1)).masked_fill(~ended, -torch.inf)
        finished.offer(images, ranks, step)
        scores = scores.masked_fill(ended, -torch.inf)
        if step == max_length - 1:
            break
        reach = scores.amax(1) / divisor(rule, max_length)
        going = reach > finished.scores[images, -1]
        left = int(going.sum())
        if left == 0:
            break
        if left <= 0.75 * len(images):
            state, images = state.keep(going), images[going]
            words, parents, scores = words[going], parents[going], scores[going]
        state = state.follow(parents)
    unfinished = trail.log_probs.new_full((b, beam), -torch.inf)
    if step == max_length - 1:
        unfinished[images, : scores.shape[1]] = scores / divisor(rule, max_length)
    return trail.read(*_rank(finished, unfinished, max_length - 1))


def _rank(finished: Finished, unfinished: Tensor, step: int) -> tuple[Tensor, Tensor, Tensor]:
    """Steps, beams and scores (B, n) of the best: those that ended, then the others."""
    n, k = finished.scores.shape[1], unfinished.shape[1]
    scores = torch.cat([finished.scores, unfinished], 1)
    place = torch.arange(n + k, device=scores.device).expand_as(scores)
    steps = torch.cat([finished.steps, torch.full_like(place[:, n:], step)], 1)
    beams = torch.cat([finished.beams, place[:, n:] - n], 1)
    order = scores.argsort(dim=1, descending=True, stable=True)
    there = (scores > -torch.inf) & (place < n)
    there = there.gather(1, order).byte().argsort(dim=1, descending=True, stable=True)
    order = order.gather(1, there)[:, :n]
    return steps.gather(1, order), beams.gather(1, order), scores.gather(1, order)
