"""Which continuations of its beams a search goes on with: four rules behind one call.

    Beams          the K likeliest
    DiverseBeams   the likeliest of each group, minus a price for what earlier groups have said
    BankedBeams    the K likeliest for each set of required words that has been said
    GumbelBeams    K at random, without replacement

    choose(scores, totals, log_probs, images, step) -> parents, words, scores, each (b, K)

`scores` (b, K) are what beams are chosen by, -inf for a place without a hypothesis, `totals` (b, K)
their log-probabilities, `log_probs` (b, K, V + 1) those of the next word.

b images of the batch, K beams, V vocabulary.
"""

import torch
from torch import Tensor

from caption.decoding.rng import gumbel

Choice = tuple[Tensor, Tensor, Tensor]


BLOCK = 16  # words that are first looked at together


def largest(x: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest of the last dimension, falling; of equals, the first.

    topk leaves the order of equals open. They are rare, so only the rows where some are among the
    k + 1 largest are sorted.
    """
    values, index = _top(x, min(k + 1, x.shape[-1]))
    equal = (values[..., 1:] == values[..., :-1]) & (values[..., 1:] > -torch.inf)
    rows = equal.any(-1)
    values, index = values[..., :k], index[..., :k]
    if rows.any():
        in_order, places = x[rows].sort(descending=True, stable=True)
        values[rows], index[rows] = in_order[:, :k], places[:, :k]
    return values, index


def _top(x: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """topk, three times as fast where k is small: the k largest are in the k best blocks."""
    width = x.shape[-1]
    stride = width // BLOCK  # a block is every stride-th word, so that maxima vectorise
    if stride < 4 * k:
        return x.topk(k)
    blocks = x[..., : stride * BLOCK].unflatten(-1, (BLOCK, stride))
    best = blocks.amax(-2).topk(k).indices  # (..., k)
    index = best[..., None, :] + torch.arange(0, stride * BLOCK, stride, device=x.device)[:, None]
    rest = torch.arange(stride * BLOCK, width, device=x.device)
    index = torch.cat([index.flatten(-2), rest.expand(*x.shape[:-1], -1)], -1)
    values, places = x.gather(-1, index).topk(k)
    return values, index.gather(-1, places)


class Beams:
    """Plain beam search: the `width` best of all continuations."""

    groups = 1
    incomplete = 0  # the first beams, whose captions are not wanted as they are
    cut_is_end = False  # whether a caption cut off at its greatest length is as good as ended

    def __init__(self, width: int) -> None:
        self.width = width

    def start(self, log_probs: Tensor) -> Tensor:
        """Scores (b, K) before the first word: one beam, or one a group, and room for more."""
        scores = log_probs.new_full((len(log_probs), self.width), -torch.inf)
        scores[:, :: self.width // self.groups] = 0
        return scores

    def choose(
        self, scores: Tensor, totals: Tensor, log_probs: Tensor, images: Tensor, step: int
    ) -> Choice:
        """First the best of each beam, then the best of those: few sums, and no full sort."""
        gains, words = largest(log_probs, scores.shape[1])
        return _best(scores[..., None] + gains, words, scores.shape[1])


class DiverseBeams(Beams):
    """Vijayakumar et al. 2018 (arXiv 1610.02424), with their Hamming diversity.

    Each group searches on its own, but a word costs `penalty` for each beam of an earlier group
    that has just said it.
    """

    def __init__(self, width: int, groups: int, penalty: float) -> None:
        assert width % groups == 0
        super().__init__(width)
        self.groups, self.penalty = groups, penalty

    def choose(
        self, scores: Tensor, totals: Tensor, log_probs: Tensor, images: Tensor, step: int
    ) -> Choice:
        price = torch.zeros_like(log_probs[:, :1])
        size = self.width // self.groups
        chosen = []
        for first in range(0, self.width, size):
            group = slice(first, first + size)
            own = log_probs[:, group] - price
            parents, words, best = super().choose(scores[:, group], totals, own, images, step)
            said = (best > -torch.inf) * self.penalty
            price[:, 0].scatter_add_(1, words, said.to(price.dtype))
            chosen.append((parents + first, words, best))
        return tuple(torch.cat(parts, 1) for parts in zip(*chosen, strict=True))


class BankedBeams(Beams):
    """Anderson et al. 2017 (arXiv 1612.00576): captions that say all the `required` words.

    Every subset of them has a bank of `size` beams, numbered by its bits; a beam goes to another
    bank by saying a required word for the first time. Only beams of the last bank may end.
    """

    def __init__(self, size: int, required: Tensor) -> None:
        """`required` (C,) int64, different words"""
        self.size, self.required = size, required
        banks, bits = torch.arange(2 ** len(required)), 2 ** torch.arange(len(required))
        self.said = (banks[:, None] & bits > 0).to(required.device)  # (S, C)
        self.source = (banks[:, None] & ~bits).to(required.device)  # (S, C): the bank before
        super().__init__(size * len(banks))
        self.incomplete = self.width - size

    def choose(
        self, scores: Tensor, totals: Tensor, log_probs: Tensor, images: Tensor, step: int
    ) -> Choice:
        banks, size = len(self.said), self.size
        split = log_probs.unflatten(1, (banks, size))  # (b, S, K, V + 1)
        new = split[..., self.required].masked_fill(self.said[:, None], -torch.inf)
        stay = split.clone()
        stay[..., self.required] = stay[..., self.required].masked_fill(
            ~self.said[:, None], -torch.inf
        )
        stay[:, :-1, :, 0] = -torch.inf
        gains, words = largest(stay, size)
        own = scores.unflatten(1, (banks, size))[..., None]
        totals = torch.cat([(own + gains).flatten(2), self._arrivals(own + new)], 2)
        index = totals.argsort(dim=2, descending=True, stable=True)[..., :size]
        parents = self._parents(gains.shape[-1]).expand(len(scores), -1, -1).gather(2, index)
        arriving = self.required.repeat_interleave(size).expand(len(scores), banks, -1)
        words = torch.cat([words.flatten(2), arriving], 2).gather(2, index)
        return parents.flatten(1), words.flatten(1), totals.gather(2, index).flatten(1)

    def _arrivals(self, new: Tensor) -> Tensor:
        """`new` (b, S, K, C) by the bank left, to (b, S, C * K) by the bank entered."""
        word = torch.arange(len(self.required), device=new.device)
        entered = new[:, self.source, :, word]  # (S, C, b, K): advanced indices come first
        entered = entered.permute(2, 0, 1, 3)
        return entered.masked_fill(~self.said[..., None], -torch.inf).flatten(2)

    def _parents(self, width: int) -> Tensor:
        """(S, K * width + C * K) the beam that each candidate of a bank goes on from."""
        beams = torch.arange(self.width, device=self.required.device).view(-1, self.size)
        stay = beams.repeat_interleave(width, 1)
        return torch.cat([stay, beams[self.source].flatten(1)], 1)


class GumbelBeams(Beams):
    """Kool et al. 2019 (arXiv 1903.06059), stochastic beam search: n different captions, drawn.

    Log-probabilities perturbed by Gumbel noise, top-down, so that the best n of all captions are n
    draws without replacement. `scores` are the perturbed log-probabilities.
    """

    cut_is_end = True

    def __init__(self, width: int, keys: Tensor) -> None:
        """`keys` (B,) int64, the images' own random seeds"""
        super().__init__(width)
        self.keys = keys

    def choose(
        self, scores: Tensor, totals: Tensor, log_probs: Tensor, images: Tensor, step: int
    ) -> Choice:
        noise = gumbel(self.keys[images], log_probs[0].numel(), step).view_as(log_probs)
        perturbed, words = largest(log_probs + noise.to(log_probs.dtype), self.width)
        # the greatest of the children gets the score of the parent, the others shift along: the
        # numerically stable form of the paper's appendix B.3
        below = perturbed - perturbed[..., :1]  # 0 for the greatest
        own = scores[..., None]
        v = own - (totals[..., None] + perturbed) + (-below.expm1()).log()
        children = own - v.clamp(min=0) - (-v.abs()).exp().log1p()
        dead = (own == -torch.inf) | (perturbed == -torch.inf)
        return _best(children.masked_fill(dead, -torch.inf), words, self.width)


def _best(scores: Tensor, words: Tensor, k: int) -> Choice:
    """The k best of `scores` (b, K, w), of which `words` (b, K, w) are the words."""
    index = scores.flatten(1).argsort(dim=1, descending=True, stable=True)[:, :k]
    parents = index // scores.shape[-1]
    return parents, words.flatten(1).gather(1, index), scores.flatten(1).gather(1, index)
