"""The arithmetic of a training step, as bare PyTorch operations on tensors in memory.

For tests.bench.train: what each paper's formulas need for tokens that are not padding, forward and
back, with everything hoisted out of the loop over time that can be: products, attention, gates,
embedding and its gradient, dropout where the paper has it, norms, loss, the gradient of the
classifier's and the gates' biases, the gradient's norm, clipping and Adam. What cannot be hoisted
runs in the order of time, one step's products, attention and gates after those of the step before,
then back. Written from the papers' shapes, not from the decoders. There is no graph beyond one
operation and nothing is copied; what is left out is small (ReLU, biases in the products, sums of a
few vectors). Products go through the fastest library of this machine (tests.bench.products), in
bfloat16 where it has that. So this is a bound from below on the time of programs without kernels of
their own that multiply the state of zero that a caption begins with like any other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import accumulate

import torch
from torch import Tensor

from tests.bench.operations import (
    CLASSES,
    H,
    Work,
    aten,
    block,
    dot_product,
    dropout,
    embedding,
    loss,
    update,
)
from tests.bench.products import fastest_product

D = 2048  # feature
Step = tuple[Work, Work]  # forward, back


@dataclass(frozen=True)
class Loop:
    """Work at each step in time, and what is left for the end."""

    steps: list[Step]
    after: list[Work] = field(default_factory=list)


@dataclass(frozen=True)
class Size:
    """What the arithmetic of a step depends on."""

    rows_per_image: list[list[int]]
    """(T, B): the captions of each image that have a token at this step"""
    regions: int
    parameters: int

    @property
    def rows(self) -> list[int]:
        return [sum(step) for step in self.rows_per_image]

    @property
    def num_tokens(self) -> int:
        return sum(self.rows)

    @property
    def totals(self) -> list[int]:
        """(B,) tokens of each image"""
        return [sum(image) for image in zip(*self.rows_per_image, strict=True)]

    @property
    def images(self) -> int:
        return len(self.rows_per_image[0])


def arithmetic(name: str, size: Size) -> Callable[[], None]:
    """A function that does the arithmetic of one step of the decoder `name`."""
    dropped = 0.1 if name == "transformer" else 0.5
    works = DECODERS[name](size) + embedding(size.num_tokens) + dropout(size.num_tokens, H, dropped)
    works += (
        linear(size.num_tokens, H, CLASSES) + loss(size.num_tokens) + bias(size.num_tokens, CLASSES)
    )
    works += update(size.parameters)

    def run() -> None:
        for work in works:
            work()

    return run


def show_tell(s: Size) -> list[Work]:
    image = linear(s.images, D, H, leaf=True)
    return image + dropout(s.num_tokens, H) + token_gates(s, 4) + in_time(*lstm(s, H, 4))


def newfc(s: Size) -> list[Work]:
    return linear(s.images, D, H, leaf=True) + token_gates(s, 5) + in_time(*lstm(s, H, 5))


def regions(s: Size) -> list[Work]:
    """Projected regions and their keys; dropout, also of the embedded tokens."""
    r = s.images * s.regions
    project = linear(r, D, H, leaf=True) + dropout(r, H) + linear(r, H, H)
    return project + dropout(s.num_tokens, H)


def show_attend_tell(s: Size) -> list[Work]:
    loop = in_time(*attention_loops(s), *lstm(s, 2 * H, 4))
    return regions(s) + token_gates(s, 4) + loop + linear(s.num_tokens, 3 * H, H)


def att2in(s: Size) -> list[Work]:
    loop = in_time(*attention_loops(s), product(s.rows, H, 2 * H), *lstm(s, H, 5))
    return regions(s) + token_gates(s, 5) + loop


def adaptive(s: Size) -> list[Work]:
    image = linear(s.images, D, H, leaf=True) + linear(s.images, H, 5 * H)
    after = linear(s.num_tokens, H, H) + linear(s.num_tokens, H, H)  # the sentinel's key, the query
    first = range(
        0, max(s.totals), 8
    )  # attention follows the whole LSTM: eight tokens at once, in cache
    eights = [[min(8, max(0, n - at)) for n in s.totals] for at in first]
    _, seen = attention_loops(Size(eights, s.regions, 0))
    return regions(s) + image + token_gates(s, 5) + in_time(*lstm(s, H, 5)) + after + in_time(seen)


def topdown(s: Size) -> list[Work]:
    image = linear(s.images, D, H, leaf=True) + linear(s.images, H, 4 * H)
    loop = in_time(*lstm(s, 2 * H, 4), *attention_loops(s), *lstm(s, 3 * H, 4))
    return regions(s) + image + token_gates(s, 4) + loop


def transformer(s: Size, layers: int = 6) -> list[Work]:
    b, r, t, k = s.images, s.regions, len(s.rows_per_image), max(s.rows_per_image[0])
    works = linear(b * r, D, H, leaf=True) + dropout(b * r, H, 0.1)
    for _ in range(layers):  # products: query, key, value, merge, feed; cross key, value
        works += linear(b * r, H, 6 * H) + block(b * r) * 2 + dot_product(b, r, r)
        works += linear(s.num_tokens, H, 6 * H) + block(s.num_tokens) * 3
        works += dot_product(b * k, t, t) + dot_product(b, k * t, r)
        for rows in (b * r, s.num_tokens):
            works += linear(rows, H, 4 * H) + linear(rows, 4 * H, H)
    return works


DECODERS = {
    work.__name__: work
    for work in (show_tell, newfc, show_attend_tell, att2in, adaptive, topdown, transformer)
}


def in_time(*loops: Loop) -> list[Work]:
    """Forward through time, each loop in turn at every step, then backward, then `after`."""
    steps = list(zip(*(loop.steps for loop in loops), strict=True))
    forward = [ahead for step in steps for ahead, _ in step]
    backward = [back for step in reversed(steps) for _, back in reversed(step)]
    return forward + backward + [work for loop in loops for work in loop.after]


def linear(rows: int, inner: int, outer: int, leaf: bool = False) -> list[Work]:
    """x W forward and back; no gradient of x for a leaf."""
    loop = product([rows], inner, outer)
    ((ahead, back),) = loop.steps
    return [ahead, *([] if leaf else [back]), *loop.after]


def product(rows: list[int], inner: int, outer: int) -> Loop:
    """x W of some rows after others; W's gradient in one at the end."""
    x, y = torch.randn(sum(rows), inner), torch.randn(sum(rows), outer)
    w, out, dx, dw = torch.randn(outer, inner), *map(torch.empty_like, (y, x, y.T @ x))

    def step(at: slice) -> Step:
        return fastest_product(x[at], w.T, out[at]), fastest_product(y[at], w, dx[at])

    ends = zip(accumulate(rows), rows, strict=True)
    steps = [step(slice(end - count, end)) for end, count in ends]
    return Loop(steps, [fastest_product(y.T, x, dw)])


