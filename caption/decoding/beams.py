"""Rules that choose which continuations of its beams a search keeps.

    Beams          the K best
    DiverseBeams   the best of each group, with a penalty for the tokens of earlier groups
    BankedBeams    the K best for each subset of the required words that they contain
    GumbelBeams    K sampled without replacement

    choose(scores, totals, log_probs, images, step) -> parents, tokens, scores, each (b, K)

`scores` (b, K) rank the beams, -inf for an empty beam; `totals` (b, K) are their log-probabilities,
`log_probs` (b, K, V + 1) those of the next token.

b images of the batch, K beams, V vocabulary.
"""

import torch
from torch import Tensor

from caption.decoding.rng import gumbel

Choice = tuple[Tensor, Tensor, Tensor]


BLOCK = 256  # tokens in a block, whose maximum is computed first


def largest(x: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest of the last dimension in falling order; of equal values, the first."""
    rows = x.flatten(0, -2)[:, None]
    values, index = largest_sums(rows.new_zeros(len(rows), 1), rows, k)
    return values.unflatten(0, x.shape[:-1]), index.unflatten(0, x.shape[:-1])


def largest_sums(scores: Tensor, log_probs: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest of `scores` (b, K) + `log_probs` (b, K, w), in falling order; of equal sums,
    the first. Returns them and their flat indices, (b, k).

    topk does not define the order of equal values. They are rare, so only the rows with equal
    values among the k + 1 largest are sorted.
    """
    best, index = _top_sums(scores, log_probs, min(k + 1, log_probs[0].numel()))
    rows = ((best[:, 1:] == best[:, :-1]) & (best[:, 1:] > -torch.inf)).any(1)
    best, index = best[:, :k], index[:, :k]
    if rows.any():
        sums = (scores[rows, :, None] + log_probs[rows]).flatten(1)
        best[rows], index[rows] = _top_in_order(sums, best[rows])
    return best, index


def _top_in_order(x: Tensor, best: Tensor) -> tuple[Tensor, Tensor]:
    """`best` (b, k), the k largest of `x` (b, n), and their indices, of equal values the first.

    Sorts only what is not below the k-th, seldom more than k + 1 values a row.
    """
    most = int((~(x < best[:, -1:])).sum(1).max())  # counts NaN, which topk ranks first
    index = x.topk(most).indices.sort(1).values
    order = x.gather(1, index).argsort(dim=1, descending=True, stable=True)[:, : best.shape[1]]
    index = index.gather(1, order)
    return x.gather(1, index), index


def _top_sums(scores: Tensor, log_probs: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """topk of `scores` (b, K) + `log_probs` (b, K, w), and its flat indices (b, k).

    Several times as fast for small k: the k largest are in the k blocks with the largest maxima.
    """
    (b, beams), width = scores.shape, log_probs.shape[-1]
    whole = width - width % BLOCK
    if beams * whole < 4 * k * BLOCK:
        return (scores[..., None] + log_probs).flatten(1).topk(k)
    blocks = log_probs[..., :whole].unflatten(-1, (-1, BLOCK))
    maxima = (scores[..., None] + blocks.amax(-1)).flatten(1)
    best = maxima.topk(k).indices  # (b, k)
    beam, block = best // blocks.shape[2], best % blocks.shape[2]
    image = torch.arange(b, device=best.device)[:, None]
    sums = scores[image, beam][..., None] + blocks[image, beam, block]  # (b, k, BLOCK)
    rest = scores[..., None] + log_probs[..., whole:]
    values, found = torch.cat([sums.flatten(1), rest.flatten(1)], 1).topk(k)
    index = torch.arange(beams * width, device=best.device).view(beams, width)
    in_blocks = index[:, :whole].unflatten(-1, (-1, BLOCK))[beam, block]
    rest = index[:, whole:].flatten().expand(b, -1)
    return values, torch.cat([in_blocks.flatten(1), rest], 1).gather(1, found)


class Beams:
    """Plain beam search: the `width` best of all continuations."""

    groups = 1
    incomplete = 0  # number of leading beams whose captions lack required words
    cut_is_end = False  # whether a caption that was cut off counts as ended

    def __init__(self, width: int) -> None:
        self.width = width

    def initial_scores(self, log_probs: Tensor) -> Tensor:
        """Scores (b, K) before the first token: one beam, or one a group; -inf for the rest."""
        scores = log_probs.new_full((len(log_probs), self.width), -torch.inf)
        scores[:, :: self.width // self.groups] = 0
        return scores

    def choose(
        self, scores: Tensor, totals: Tensor, log_probs: Tensor, images: Tensor, step: int
    ) -> Choice:
        """The K best continuations of all beams; of equal ones, the first."""
        width = log_probs.shape[-1]
        best, index = largest_sums(scores, log_probs, scores.shape[1])
        return index // width, index % width, best


class DiverseBeams(Beams):
    """Vijayakumar et al. 2018 (arXiv 1610.02424), with their Hamming diversity.

    Each group searches on its own, but a token costs `penalty` for each beam of an earlier group
    that has chosen it at this step.
    """

    def __init__(self, width: int, groups: int, penalty: float) -> None:
        assert width % groups == 0
        super().__init__(width)
        self.groups, self.penalty = groups, penalty

    def choose(
        self, scores: Tensor, totals: Tensor, log_probs: Tensor, images: Tensor, step: int
    ) -> Choice:
        penalties = torch.zeros_like(log_probs[:, :1])
        size = self.width // self.groups
        results = []
        for first in range(0, self.width, size):
            group = slice(first, first + size)
            own = log_probs[:, group] - penalties
            parents, tokens, best = super().choose(scores[:, group], totals, own, images, step)
            amounts = (best > -torch.inf) * self.penalty
            penalties[:, 0].scatter_add_(1, tokens, amounts.to(penalties.dtype))
            results.append((parents + first, tokens, best))
        return tuple(torch.cat(parts, 1) for parts in zip(*results, strict=True))


class BankedBeams(Beams):
    """Anderson et al. 2017 (arXiv 1612.00576): captions that contain all `required` words.

    Every subset of the required words has a bank of `size` beams; the bits of a bank's number say
    which words its beams contain. A beam enters another bank when it takes a required word for the
    first time. Only beams of the last bank, which contain all words, may end.

    With required words dog (bit 0) and ball (bit 1) there are four banks:

        bank 0  a brown          -> takes "dog"   enters bank 1
        bank 1  a brown dog with -> takes "a"     stays in bank 1
        bank 1  a brown dog with -> takes "ball"  enters bank 3
        bank 3  a dog and a ball -> may end

    A bank keeps the `size` best of the beams that stay in it and of those that enter it.
    """

    def __init__(self, size: int, required: Tensor) -> None:
        """`required` (C,) int64, different words"""
        self.size, self.required = size, required
        banks, bits = torch.arange(2 ** len(required)), 2 ** torch.arange(len(required))
        self.contains = (banks[:, None] & bits > 0).to(required.device)  # (S, C)
        self.source = (banks[:, None] & ~bits).to(required.device)  # (S, C): the bank before
        super().__init__(size * len(banks))
        self.incomplete = self.width - size

    def choose(
        self, scores: Tensor, totals: Tensor, log_probs: Tensor, images: Tensor, step: int
    ) -> Choice:
        banks, size = len(self.contains), self.size
        split = log_probs.unflatten(1, (banks, size))  # (b, S, K, V + 1)
        new = split[..., self.required].masked_fill(self.contains[:, None], -torch.inf)
        stay = split.clone()
        stay[..., self.required] = stay[..., self.required].masked_fill(
            ~self.contains[:, None], -torch.inf
        )
        stay[:, :-1, :, 0] = -torch.inf
        gains, tokens = largest(stay, size)
        own = scores.unflatten(1, (banks, size))[..., None]
        totals = torch.cat([(own + gains).flatten(2), self._arrivals(own + new)], 2)
        index = totals.argsort(dim=2, descending=True, stable=True)[..., :size]
        parents = self._parents(gains.shape[-1]).expand(len(scores), -1, -1).gather(2, index)
        arriving = self.required.repeat_interleave(size).expand(len(scores), banks, -1)
        tokens = torch.cat([tokens.flatten(2), arriving], 2).gather(2, index)
        return parents.flatten(1), tokens.flatten(1), totals.gather(2, index).flatten(1)

    def _arrivals(self, new: Tensor) -> Tensor:
        """`new` (b, S, K, C) by the bank that is left, to (b, S, C * K) by the bank entered."""
        bit = torch.arange(len(self.required), device=new.device)
        entered = new[:, self.source, :, bit]  # (S, C, b, K): advanced indices come first
        entered = entered.permute(2, 0, 1, 3)
        return entered.masked_fill(~self.contains[..., None], -torch.inf).flatten(2)

    def _parents(self, width: int) -> Tensor:
        """(S, K * width + C * K) the beam that each candidate of a bank continues."""
        beams = torch.arange(self.width, device=self.required.device).view(-1, self.size)
        stay = beams.repeat_interleave(width, 1)
        return torch.cat([stay, beams[self.source].flatten(1)], 1)


class GumbelBeams(Beams):
    """Kool et al. 2019 (arXiv 1903.06059), stochastic beam search: n different captions.

    Log-probabilities are perturbed by Gumbel noise, top-down, so that the n best captions are n
    samples without replacement. `scores` are the perturbed log-probabilities.
    """

    cut_is_end = True

    def __init__(self, width: int, keys: Tensor) -> None:
        """`keys` (B,) int64, the random keys of the images"""
        super().__init__(width)
        self.keys = keys

    def choose(
        self, scores: Tensor, totals: Tensor, log_probs: Tensor, images: Tensor, step: int
    ) -> Choice:
        noise = gumbel(self.keys[images], log_probs[0].numel(), step).view_as(log_probs)
        perturbed, tokens = largest(log_probs + noise.to(log_probs.dtype), self.width)
        # The best child gets the score of its parent and the others are shifted: the numerically
        # stable form of appendix B.3.
        below = perturbed - perturbed[..., :1]  # 0 for the best
        own = scores[..., None]
        v = own - (totals[..., None] + perturbed) + (-below.expm1()).log()
        children = own - v.clamp(min=0) - (-v.abs()).exp().log1p()
        empty = (own == -torch.inf) | (perturbed == -torch.inf)
        return _best(children.masked_fill(empty, -torch.inf), tokens, self.width)


def _best(scores: Tensor, tokens: Tensor, k: int) -> Choice:
    """The k best of `scores` (b, K, w), whose tokens are `tokens` (b, K, w)."""
    index = scores.flatten(1).argsort(dim=1, descending=True, stable=True)[:, :k]
    parents = index // scores.shape[-1]
    return parents, tokens.flatten(1).gather(1, index), scores.flatten(1).gather(1, index)
