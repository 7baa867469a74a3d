"""Operations of a training step that stand outside the loop over time, for tests.bench.arithmetic.

Each is a list of functions without arguments, on tensors in memory.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

H, CLASSES = 512, 9488  # hidden and embedding, classes
aten = torch.ops.aten

Work = Callable[[], object]


def dot_product(n: int, queries: int, keys: int) -> list[Work]:
    q, k, v = (torch.randn(n, 8, m, H // 8) for m in (queries, keys, keys))
    return back(lambda q, k, v: (q @ k.mT).softmax(-1) @ v, q, k, v)


def block(rows: int) -> list[Work]:
    """What stands around a block of a transformer: norm, dropout, sum."""
    x = torch.randn(rows, H)
    norm = back(lambda x: F.layer_norm(x, (H,)), x)
    return norm + dropout(rows, H, 0.1) + [lambda: x + x]


def embedding(num_tokens: int) -> list[Work]:
    table, which = torch.randn(CLASSES, H), torch.randint(CLASSES, (num_tokens,))
    grad = torch.randn(num_tokens, H)
    return [
        lambda: F.embedding(which, table),
        lambda: aten.embedding_dense_backward(grad, which, CLASSES, -1, False),
    ]


def dropout(rows: int, columns: int, chance: float = 0.5) -> list[Work]:
    x, threshold = torch.randn(rows, columns), round((chance - 0.5) * 2**16)

    def work() -> Tensor:  # 16 bits of a random number for each element
        numbers = torch.empty(x.numel() // 4, dtype=torch.int64).random_(-(2**63), None)
        return x * (x * (numbers.view(torch.int16).view(x.shape) >= threshold))

    return [work]


def loss(num_tokens: int) -> list[Work]:
    logits, targets = torch.randn(num_tokens, CLASSES), torch.arange(num_tokens)[:, None]
    ones, out = -torch.ones(num_tokens, 1), torch.empty(num_tokens, CLASSES)

    def work() -> None:
        torch.softmax(logits, -1, out=out)
        out.gather(1, targets).log().sum()
        out.scatter_add_(1, targets, ones)

    return [work]


def back(function: Callable[..., Tensor], *inputs: Tensor) -> list[Work]:
    """An operation of PyTorch's and its gradients."""
    inputs = [x.requires_grad_() for x in inputs]

    def work() -> None:
        out = function(*inputs)
        torch.autograd.grad(out, inputs, out.detach())

    return [work]


def update(parameters: int) -> list[Work]:
    """The gradient's norm, clipping and Adam of that many parameters."""
    weight = torch.randn(parameters, requires_grad=True)
    weight.grad = torch.randn(parameters)
    clip = lambda: (weight.grad.norm(), weight.grad.clamp_(-0.1, 0.1))  # noqa: E731
    return [clip, torch.optim.Adam([weight], fused=True).step]
