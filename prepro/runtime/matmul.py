"""Float32 matrix products of a CPU: by oneDNN instead of MKL where it is clearly faster.

In: nothing but the processor. Out: a setting of this process, and the name of the library. On an
AMD EPYC with AVX-512 oneDNN computes a decoder's products 2.4 times as fast as MKL. PyTorch sends
them to oneDNN if bfloat16 is declared precise enough; without AMX oneDNN computes in float32
nevertheless, which is checked. With AVX2 alone PyTorch does not offer the choice.
"""

import time
from functools import cache

import torch
from torch import Tensor

SPEEDUP = 1.25
"""how much faster oneDNN must be: noise hardly decides, so a resumed run chooses as before"""
ERROR = 10
"""the largest error of oneDNN's product, as a multiple of MKL's"""


@cache
def choose_matmul() -> str:
    """Set the library of this process's float32 products, once: "oneDNN" or "default"."""
    has_amx = getattr(torch.cpu, "_is_amx_tile_supported", bool)()
    if torch.backends.cpu.get_cpu_capability() != "AVX512" or has_amx:
        return "default"
    if torch.get_float32_matmul_precision() != "highest":  # the user chose
        return "default"
    (seconds, error), (fast_seconds, fast_error) = _measure("highest"), _measure("medium")
    better = SPEEDUP * fast_seconds < seconds and fast_error <= ERROR * error
    torch.set_float32_matmul_precision("medium" if better else "highest")
    return "oneDNN" if better else "default"


def uses_onednn(dtype: torch.dtype) -> bool:
    """Whether a CPU's products in `dtype` go through oneDNN.

    In float32 by `choose_matmul` or by the user, in bfloat16 on every processor that has it.
    """
    if not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return False
    if dtype == torch.bfloat16:
        return torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return dtype == torch.float32 and torch.get_float32_matmul_precision() == "medium"


def _measure(precision: str) -> tuple[float, float]:
    """The least seconds of a product, and its largest error, in one of PyTorch's precisions."""
    torch.set_float32_matmul_precision(precision)
    generator = torch.Generator().manual_seed(0)
    x, w = (torch.randn(n, 1024, generator=generator) for n in (256, 1024))
    seconds = min(_seconds(x, w) for _ in range(5))
    return seconds, (x @ w.T - x.double() @ w.double().T).abs().max().item()


def _seconds(x: Tensor, w: Tensor) -> float:
    start = time.perf_counter()
    _ = x @ w.T
    return time.perf_counter() - start
