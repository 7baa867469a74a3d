"""The arithmetic of a training step, as bare PyTorch operations on tensors in memory.

For tests.bench.models: the matrix products that each paper's formulas need with everything hoisted
out of the loop over time that can be, the additive or dot-product attention, the loss, clipping
and Adam. Written from the papers' shapes, not from the decoders. Left out, so the bound is a
little too high for any program: the gates' elementwise operations, dropout, embeddings, norms.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

if TYPE_CHECKING:
    from tests.bench.models import Size

B, N, H, D, CLASSES = 10, 50, 512, 2048, 9488  # images, captions, hidden, feature, classes

Work = Callable[[], object]


def arithmetic(name: str, regions: int, size: Size) -> Callable[[], None]:
    """A function that does the arithmetic of one step of the decoder `name`."""
    works = DECODERS[name](regions, size.steps)
    works += linear(size.words, H, CLASSES) + loss(size.words) + update(size.parameters)

    def run() -> None:
        for work in works:
            work()

    return run


def show_tell(r: int, t: int) -> list[Work]:
    return linear(B, D, H, leaf=True) + linear(N * t, H, 4 * H) + linear(N, H, 4 * H, t)


def newfc(r: int, t: int) -> list[Work]:
    return linear(B, D, H, leaf=True) + linear(N * t, H, 5 * H) + linear(N, H, 5 * H, t)


def regions_and_looks(r: int, t: int) -> list[Work]:
    """Projected regions, their keys, and t looks with a query from H."""
    project = linear(B * r, D, H, leaf=True) + linear(B * r, H, H)
    return project + linear(N, H, H, t) + additive(r, t)


def show_attend_tell(r: int, t: int) -> list[Work]:
    loop = linear(N * t, H, 4 * H) + linear(N, 2 * H, 4 * H, t)
    return regions_and_looks(r, t) + loop + linear(N * t, 3 * H, H)


def att2in(r: int, t: int) -> list[Work]:
    loop = linear(N * t, H, 5 * H) + linear(N, H, 5 * H, t) + linear(N, H, 2 * H, t)
    return regions_and_looks(r, t) + loop


def adaptive(r: int, t: int) -> list[Work]:
    loop = linear(N * t, H, 5 * H) + linear(N, H, 5 * H, t) + linear(N * t, H, H)
    return regions_and_looks(r, t) + loop + linear(B, D, H, leaf=True) + linear(B, H, 5 * H)


def topdown(r: int, t: int) -> list[Work]:
    first = linear(N * t, H, 4 * H) + linear(B, H, 4 * H) + linear(N, 2 * H, 4 * H, t)
    return regions_and_looks(r, t) + linear(B, D, H, leaf=True) + first + linear(N, 3 * H, 4 * H, t)


def transformer(r: int, t: int, layers: int = 6) -> list[Work]:
    works = linear(B * r, D, H, leaf=True)
    for _ in range(layers):
        for rows, products in (
            (B * r, 6),
            (N * t, 6),
        ):  # query, key, value, merge; cross key, value
            works += linear(rows, H, products * H) + linear(rows, H, 4 * H) + linear(rows, 4 * H, H)
        works += dot_product(B, r, r) + dot_product(N, t, t) + dot_product(B, 5 * t, r)
    return works


DECODERS = {
    work.__name__: work
    for work in (show_tell, newfc, show_attend_tell, att2in, adaptive, topdown, transformer)
}


def linear(rows: int, inner: int, outer: int, steps: int = 1, leaf: bool = False) -> list[Work]:
    """x W forward and back, `steps` times one after the other; no gradient of x for a leaf."""
    x, y = torch.randn(steps * rows, inner), torch.randn(steps * rows, outer)
    w, product, dx, dw = torch.randn(outer, inner), *map(torch.empty_like, (y, x, y.T @ x))
    works: list[Work] = []
    for i in range(0, steps * rows, rows):
        step = slice(i, i + rows)
        works.append(lambda step=step: torch.mm(x[step], w.T, out=product[step]))
        if not leaf:
            works.append(lambda step=step: torch.mm(y[step], w, out=dx[step]))
    return [*works, lambda: torch.mm(y.T, x, out=dw)]


def additive(r: int, t: int) -> list[Work]:
    """v . tanh(key + query), softmax, weighted sum; and the products of the way back."""
    y, z, keys, query, v = (torch.randn(*s, H) for s in ((5, r), (5, r), (r,), (5, 1), ()))
    grad, d_keys, d_query = torch.randn(5, r, 1), torch.empty(r, H), torch.empty(5, H)

    def look() -> None:  # one image, five captions
        weights = (torch.add(keys, query, out=y).sigmoid_() @ v).softmax(-1)
        torch.mm(weights, keys, out=d_query)
        torch.sub(y, torch.mul(y, y, out=z), out=z).mul_(grad)
        torch.sum(z, 0, out=d_keys)
        torch.sum(z, 1, out=d_query)
        torch.mm(d_query, keys.T), torch.mm(weights.T, d_query, out=d_keys)

    return [look] * (B * t)


def dot_product(n: int, queries: int, keys: int) -> list[Work]:
    q, k, v = (torch.randn(n, 8, m, H // 8, requires_grad=True) for m in (queries, keys, keys))

    def look() -> None:
        out = F.scaled_dot_product_attention(q, k, v)
        torch.autograd.grad(out, (q, k, v), out.detach())

    return [look]


def loss(words: int) -> list[Work]:
    logits, targets = torch.randn(words, CLASSES, requires_grad=True), torch.arange(words)
    return [lambda: torch.autograd.grad(F.cross_entropy(logits, targets), logits)]


def update(parameters: int) -> list[Work]:
    """Clipping and Adam of that many parameters."""
    weight = torch.randn(parameters, requires_grad=True)
    weight.grad = torch.randn(parameters)
    return [lambda: weight.grad.clamp_(-0.1, 0.1), torch.optim.Adam([weight], fused=True).step]
