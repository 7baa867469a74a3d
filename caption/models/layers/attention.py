"""Additive attention over regions, with the keys computed once an image.

Bahdanau et al. 2015 (arXiv 1409.0473), Xu et al. 2015 (arXiv 1502.03044): weights = softmax over
regions of v . tanh(key + query).

Queries come as rows, image by image, as many of each image as `shares` says. A masked region's
weight is 0.

B batch, n queries of all images, R regions, A the attention's size, D values' size.
"""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable

from caption.models.layers.recurrence import DeferredWeightGrad

Look = Callable[[Tensor, Sequence[int]], tuple[Tensor, Tensor]]
"""hiddens (n, H) and each image's share of them, to what is seen (n, D) and the weights (n, R)"""
Sums = dict[str, Tensor]
"""gradients that grow while a loop goes back"""


class AdditiveAttention(nn.Module):
    """`key` and `query` project to A; `score` is v. A bias of v would leave the softmax alone."""

    def __init__(self, values: int, query: int, size: int) -> None:
        super().__init__()
        self.key = nn.Linear(values, size)
        self.query = nn.Linear(query, size, bias=False)
        self.score = nn.Linear(size, 1, bias=False)

    def over(self, keys: Tensor, values: Tensor, mask: Tensor, counts: Sequence[int]) -> Look:
        """For a loop over time, `counts[t]` rows at its step t.

        What all steps look at gets its gradient in one sum, which autograd would begin anew, and
        read and write whole, at every step. So a backward pass has to reach the keys or leave the
        whole loop alone, as a training step's does.
        """
        zero = keys.new_zeros(()).expand(sum(counts), self.query.out_features)
        query, sums = DeferredWeightGrad(zero, self.query.weight, counts), {}
        twice, values = _Summed.apply(2 * keys, values, self.score.weight[0], sums)

        def look(hidden: Tensor, shares: Sequence[int]) -> tuple[Tensor, Tensor]:
            weights = self._scores(query(hidden), twice, mask, shares, sums).softmax(-1)
            return _Mixed.apply(weights, values, shares, sums), weights

        return look

    def scores(self, query: Tensor, keys: Tensor, mask: Tensor, shares: Sequence[int]) -> Tensor:
        """What the softmax takes, (n, R): -inf for a masked region.

        `query` (n, A), `keys` (B, R, A), `mask` (B, R) bool.
        """
        return self._scores(query, 2 * keys, mask, shares, None)

    def _scores(
        self, query: Tensor, twice: Tensor, mask: Tensor, shares: Sequence[int], sums: Sums | None
    ) -> Tensor:
        scores = _Scores.apply(query, twice, self.score.weight[0], shares, sums)
        equal = len(set(shares)) == 1
        repeats = shares[0] if equal else torch.tensor(shares, device=mask.device)
        return scores.masked_fill(~mask.repeat_interleave(repeats, 0), -torch.inf)


def mixed(weights: Tensor, values: Tensor, shares: Sequence[int]) -> Tensor:
    """Each row's mean of its image's `values` (B, R, D) under its `weights` (n, R): (n, D)."""
    return _Mixed.apply(weights, values, shares, None)


class _Summed(torch.autograd.Function):
    """Keys and values unchanged; backward, what the steps of a loop have put into `sums`."""

    @staticmethod
    def forward(ctx: FunctionCtx, twice: Tensor, values: Tensor, v: Tensor, sums: Sums) -> tuple:
        ctx.sums, ctx.v = sums, v.detach()
        ctx.set_materialize_grads(False)
        return twice.view_as(twice), values.view_as(values)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, *_: None) -> tuple[Tensor | None, ...]:
        keys, values = ctx.sums.pop("keys", None), ctx.sums.pop("values", None)
        return None if keys is None else keys.mul_(2 * ctx.v.to(keys.dtype)), values, None, None


def _sum(sums: Sums | None, name: str, like: Tensor) -> Tensor:
    """Where a gradient is added to."""
    if sums is None:
        return torch.zeros_like(like)
    if name not in sums:
        sums[name] = torch.zeros_like(like)
    return sums[name]


class _Mixed(torch.autograd.Function):
    """One product an image; of all images together where they have equal numbers of rows."""

    @staticmethod
    def forward(
        ctx: FunctionCtx, weights: Tensor, values: Tensor, shares: Sequence[int], sums: Sums | None
    ) -> Tensor:
        weights = weights.to(values.dtype)
        ctx.save_for_backward(weights, values)
        ctx.shares, ctx.sums = shares, sums
        if len(set(shares)) == 1:
            return (weights.unflatten(0, (len(shares), -1)) @ values).flatten(0, 1)
        return torch.cat([w @ v for w, v in zip(weights.split(list(shares)), values, strict=True)])

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
        weights, values = ctx.saved_tensors
        d_weights, d_values = torch.empty_like(weights), _sum(ctx.sums, "values", values)
        if len(set(ctx.shares)) == 1:
            rows = [t.unflatten(0, (len(ctx.shares), -1)) for t in (grad, weights, d_weights)]
            torch.bmm(rows[0], values.mT, out=rows[2])
            d_values.baddbmm_(rows[1].mT, rows[0])
        else:
            rows = (t.split(list(ctx.shares)) for t in (grad, weights, d_weights))
            for g, w, d_w, v, d_v in zip(*rows, values.mT, d_values, strict=True):
                torch.mm(g, v, out=d_w)
                d_v.addmm_(w.T, g)
        return d_weights, None if ctx.sums is not None else d_values, None, None


