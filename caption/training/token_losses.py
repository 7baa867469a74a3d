"""The cross entropy of each token, its gradient computed with it on a CPU.

In: logits (P, V + 1) and the tokens (P,). Out: losses (P,). The gradient of the logits, softmax
minus the target, is computed forward, for a few rows that stay in the CPU's cache, and stored in
the logits' dtype. PyTorch writes log-probabilities, a gradient of zeros and the gradient, each of
the logits' size in float32.

P tokens, V + 1 classes.
"""

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn import functional as F

BLOCK = 1 << 18
"""logits a block: 1 MiB in float32"""


def token_losses(logits: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """-log p(target) of `logits` (P, V + 1), in float32 or float64, for `targets` (P,) int64."""
    if logits.device.type == "cpu":
        return _TokenLosses.apply(logits, targets, label_smoothing)
    return F.cross_entropy(
        logits.float(), targets, reduction="none", label_smoothing=label_smoothing
    )


class _TokenLosses(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx, logits: Tensor, targets: Tensor, label_smoothing: float
    ) -> Tensor:
        classes = logits.shape[1]
        dtype = torch.promote_types(logits.dtype, torch.float32)
        grads, losses = torch.empty_like(logits), logits.new_empty(len(logits), dtype=dtype)
        tensors, rows = (logits, targets[:, None], grads, losses), max(1, BLOCK // classes)
        for x, target, grad, loss in zip(*(t.split(rows) for t in tensors), strict=True):
            x = x.to(dtype)
            p = x.softmax(-1)
            log_sum = x.amax(-1) - p.amax(-1).log()  # the largest p is never 0
            loss.copy_(log_sum - (1 - label_smoothing) * x.gather(1, target)[:, 0])
            if label_smoothing:
                loss.sub_(label_smoothing * x.mean(-1))
                p.sub_(label_smoothing / classes)
            p.scatter_add_(1, target, p.new_full(target.shape, label_smoothing - 1))
            grad.copy_(p)
        ctx.save_for_backward(grads)
        return losses

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, None, None]:
        (grads,) = ctx.saved_tensors
        return grads.mul_(grad[:, None].to(grads.dtype)), None, None
