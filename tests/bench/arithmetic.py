"""The arithmetic of a training step, as bare PyTorch operations on tensors in memory.

For tests.bench.train: what each paper's formulas need for the words that are real, forward and
back, with everything hoisted out of the loop over time that can be: products, attention, gates,
embedding and its gradient, dropout where the paper has it, norms, loss, the gradient of the
classifier's and the gates' biases, the gradient's norm, clipping and Adam. Written from the papers'
shapes, not from the decoders. No graph is built and nothing is copied; what is left out is small
(ReLU, biases in the products, sums of a few vectors), so this is a bound from below on the time of
any program that works in 32 bits without kernels of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor
from torch.nn import functional as F

H, D, CLASSES = 512, 2048, 9488  # hidden and embedding, feature, classes
aten = torch.ops.aten

Work = Callable[[], object]


@dataclass(frozen=True)
class Size:
    """What the arithmetic of a step depends on."""

    shares: list[list[int]]
    """(T, B): of each image, the captions that still go on"""
    regions: int
    parameters: int

    @property
    def rows(self) -> list[int]:
        return [sum(step) for step in self.shares]

    @property
    def words(self) -> int:
        return sum(self.rows)

    @property
    def images(self) -> int:
        return len(self.shares[0])


def arithmetic(name: str, size: Size) -> Callable[[], None]:
    """A function that does the arithmetic of one step of the decoder `name`."""
    dropped = 0.1 if name == "transformer" else 0.5
    works = DECODERS[name](size) + embedding(size.words) + dropout(size.words, H, dropped)
    works += linear([size.words], H, CLASSES) + loss(size.words) + bias(size.words, CLASSES)
    works += update(size.parameters)

    def run() -> None:
        for work in works:
            work()

    return run


def show_tell(s: Size) -> list[Work]:
    image = linear([s.images], D, H, leaf=True)
    return image + dropout(s.words, H) + lstm(s, H, 4)


def newfc(s: Size) -> list[Work]:
    return linear([s.images], D, H, leaf=True) + lstm(s, H, 5)


def regions_and_looks(s: Size) -> list[Work]:
    """Projected regions, their keys, and looks with a query from H; dropout."""
    r = s.images * s.regions
    project = linear([r], D, H, leaf=True) + dropout(r, H) + linear([r], H, H)
    one = {share: look(share, s.regions) for step in s.shares for share in step if share}
    looks = [one[share] for step in s.shares for share in step if share]
    return project + dropout(s.words, H) + linear(s.rows, H, H) + looks


def show_attend_tell(s: Size) -> list[Work]:
    return regions_and_looks(s) + lstm(s, 2 * H, 4) + linear([s.words], 3 * H, H)


def att2in(s: Size) -> list[Work]:
    return regions_and_looks(s) + lstm(s, H, 5) + linear(s.rows, H, 2 * H)


def adaptive(s: Size) -> list[Work]:
    image = linear([s.images], D, H, leaf=True) + linear([s.images], H, 5 * H)
    return regions_and_looks(s) + lstm(s, H, 5) + linear([s.words], H, H) + image


def topdown(s: Size) -> list[Work]:
    image = linear([s.images], D, H, leaf=True) + linear([s.images], H, 4 * H)
    second = linear(s.rows, 3 * H, 4 * H) + cells(s.rows, 4)
    return regions_and_looks(s) + image + lstm(s, 2 * H, 4) + second


def transformer(s: Size, layers: int = 6) -> list[Work]:
    b, r, t, k = s.images, s.regions, len(s.shares), max(s.shares[0])
    works = linear([b * r], D, H, leaf=True) + dropout(b * r, H, 0.1)
    for _ in range(layers):  # products: query, key, value, merge, feed; cross key, value
        works += linear([b * r], H, 6 * H) + block(b * r) * 2 + dot_product(b, r, r)
        works += linear([s.words], H, 6 * H) + block(s.words) * 3
        works += dot_product(b * k, t, t) + dot_product(b, k * t, r)
        for rows in (b * r, s.words):
            works += linear([rows], H, 4 * H) + linear([rows], 4 * H, H)
    return works


DECODERS = {
    work.__name__: work
    for work in (show_tell, newfc, show_attend_tell, att2in, adaptive, topdown, transformer)
}


def linear(rows: list[int], inner: int, outer: int, leaf: bool = False) -> list[Work]:
    """x W forward and back, some rows after others; no gradient of x for a leaf."""
    x, y = torch.randn(sum(rows), inner), torch.randn(sum(rows), outer)
    w, product, dx, dw = torch.randn(outer, inner), *map(torch.empty_like, (y, x, y.T @ x))
    works: list[Work] = []
    for end, count in zip(accumulate(rows), rows, strict=True):
        step = slice(end - count, end)
        works.append(lambda step=step: torch.mm(x[step], w.T, out=product[step]))
        if not leaf:
            works.append(lambda step=step: torch.mm(y[step], w, out=dx[step]))
    return [*works, lambda: torch.mm(y.T, x, out=dw)]


def bias(rows: int, columns: int) -> list[Work]:
    """The gradient of one."""
    y = torch.randn(rows, columns)
    return [lambda: y.sum(0)]


def lstm(s: Size, inner: int, gates: int) -> list[Work]:
    """All words' products at once, the loop's products with `inner` and its gates."""
    once = linear([s.words], H, gates * H) + bias(s.words, gates * H)
    return once + linear(s.rows, inner, gates * H) + cells(s.rows, gates)


def cells(rows: list[int], gates: int) -> list[Work]:
    """Nonlinearities of a cell: three gates and a candidate (a tanh, or the larger of two)."""
    c, x = torch.randn(max(rows), H), torch.randn(max(rows), gates * H)
    return [lambda n=n: cell(c[:n], x[:n]) for n in rows]


def cell(c: Tensor, x: Tensor) -> Tensor:
    gates, candidate = x[:, : 3 * H].sigmoid(), x[:, 3 * H : 4 * H].tanh()
    i, f, o = gates.chunk(3, 1)
    new = torch.addcmul(f * c, i, candidate)
    t = new.tanh()
    h = o * t
    dc = aten.tanh_backward(h * o, t)  # h stands in for its gradient
    d_gates = torch.cat([dc * candidate, dc * c, h * t], 1)
    return aten.tanh_backward(dc * i, candidate) + aten.sigmoid_backward(d_gates, gates)[:, :H]


def look(share: int, r: int) -> Work:
    """One image, `share` captions: v . tanh(key + query), softmax, weighted sum, and back."""
    y, z, keys, query, v = (
        torch.randn(*n, H) for n in ((share, r), (share, r), (r,), (share, 1), ())
    )
    grad, d_keys, d_query = torch.randn(share, r, 1), torch.zeros(r, H), torch.empty(share, H)

    def work() -> None:
        weights = (torch.add(keys, query, out=y).sigmoid_() @ v).softmax(-1)
        torch.mm(weights, keys, out=d_query)
        torch.add(keys, query, out=y).sigmoid_()  # again: faster than to keep it
        torch.sub(y, torch.mul(y, y, out=z), out=z).mul_(grad)
        d_keys.add_(z.sum(0))
        torch.sum(z, 1, out=d_query)
        torch.mm(d_query, keys.T), torch.mm(weights.T, d_query)

    return work


def dot_product(n: int, queries: int, keys: int) -> list[Work]:
    q, k, v = (torch.randn(n, 8, m, H // 8) for m in (queries, keys, keys))
    return back(F.scaled_dot_product_attention, q, k, v)


def block(rows: int) -> list[Work]:
    """What stands around a block of a transformer: norm, dropout, sum."""
    x = torch.randn(rows, H)
    norm = back(lambda x: F.layer_norm(x, (H,)), x)
    return norm + dropout(rows, H, 0.1) + [lambda: x + x]


def embedding(words: int) -> list[Work]:
    table, which = torch.randn(CLASSES, H), torch.randint(CLASSES, (words,))
    grad = torch.randn(words, H)
    return [
        lambda: F.embedding(which, table),
        lambda: aten.embedding_dense_backward(grad, which, CLASSES, -1, False),
    ]


def dropout(rows: int, columns: int, chance: float = 0.5) -> list[Work]:
    x = torch.randn(rows, columns)
    return [lambda: x * (x * torch.empty_like(x).bernoulli_(1 - chance))]


def loss(words: int) -> list[Work]:
    targets = torch.arange(words)
    return back(lambda logits: F.cross_entropy(logits, targets), torch.randn(words, CLASSES))


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