class _Scores(torch.autograd.Function):
    """tanh(keys + query) . v, in blocks that stay in a CPU's cache from the sum to the product.

    Nearly all of an additive decoder's time beyond its matrix products is this tanh, (n, R, A) at
    every step. To compute it again on the way back is faster than to write it to memory and
    read it, and a caption's steps would fill hundreds of megabytes. It is written
    tanh(x) = 2 sigmoid(2x) - 1: on a CPU, PyTorch computes several sigmoids in a tanh's time.
    The keys come doubled.
    """

    @staticmethod
    def forward(
        ctx: FunctionCtx, query: Tensor, twice: Tensor, v: Tensor, shares: Sequence[int],
        sums: Sums | None,
    ) -> Tensor:  # fmt: skip
        query, twice, v = 2 * query, twice.to(query.dtype), v.to(query.dtype)
        ctx.save_for_backward(query, twice, v)
        ctx.shares, ctx.sums = shares, sums
        scores = query.new_empty(len(query), twice.shape[1])
        for q, out, k, y in _blocks(shares, (query, scores), (twice,)):
            torch.add(k.unsqueeze(-3), q.unsqueeze(-2), out=y).sigmoid_()
            torch.mv(y.view(-1, len(v)), v, out=out.view(-1))
        return scores.mul_(2).sub_(v.sum())

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
        query, twice, v = ctx.saved_tensors
        d_twice, d_query = _sum(ctx.sums, "keys", twice), torch.empty_like(query)
        grad, d_v = grad.contiguous(), torch.zeros_like(v)
        for q, g, d_q, k, d_k, y in _blocks(ctx.shares, (query, grad, d_query), (twice, d_twice)):
            torch.add(k.unsqueeze(-3), q.unsqueeze(-2), out=y).sigmoid_()
            d_v.addmv_(y.view(-1, len(v)).T, g.view(-1))
            slope = y.addcmul_(y, y, value=-1).mul_(g.unsqueeze(-1))  # y (1 - y) grad
            torch.sum(slope, -2, out=d_q)
            d_k.add_(slope.sum(-3))
        d_v.mul_(2).sub_(grad.sum())
        own = None if ctx.sums is not None else d_twice.mul_(2 * v)
        return d_query.mul_(4 * v), own, d_v, None, None


def _blocks(
    shares: Sequence[int], rows: Sequence[Tensor], images: Sequence[Tensor]
) -> Iterator[tuple[Tensor, ...]]:
    """Some images' queries after others': of `rows` (q, ...), of `images` (...), a buffer.

    The buffer (q, R, A) has room for each query beside each of the first of `images` (B, R, A).
    """
    return (_few if images[0].device.type == "cpu" else _whole)(shares, rows, images)


def _whole(
    shares: Sequence[int], rows: Sequence[Tensor], images: Sequence[Tensor]
) -> Iterator[tuple[Tensor, ...]]:
    """All at once, with a first dimension of images: where starting a kernel costs the most."""
    if len(set(shares)) > 1:
        raise NotImplementedError("unequal shares of images, but on a CPU")
    split = [t.unflatten(0, (len(shares), -1)) for t in rows]
    yield (*split, *images, images[0].new_empty(*split[0].shape[:2], *images[0].shape[1:]))


def _few(
    shares: Sequence[int], rows: Sequence[Tensor], images: Sequence[Tensor], few: int = 8
) -> Iterator[tuple[Tensor, ...]]:
    """One image and a few queries: their buffer stays in a CPU's cache."""
    pieces = [(i, min(few, n - at)) for i, n in enumerate(shares) for at in range(0, n, few)]
    sizes = [size for _, size in pieces]
    buffer = images[0].new_empty(max(sizes), *images[0].shape[1:])
    split = zip(*(t.split(sizes) for t in rows), strict=True)
    each = list(zip(*(t.unbind() for t in images), strict=True))
    for (image, size), some in zip(pieces, split, strict=True):
        yield (*some, *each[image], buffer[:size])


def mean_region(att: Tensor, mask: Tensor) -> Tensor:
    """The mean of the real regions: `att` (B, R, D), `mask` (B, R), to (B, D)."""
    real = mask[:, None].to(att.dtype)
    return (real @ att / real.sum(2, keepdim=True))[:, 0]
