"""The fastest matrix product of each shape that an installed library reaches, for the bounds.

In: two matrices. Out: a function that multiplies them by the library that was fastest at their
sizes in this process: PyTorch's own choice (MKL), oneDNN, or oneDNN in bfloat16 where the precision
of the bound allows it. `shares` says how much of the arithmetic each was best at.
"""

import time
from collections import Counter
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

Work = Callable[[], object]
FLOPS: Counter[str] = Counter()


def fastest_product(a: Tensor, b: Tensor, out: Tensor) -> Work:
    """a (M, K) @ b (K, N), perhaps into `out`."""
    rows = min(1 << (len(a) - 1).bit_length(), 1024) if len(a) < 1024 else len(a)
    name = _fastest(rows, *b.shape, a.is_contiguous(), b.is_contiguous())
    FLOPS[name] += 2 * len(a) * b.numel()
    return WAYS[name](a, b, out)


def shares() -> str:
    """Such as `oneDNN 71 %, MKL 29 %` of the products so far."""
    total = sum(FLOPS.values())
    return ", ".join(f"{name} {count / total:.0%}" for name, count in FLOPS.most_common())


def _pytorch(a: Tensor, b: Tensor, out: Tensor) -> Work:
    return lambda: torch.mm(a, b, out=out)


def _onednn(a: Tensor, b: Tensor, out: Tensor) -> Work:
    return lambda: torch.ops.mkldnn._linear_pointwise(a, b.T, None, "none", [], "")


def _bfloat16(a: Tensor, b: Tensor, out: Tensor) -> Work:
    a, b = a.bfloat16(), b.bfloat16()
    return lambda: torch.mm(a, b)


WAYS = {"PyTorch": _pytorch, "oneDNN": _onednn}


def allow_bfloat16() -> None:
    """Let products that are not made yet be in bfloat16."""
    WAYS["bfloat16"] = _bfloat16
    _fastest.cache_clear()


@cache
def _fastest(m: int, k: int, n: int, plain_a: bool, plain_b: bool) -> str:
    """The best of three of each way, in turns."""
    a = torch.randn(m, k) if plain_a else torch.randn(k, m).T
    b = torch.randn(k, n) if plain_b else torch.randn(n, k).T
    works = {name: way(a, b, torch.empty(m, n)) for name, way in WAYS.items()}
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(4):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            times[name].append(time.perf_counter() - start)
    return min(times, key=lambda name: min(times[name][1:]))
