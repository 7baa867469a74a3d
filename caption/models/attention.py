"""Additive attention over regions, with the keys computed once an image.

Bahdanau et al. 2015 (arXiv 1409.0473), Xu et al. 2015 (arXiv 1502.03044): weights = softmax over
regions of v . tanh(key + query).

Queries come as rows, image by image, as many of each image as `shares` says.

B batch, n queries of all images, R regions, A the attention's size, D values' size.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable

from caption.models.recurrent import Recurrence


class AdditiveAttention(nn.Module):
    """`key` and `query` project to A; `score` is v. A bias of v would leave the softmax alone."""

    def __init__(self, values: int, query: int, size: int) -> None:
        super().__init__()
        self.key = nn.Linear(values, size)
        self.query = nn.Linear(query, size, bias=False)
        self.score = nn.Linear(size, 1, bias=False)

    def queries(self, counts: Sequence[int], like: Tensor) -> Recurrence:
        """Projects the hiddens (n, H) of a loop, `counts` of them a step, to queries (n, A)."""
        zero = like.new_zeros(()).expand(sum(counts), self.query.out_features)
        return Recurrence(zero, self.query.weight, counts)

    def forward(
        self, query: Tensor, keys: Tensor, values: Tensor, mask: Tensor, shares: Sequence[int]
    ) -> tuple[Tensor, Tensor]:
        """`query` (n, A), `keys` (B, R, A), `values` (B, R, D), `mask` (B, R) bool.

        Returns the attended values (n, D) and the weights (n, R); a masked region's is 0.
        """
        weights = self.scores(query, keys, mask, shares).softmax(-1)
        return mixed(weights, values, shares), weights

    def scores(self, query: Tensor, keys: Tensor, mask: Tensor, shares: Sequence[int]) -> Tensor:
        """What the softmax takes, (n, R): -inf for a masked region."""
        scores = _Scores.apply(query, keys, self.score.weight[0], shares)
        equal = len(set(shares)) == 1
        repeats = shares[0] if equal else torch.tensor(shares, device=mask.device)
        return scores.masked_fill(~mask.repeat_interleave(repeats, 0), -torch.inf)


def mixed(weights: Tensor, values: Tensor, shares: Sequence[int]) -> Tensor:
    """Each row's mean of its image's `values` (B, R, D) under its `weights` (n, R): (n, D)."""
    if len(set(shares)) == 1:
        return (weights.unflatten(0, (len(shares), -1)) @ values).flatten(0, 1)
    return _Mixed.apply(weights, values, shares)


class _Mixed(torch.autograd.Function):
    """One product an image where images have unequal numbers of rows."""

    @staticmethod
    def forward(ctx: FunctionCtx, weights: Tensor, values: Tensor, shares: Sequence[int]) -> Tensor:
        ctx.save_for_backward(weights, values)
        ctx.shares = shares
        pairs = zip(weights.split(list(shares)), values, strict=True)
        return torch.cat([some @ v for some, v in pairs])

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        weights, values = ctx.saved_tensors
        d_weights, d_values = torch.empty_like(weights), torch.empty_like(values)
        for at, rows in _by_image(ctx.shares):
            torch.mm(grad[rows], values[at].T, out=d_weights[rows])
            torch.mm(weights[rows].T, grad[rows], out=d_values[at])
        return d_weights, d_values, None


class _Scores(torch.autograd.Function):
    """tanh(keys + query) . v, in blocks that stay in a CPU's cache from the sum to the product.

    Nearly all of an additive decoder's time beyond its matrix products is this tanh, (n, R, A) at
    every step. To compute it again on the way back is faster than to write it to memory and
    read it, and a caption's steps would fill hundreds of megabytes. It is written
    tanh(x) = 2 sigmoid(2x) - 1: on a CPU, PyTorch computes several sigmoids in a tanh's time.
    """

    @staticmethod
    def forward(
        ctx: FunctionCtx, query: Tensor, keys: Tensor, v: Tensor, shares: Sequence[int]
    ) -> Tensor:
        query, keys, v = 2 * query, 2 * keys.to(query.dtype), v.to(query.dtype)
        ctx.save_for_backward(query, keys, v)
        ctx.shares = shares
        scores = query.new_empty(len(query), keys.shape[1])
        for block in _sigmoids(query, keys, shares):
            scores[block.rows] = (block.y @ v).flatten(0, 1)
        return 2 * scores - v.sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        query, keys, v = ctx.saved_tensors
        d_query, d_keys, d_v = torch.empty_like(query), torch.zeros_like(keys), -grad.sum()
        for images, rows, y in _sigmoids(query, keys, ctx.shares):
            part = grad[rows]
            d_v = d_v + 2 * (part.flatten() @ y.flatten(0, 2))
            slope = y.sub_(y * y).mul_(part.view(y.shape[:3])[..., None])  # y (1 - y) grad
            torch.sum(slope.flatten(0, 1), 1, out=d_query[rows])
            d_keys[images] += slope.sum(1)
        return d_query.mul_(4 * v), d_keys.mul_(4 * v), d_v, None


class _Block(NamedTuple):
    images: slice
    rows: slice
    y: Tensor
    """(images, rows of each, R, A)"""


def _sigmoids(query: Tensor, keys: Tensor, shares: Sequence[int]) -> Iterator[_Block]:
    """sigmoid(keys + query), some images and queries after others, in one buffer.

    An image and a few queries at a time on a CPU; all at once where starting a kernel costs more.
    """
    few = 8
    blocks = [
        (slice(at, at + 1), slice(first, min(first + few, rows.stop)))
        for at, rows in _by_image(shares)
        for first in range(rows.start, rows.stop, few)
    ]
    if query.device.type != "cpu":
        blocks = [(slice(0, len(shares)), slice(0, len(query)))]
    y: Tensor | None = None
    for images, rows in blocks:
        q = query[rows].unflatten(0, (images.stop - images.start, -1))[:, :, None]
        k = keys[images, None]
        if y is None or y.shape[1] < q.shape[1]:
            y = query.new_empty(len(q), q.shape[1], *keys.shape[1:])
        yield _Block(images, rows, torch.add(k, q, out=y[:, : q.shape[1]]).sigmoid_())


def _by_image(shares: Sequence[int]) -> Iterator[tuple[int, slice]]:
    """Each image and its rows, which may be none."""
    first = 0
    for image, share in enumerate(shares):
        yield image, slice(first, first + share)
        first += share


def mean_region(att: Tensor, mask: Tensor) -> Tensor:
    """The mean of the real regions: `att` (B, R, D), `mask` (B, R), to (B, D)."""
    real = mask[:, None].to(att.dtype)
    return (real @ att / real.sum(2, keepdim=True))[:, 0]
