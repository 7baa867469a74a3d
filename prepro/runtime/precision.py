"""The number format of training: bfloat16 or float16 where the device computes it faster.

In: a torch.device. Out: a dtype, and the torch.autocast context that uses it.
"""

import contextlib

import torch


def reduced_precision(device: torch.device) -> torch.dtype | None:
    """bfloat16 or float16 where the device computes it faster than float32, else None.

    A CPU without bfloat16 instructions is 7 to 35 times slower with it.
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(False) else torch.float16
    if device.type == "cpu" and any(_cpu_supports(name) for name in ("avx512_bf16", "amx_tile")):
        return torch.bfloat16
    return None


def _cpu_supports(instructions: str) -> bool:
    """Whether the CPU has these instructions; False where torch drops the private function."""
    return getattr(torch.cpu, f"_is_{instructions}_supported", bool)()


def autocast(device: torch.device) -> contextlib.AbstractContextManager:
    """torch.autocast in the device's reduced precision; a null context without one."""
    dtype = reduced_precision(device)
    return torch.autocast(device.type, dtype) if dtype else contextlib.nullcontext()