def bias(rows: int, columns: int) -> list[Work]:
    """The gradient of one."""
    y = torch.randn(rows, columns)
    return [lambda: y.sum(0)]


def token_gates(s: Size, gates: int) -> list[Work]:
    """The gates from the embedded tokens, of all time steps at once."""
    return linear(s.num_tokens, H, gates * H) + bias(s.num_tokens, gates * H)


def lstm(s: Size, inner: int, gates: int) -> list[Loop]:
    """The loop's products with `inner`, and its gates."""
    return [product(s.rows, inner, gates * H), Loop([cell(n, gates) for n in s.rows])]


def cell(rows: int, gates: int) -> Step:
    """Nonlinearities of a cell: three gates and a candidate (a tanh, or the larger of two)."""
    c, x, h = torch.randn(rows, H), torch.randn(rows, gates * H), torch.randn(rows, H)
    opened, new = torch.rand(rows, 3 * H), torch.randn(rows, H)
    i, _, o = opened.chunk(3, 1)

    def forward() -> Tensor:
        i, f, o = x[:, : 3 * H].sigmoid().chunk(3, 1)
        return o * torch.addcmul(f * c, i, x[:, 3 * H : 4 * H].tanh()).tanh()

    def back() -> Tensor:  # h stands in for its gradient, `new` for the tanh of the state
        dc = aten.tanh_backward(h * o, new)
        d_gates = torch.cat([dc * new, dc * c, h * new], 1)
        return aten.tanh_backward(dc * i, new) + aten.sigmoid_backward(d_gates, opened)[:, :H]

    return forward, back


def attention_loops(s: Size) -> list[Loop]:
    """Queries, and each image's v . tanh(key + query), softmax and weighted sum, and back."""
    keys, d_keys = torch.randn(2, s.images, s.regions, H)
    one = {count: attend(count, s.regions) for step in s.rows_per_image for count in step if count}

    def step(rows_per_image: list[int]) -> Step:
        active = [(one[n], keys[i], d_keys[i]) for i, n in enumerate(rows_per_image) if n]

        def forward() -> None:
            for (ahead, _), key, _ in active:
                ahead(key)

        def back() -> None:
            for (_, back), key, d_key in active:
                back(key, d_key)

        return forward, back

    return [
        product(s.rows, H, H),
        Loop([step(rows_per_image) for rows_per_image in s.rows_per_image]),
    ]


def attend(count: int, r: int) -> tuple[Callable[[Tensor], None], Callable[[Tensor, Tensor], None]]:
    """Attention of `count` captions of one image to its keys (r, H): forward and backward."""
    y, query, v, d_v = (torch.randn(*n, H) for n in ((count, r), (count, 1), (), ()))
    grad, weights, d_query = torch.randn(count, r, 1), torch.rand(count, r), torch.empty(count, H)

    def forward(keys: Tensor) -> None:
        (torch.add(keys, query, out=y).sigmoid_() @ v).softmax(-1)
        torch.mm(weights, keys, out=d_query)

    def back(keys: Tensor, d_keys: Tensor) -> None:
        torch.add(keys, query, out=y).sigmoid_()  # again: faster than to keep it
        d_v.addmv_(y.view(-1, H).T, grad.view(-1))
        y.addcmul_(y, y, value=-1).mul_(grad)
        d_keys.add_(y.sum(0))
        torch.sum(y, 1, out=d_query)
        torch.mm(d_query, keys.T), torch.mm(weights.T, d_query)

    return forward, back
