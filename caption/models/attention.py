"""Additive attention over regions, with the keys computed once an image.

Bahdanau et al. 2015 (arXiv 1409.0473), Xu et al. 2015 (arXiv 1502.03044): weights = softmax over
regions of v . tanh(key + query).

B batch, K hypotheses (queries) of each image, R regions, A the attention's size, D values' size.
"""

from collections.abc import Iterator
from itertools import product

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

    def queries(self, steps: int, rows: Tensor) -> Recurrence:
        """Projects the hiddens (B, K, H) of a loop of `steps` to queries (B, K, A)."""
        zero = rows.new_zeros(()).expand(steps, *rows.shape[:2], self.query.out_features)
        return Recurrence(zero, self.query.weight)

    def forward(
        self, query: Tensor, keys: Tensor, values: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """`query` (B, K, A), `keys` (B, R, A), `values` (B, R, D), `mask` (B, R) bool.

        Returns the attended values (B, K, D) and the weights (B, K, R); a masked region's is 0.
        """
        weights = self.scores(query, keys, mask).softmax(-1)
        return weights @ values, weights

    def scores(self, query: Tensor, keys: Tensor, mask: Tensor) -> Tensor:
        """What the softmax takes, (B, K, R): -inf for a masked region."""
        scores = _Scores.apply(query, keys, self.score.weight[0])
        return scores.masked_fill(~mask[:, None], -torch.inf)


class _Scores(torch.autograd.Function):
    """tanh(keys + query) . v, in blocks that stay in a CPU's cache from the sum to the product.

    Nearly all of an additive decoder's time beyond its matrix products is this tanh, (B, K, R, A)
    at every step. To compute it again on the way back is faster than to write it to memory and
    read it, and a caption's steps would fill hundreds of megabytes. It is written
    tanh(x) = 2 sigmoid(2x) - 1: on a CPU, PyTorch computes several sigmoids in a tanh's time.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, query: Tensor, keys: Tensor, v: Tensor) -> Tensor:
        query, keys, v = 2 * query, 2 * keys.to(query.dtype), v.to(query.dtype)
        ctx.save_for_backward(query, keys, v)
        scores = query.new_empty(*query.shape[:2], keys.shape[1])
        for at, y in _sigmoids(query, keys):
            scores[at] = y @ v
        return 2 * scores - v.sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, keys, v = ctx.saved_tensors
        d_query, d_keys, d_v = torch.empty_like(query), torch.zeros_like(keys), -grad.sum()
        for at, y in _sigmoids(query, keys):
            d_v = d_v + 2 * (grad[at].flatten() @ y.flatten(0, 2))
            slope = y.sub_(y * y).mul_(grad[at][..., None])  # y (1 - y) grad
            torch.sum(slope, 2, out=d_query[at])
            d_keys[at[0]] += slope.sum(1)
        return d_query.mul_(4 * v), d_keys.mul_(4 * v), d_v


def _sigmoids(query: Tensor, keys: Tensor) -> Iterator[tuple[tuple[slice, slice], Tensor]]:
    """sigmoid(keys + query), some images and queries after others, in one buffer.

    An image and a few queries at a time on a CPU; all at once where starting a kernel costs more.
    """
    images, few = (1, 8) if query.device.type == "cpu" else query.shape[:2]
    y = query.new_empty(images, min(few, query.shape[1]), *keys.shape[1:])
    for at in product(_slices(len(query), images), _slices(query.shape[1], few)):
        q = query[at][:, :, None]
        yield at, torch.add(keys[at[0], None], q, out=y[:, : q.shape[1]]).sigmoid_()


def _slices(count: int, size: int) -> list[slice]:
    return [slice(i, i + size) for i in range(0, count, max(size, 1))]


def mean_region(att: Tensor, mask: Tensor) -> Tensor:
    """The mean of the real regions: `att` (B, R, D), `mask` (B, R), to (B, D)."""
    real = mask[:, None].to(att.dtype)
    return (real @ att / real.sum(2, keepdim=True))[:, 0]
