"""Beam search over a batch of images and all their beams at once.

In: a decoder and features of B images. Out: `Hypotheses`, the n best, best first.

At each step `caption.decoding.beams` chooses the beams that continue. Beams that end move to the
list of finished captions, as in self-critical.pytorch. The search of an image stops as soon as no
beam can overtake the n-th finished caption, which changes no result. A caption that was cut off at
T tokens ranks below all captions that ended.

B batch, b images still searched, K beams, G groups of beams, R regions, T tokens, V vocabulary.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from caption.decoding.backpointers import BackPointers
from caption.decoding.beams import Beams
from caption.decoding.constraints import Filter, forbid
from caption.decoding.hypotheses import SHRINK, Hypotheses
from caption.decoding.options import LengthRule
from caption.models import Decoder, Features, State

ALPHA = 0.7  # of the length rule wu; GNMT found 0.6 to 0.7 best (arXiv 1609.08144, section 7)


def divisor(rule: LengthRule, length: int | Tensor) -> float | Tensor:
    """The divisor of the log-probability of `length` tokens, the end token included."""
    return {"none": 1.0, "avg": length, "wu": ((5 + length) / 6) ** ALPHA}[rule]


class Finished:
    """The n best captions of each group of each image that have ended."""

    def __init__(self, b: int, groups: int, n: int, like: Tensor) -> None:
        self.scores = like.new_full((b, groups, n), -torch.inf)
        self.steps = like.new_zeros(b, groups, n, dtype=torch.int64)
        self.beams = torch.zeros_like(self.steps)

    def add(self, images: Tensor, scores: Tensor, step: int) -> None:
        """Add the beams that ended at this step: `scores` (b, K), -inf for the others."""
        scores, beams, steps = self._grouped(scores, step)
        merged = torch.cat([self.scores[images], scores], 2)
        index = merged.argsort(dim=2, descending=True, stable=True)[..., : self.scores.shape[2]]
        self.scores[images] = merged.gather(2, index)
        for stored, new in ((self.steps, steps), (self.beams, beams)):
            stored[images] = torch.cat([stored[images], new], 2).gather(2, index)

    def can_change(self, images: Tensor, reach: Tensor) -> Tensor:
        """(b,) bool: whether a beam with upper bound `reach` (b, K) can still enter the list."""
        groups = reach.unflatten(1, (self.scores.shape[1], -1))
        return (groups.amax(2) > self.scores[images, :, -1]).any(1)

    def with_unfinished(self, scores: Tensor, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Steps, beams and scores (B, G * n); if fewer than n ended, beams that were cut off."""
        cut = self._grouped(scores, step)
        scores = torch.cat([self.scores, cut[0]], 2)
        ended = torch.cat([self.scores, torch.full_like(cut[0], -torch.inf)], 2) > -torch.inf
        order = ranking(scores, ended)[..., : self.scores.shape[2]]
        beams, steps = torch.cat([self.beams, cut[1]], 2), torch.cat([self.steps, cut[2]], 2)
        return tuple(t.gather(2, order).flatten(1) for t in (steps, beams, scores))

    def _grouped(self, scores: Tensor, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Scores (b, K), their beams and `step`, all (b, G, K / G)."""
        beams = torch.arange(scores.shape[1], device=scores.device).expand_as(scores)
        steps = torch.full_like(beams, step)
        return tuple(t.unflatten(1, (self.scores.shape[1], -1)) for t in (scores, beams, steps))


def ranking(scores: Tensor, ended: Tensor) -> Tensor:
    """The order of the last dimension: ended captions first, then by falling score."""
    order = scores.argsort(dim=-1, descending=True, stable=True)
    is_ended = ended.gather(-1, order).byte().argsort(dim=-1, descending=True, stable=True)
    return order.gather(-1, is_ended)


@torch.no_grad()
def beam_search(
    model: Decoder,
    features: Features,
    beams: Beams,
    max_length: int = 20,
    n: int = 1,
    rule: LengthRule = "none",
    filters: Sequence[Filter] = (),
    need_attention: bool = False,
) -> Hypotheses:
    """The `n` best captions of each image, at most as many as there are beams.

    With groups, the best of each group comes before any group's second; no caption comes twice.
    """
    search = _Search(model.begin(features), beams, max_length, rule)
    for step in range(max_length):
        log_probs, attention = search.next_log_probs(model, filters)
        if step == 0:
            search.start(log_probs, n)
        parents = search.choose(log_probs, attention if need_attention else None)
        if step == max_length - 1 or not search.is_open():
            break
        search.advance(parents)
    return search.captions(n)


class _Search:
    """The beams of the b images that are still searched, and the results of all B images."""

    def __init__(self, state: State, beams: Beams, max_length: int, rule: LengthRule) -> None:
        self.state, self.beams, self.max_length, self.rule = state, beams, max_length, rule
        b = len(state.rows[0])
        self.images = torch.arange(b, device=state.rows[0].device)
        self.tokens = self.images.new_zeros(b, 1)
        self.history = self.images.new_zeros(b, beams.width, max_length)
        self.step = 0

    def next_log_probs(
        self, model: Decoder, filters: Sequence[Filter]
    ) -> tuple[Tensor, Tensor | None]:
        """The filtered log-probabilities of the next token, and attention."""
        log_probs, self.state, attention = model.step(self.tokens, self.state)
        if filters:
            forbid(filters, log_probs, self.history[:, : self.tokens.shape[1], : self.step])
        if self.step == 0:  # the first step has a single hypothesis
            width = self.beams.width
            self.state, log_probs = self.state.expand(width), log_probs.expand(-1, width, -1)
            attention = None if attention is None else attention.expand(-1, width, -1)
        return log_probs, attention

    def start(self, log_probs: Tensor, n: int) -> None:
        """Set up the scores before the first token, and empty results."""
        self.scores = self.beams.initial_scores(log_probs)
        self.totals = torch.zeros_like(self.scores)
        (b, width), groups = self.scores.shape, self.beams.groups
        self.back_pointers = BackPointers(b, width, self.max_length, self.scores)
        self.finished = Finished(b, groups, n, self.scores)

    def choose(self, log_probs: Tensor, attention: Tensor | None) -> Tensor:
        """Choose the next tokens. Returns the beams (b, K) that they continue."""
        parents, self.tokens, self.scores = self.beams.choose(
            self.scores, self.totals, log_probs, self.images, self.step
        )
        rows = torch.arange(len(parents), device=parents.device)[:, None]
        gains = log_probs[rows, parents, self.tokens]
        self.totals = self.totals.gather(1, parents) + gains
        self.back_pointers.write(self.step, self.images, self.tokens, parents, gains)
        if attention is not None:
            self.back_pointers.write_attention(self.step, self.images, attention)
        ended = self.tokens == 0
        if self.beams.cut_is_end and self.step == self.max_length - 1:
            ended = torch.ones_like(ended)
        ranks = self.scores / divisor(self.rule, self.step + 1)
        self.finished.add(self.images, ranks.masked_fill(~ended, -torch.inf), self.step)
        self.scores = self.scores.masked_fill(ended, -torch.inf)
        return parents

    def is_open(self) -> bool:
        """Whether any beam of any image can still change a result."""
        reach = self.scores / divisor(self.rule, self.max_length)
        self.open_images = self.finished.can_change(self.images, reach)
        return bool(self.open_images.any())

    def advance(self, parents: Tensor) -> None:
        """Move on to the next step; drop finished images now and then."""
        if int(self.open_images.sum()) <= SHRINK * len(parents):
            for name in ("tokens", "scores", "totals", "history", "images"):
                setattr(self, name, getattr(self, name)[self.open_images])
            self.state, parents = (
                self.state.select_images(self.open_images),
                parents[self.open_images],
            )
        self.state = self.state.reorder(parents)
        self.history = self.history.gather(1, parents[..., None].expand_as(self.history))
        self.history[:, :, self.step] = self.tokens
        self.step += 1

    def captions(self, n: int) -> Hypotheses:
        """The n best of each image; those cut off by the last step come last."""
        unfinished = self.back_pointers.log_probs.new_full(
            self.back_pointers.tokens.shape[1:], -torch.inf
        )
        if self.step == self.max_length - 1:
            unfinished[self.images] = self.scores / divisor(self.rule, self.max_length)
            unfinished[:, : self.beams.incomplete] = -torch.inf
        found = self.back_pointers.read(*self.finished.with_unfinished(unfinished, self.step))
        return found if self.beams.groups == 1 else self._merged(found, n)

    def _merged(self, found: Hypotheses, n: int) -> Hypotheses:
        """Each group's best, then each group's second, until n differ; ordered by the model's own
        score."""
        index = torch.arange(found.tokens.shape[1], device=found.tokens.device)
        by_rank = index.view(self.beams.groups, -1).T.flatten()
        found = found.take(by_rank.expand(len(found.tokens), -1))
        same = (found.tokens[:, :, None] == found.tokens[:, None]).all(3) & (index < index[:, None])
        absent = same.any(2) | (found.scores == -torch.inf)
        found = found._replace(scores=found.scores.masked_fill(absent, -torch.inf))
        found = found.take(absent.byte().argsort(dim=1, stable=True)[:, :n])
        length = (found.tokens > 0).sum(2)
        ended = length < self.max_length
        scores = found.log_probs.sum(2) / divisor(self.rule, length + ended)
        scores = scores.masked_fill(found.scores == -torch.inf, -torch.inf)
        return found._replace(scores=scores).take(ranking(scores, ended & (scores > -torch.inf)))
