"""Additive attention over regions, with the keys computed once an image.

Bahdanau et al. 2015 (arXiv 1409.0473), Xu et al. 2015 (arXiv 1502.03044): weights = softmax over
regions of v . tanh(key + query).

Queries come as rows, image by image, as many of each image as `shares` says.

B batch, n queries of all images, R regions, A the attention's size, D values' size.
"""

from collections.abc import Iterator, Sequence

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
        rows = (t.split(list(ctx.shares)) for t in (grad, weights, d_weights))
        for g, w, d_w, v, d_v in zip(*rows, values.mT, d_values, strict=True):
            torch.mm(g, v, out=d_w)
            torch.mm(w.T, g, out=d_v)
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
        for q, out, k, y in _blocks(shares, (query, scores), (keys,)):
            torch.add(k[:, None], q[:, :, None], out=y).sigmoid_()
            torch.mv(y.view(-1, len(v)), v, out=out.view(-1))
        return scores.mul_(2).sub_(v.sum())

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        query, keys, v = ctx.saved_tensors
        d_query, d_keys, d_v = torch.empty_like(query), torch.zeros_like(keys), torch.zeros_like(v)
        rows = query, grad.contiguous(), d_query
        for q, g, d_q, k, d_k, y in _blocks(ctx.shares, rows, (keys, d_keys)):
            torch.add(k[:, None], q[:, :, None], out=y).sigmoid_()
            d_v.addmv_(y.view(-1, len(v)).T, g.view(-1))
            slope = y.addcmul_(y, y, value=-1).mul_(g[..., None])  # y (1 - y) grad
            torch.sum(slope, 2, out=d_q)
            d_k += slope.sum(1)
        d_v = d_v.mul_(2).sub_(grad.sum())
        return d_query.mul_(4 * v), d_keys.mul_(4 * v), d_v, None


def _blocks(
    shares: Sequence[int], rows: Sequence[Tensor], images: Sequence[Tensor]
) -> Iterator[tuple[Tensor, ...]]:
    """Some images and queries after others: of `rows` (b, q, ...), of `images` (b, ...), a buffer.

    An image and a few queries at a time on a CPU; all at once where starting a kernel costs more.
    The buffer (b, q, R, A) has room for each query beside each of the first of `images` (B, R, A).
    """
    keys = images[0]
    if keys.device.type != "cpu":
        whole = [t.unflatten(0, (len(shares), -1)) for t in rows]
        yield (*whole, *images, keys.new_empty(*whole[0].shape[:2], *keys.shape[1:]))
        return
    few = 8
    pieces = [(i, min(few, n - at)) for i, n in enumerate(shares) for at in range(0, n, few)]
    sizes = [size for _, size in pieces]
    buffer = keys.new_empty(max(sizes), *keys.shape[1:])
    buffers = {size: buffer[None, :size] for size in set(sizes)}
    split = zip(*(t[None].split(sizes, 1) for t in rows), strict=True)
    single = [t.split(1) for t in images]
    for (image, size), some in zip(pieces, split, strict=True):
        yield (*some, *(t[image] for t in single), buffers[size])


def mean_region(att: Tensor, mask: Tensor) -> Tensor:
    """The mean of the real regions: `att` (B, R, D), `mask` (B, R), to (B, D)."""
    real = mask[:, None].to(att.dtype)
    return (real @ att / real.sum(2, keepdim=True))[:, 0]
