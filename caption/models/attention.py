"""Additive attention over regions, with the keys computed once an image.

Bahdanau et al. 2015 (arXiv 1409.0473), Xu et al. 2015 (arXiv 1502.03044): weights = softmax over
regions of v . tanh(key + query).

B batch, K hypotheses (queries) of each image, R regions, A the attention's size, D values' size.
"""

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

    Nearly all of an additive decoder's time is this tanh, (B, K, R, A) at every step. Autograd
    alone would also keep the sum, and write four more tensors of that size on the way back.
    It is written tanh(x) = 2 sigmoid(2x) - 1, of which PyTorch computes seven a tanh on a CPU.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, query: Tensor, keys: Tensor, v: Tensor) -> Tensor:
        query, keys, v = 2 * query, 2 * keys, v.to(query.dtype)
        y = query.new_empty(*query.shape[:2], *keys.shape[1:])  # (B, K, R, A)
        scores = query.new_empty(y.shape[:3])
        for i in _blocks(y):
            torch.add(keys[i, None], query[i, :, None], out=y[i]).sigmoid_()
            torch.matmul(y[i], v, out=scores[i])
        ctx.save_for_backward(y, v)
        return 2 * scores - v.sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        y, v = ctx.saved_tensors
        d_query, d_keys = y.new_empty(*y.shape[:2], len(v)), y.new_empty(len(y), *y.shape[2:])
        slope = torch.empty_like(y[_blocks(y)[0]])
        for i in _blocks(y):
            torch.mul(y[i], y[i], out=slope)
            torch.sub(y[i], slope, out=slope).mul_(grad[i, ..., None])  # y (1 - y) grad
            torch.sum(slope, 2, out=d_query[i])
            torch.sum(slope, 1, out=d_keys[i])
        d_v = 2 * (grad.flatten() @ y.flatten(0, 2)) - grad.sum()
        return d_query.mul_(4 * v), d_keys.mul_(4 * v), d_v


def _blocks(y: Tensor) -> list[slice]:
    """An image at a time on a CPU; all at once where starting a kernel costs more."""
    size = 1 if y.device.type == "cpu" else max(len(y), 1)
    return [slice(i, i + size) for i in range(0, len(y), size)]


def mean_region(att: Tensor, mask: Tensor) -> Tensor:
    """The mean of the real regions: `att` (B, R, D), `mask` (B, R), to (B, D)."""
    real = mask[:, None].to(att.dtype)
    return (real @ att / real.sum(2, keepdim=True))[:, 0]
