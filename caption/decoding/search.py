"""Beam search over a batch of images and all their beams at once.

In: a decoder of the protocol and features of B images. Out: `Hypotheses`, the n best, best first.

At each step the beams that `caption.decoding.beams` chooses go on; those that end leave for the
list of finished captions, as in self-critical.pytorch. A search is over as soon as no beam can
still overtake the n-th finished caption, which changes no result. A caption that was cut off at T
words ranks below all that ended.

B batch, b images still searched, K beams, G groups of beams, R regions, T words, V vocabulary.
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
    """What the log-probability of `length` words, the end included, is divided by."""
    return {"none": 1.0, "avg": length, "wu": ((5 + length) / 6) ** ALPHA}[rule]


class Finished:
    """The n best captions that have ended, of each group of each image."""

    def __init__(self, b: int, groups: int, n: int, like: Tensor) -> None:
        self.scores = like.new_full((b, groups, n), -torch.inf)
        self.steps = like.new_zeros(b, groups, n, dtype=torch.int64)
        self.beams = torch.zeros_like(self.steps)

    def offer(self, images: Tensor, scores: Tensor, step: int) -> None:
        """`scores` (b, K) of the beams that ended at this step, -inf for the others."""
        scores, beams, steps = self._grouped(scores, step)
        merged = torch.cat([self.scores[images], scores], 2)
        index = merged.argsort(dim=2, descending=True, stable=True)[..., : self.scores.shape[2]]
        self.scores[images] = merged.gather(2, index)
        for mine, new in ((self.steps, steps), (self.beams, beams)):
            mine[images] = torch.cat([mine[images], new], 2).gather(2, index)

    def overtaken(self, images: Tensor, reach: Tensor) -> Tensor:
        """(b,) bool: beams that can still reach `reach` (b, K) may change the list."""
        groups = reach.unflatten(1, (self.scores.shape[1], -1))
        return (groups.amax(2) > self.scores[images, :, -1]).any(1)

    def with_unfinished(self, scores: Tensor, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Steps, beams and scores (B, G * n): where fewer than n ended, beams (B, K) cut off."""
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
    """The order of the last dimension: what ended first, and within that, falling scores."""
    order = scores.argsort(dim=-1, descending=True, stable=True)
    there = ended.gather(-1, order).byte().argsort(dim=-1, descending=True, stable=True)
    return order.gather(-1, there)


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
        log_probs, attention = search.ask(model, filters)
        if step == 0:
            search.open(log_probs, n)
        parents = search.choose(log_probs, attention if need_attention else None)
        if step == max_length - 1 or not search.goes_on():
            break
        search.follow(parents)
    return search.captions(n)


class _Search:
    """The beams of b images while they are being searched, and what is known of all B images."""

    def __init__(self, state: State, beams: Beams, max_length: int, rule: LengthRule) -> None:
        self.state, self.beams, self.max_length, self.rule = state, beams, max_length, rule
        b = len(state.rows[0])
        self.images = torch.arange(b, device=state.rows[0].device)
        self.words = self.images.new_zeros(b, 1)
        self.said = self.images.new_zeros(b, beams.width, max_length)
        self.step = 0

    def ask(self, model: Decoder, filters: Sequence[Filter]) -> tuple[Tensor, Tensor | None]:
        """The log-probabilities of the next word, without what the filters forbid; attention."""
        log_probs, self.state, attention = model.step(self.words, self.state)
        if filters:
            forbid(filters, log_probs, self.said[:, : self.words.shape[1], : self.step])
        if self.step == 0:  # there was one hypothesis so far
            width = self.beams.width
            self.state, log_probs = self.state.expand(width), log_probs.expand(-1, width, -1)
            attention = None if attention is None else attention.expand(-1, width, -1)
        return log_probs, attention

    def open(self, log_probs: Tensor, n: int) -> None:
        """Scores before the first word, and empty books."""
        self.scores = self.beams.start(log_probs)
        self.totals = torch.zeros_like(self.scores)
        b, width, groups = *self.scores.shape, self.beams.groups
        self.back_pointers = BackPointers(b, width, self.max_length, self.scores)
        self.finished = Finished(b, groups, n, self.scores)

    def choose(self, log_probs: Tensor, attention: Tensor | None) -> Tensor:
        """The beams' next words; returns the beams (b, K) that they go on from."""
        parents, self.words, self.scores = self.beams.choose(
            self.scores, self.totals, log_probs, self.images, self.step
        )
        rows = torch.arange(len(parents), device=parents.device)[:, None]
        gains = log_probs[rows, parents, self.words]
        self.totals = self.totals.gather(1, parents) + gains
        self.back_pointers.write(self.step, self.images, self.words, parents, gains)
        if attention is not None:
            self.back_pointers.look(self.step, self.images, attention)
        ended = self.words == 0
        if self.beams.cut_is_end and self.step == self.max_length - 1:
            ended = torch.ones_like(ended)
        ranks = self.scores / divisor(self.rule, self.step + 1)
        self.finished.offer(self.images, ranks.masked_fill(~ended, -torch.inf), self.step)
        self.scores = self.scores.masked_fill(ended, -torch.inf)
        return parents

    def goes_on(self) -> bool:
        """Whether any beam may still change a result; drops the images where none can."""
        reach = self.scores / divisor(self.rule, self.max_length)
        self.going = self.finished.overtaken(self.images, reach)
        return bool(self.going.any())

    def follow(self, parents: Tensor) -> None:
        """On to the next step with the chosen beams, without the images that are done."""
        if int(self.going.sum()) <= SHRINK * len(parents):
            for name in ("words", "scores", "totals", "said", "images"):
                setattr(self, name, getattr(self, name)[self.going])
            self.state, parents = self.state.select_images(self.going), parents[self.going]
        self.state = self.state.reorder(parents)
        self.said = self.said.gather(1, parents[..., None].expand_as(self.said))
        self.said[:, :, self.step] = self.words
        self.step += 1

    def captions(self, n: int) -> Hypotheses:
        """The n best of each image; those cut off by the last step come last."""
        unfinished = self.back_pointers.log_probs.new_full(
            self.back_pointers.words.shape[1:], -torch.inf
        )
        if self.step == self.max_length - 1:
            unfinished[self.images] = self.scores / divisor(self.rule, self.max_length)
            unfinished[:, : self.beams.incomplete] = -torch.inf
        found = self.back_pointers.read(*self.finished.with_unfinished(unfinished, self.step))
        return found if self.beams.groups == 1 else self._merged(found, n)

    def _merged(self, found: Hypotheses, n: int) -> Hypotheses:
        """Each group's best, then each group's second, until n differ; ordered by the model's own
        score."""
        places = torch.arange(found.tokens.shape[1], device=found.tokens.device)
        by_rank = places.view(self.beams.groups, -1).T.flatten()
        found = found.take(by_rank.expand(len(found.tokens), -1))
        same = (found.tokens[:, :, None] == found.tokens[:, None]).all(3) & (
            places < places[:, None]
        )
        absent = same.any(2) | (found.scores == -torch.inf)
        found = found._replace(scores=found.scores.masked_fill(absent, -torch.inf))
        found = found.take(absent.byte().argsort(dim=1, stable=True)[:, :n])
        length = (found.tokens > 0).sum(2)
        ended = length < self.max_length
        scores = found.log_probs.sum(2) / divisor(self.rule, length + ended)
        scores = scores.masked_fill(found.scores == -torch.inf, -torch.inf)
        return found._replace(scores=scores).take(ranking(scores, ended & (scores > -torch.inf)))
