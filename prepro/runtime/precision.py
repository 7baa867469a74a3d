"""The number format of training: bfloat16 or float16 where the device computes it faster.

In: a torch.device, perhaps the value of a flag --precision. Out: a dtype, and the torch.autocast
context that uses it.
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


def training_precision(name: str, device: torch.device) -> str:
    """The dtype that caption.train's --precision means on a device: "float32", "bfloat16" ...

    auto is the reduced precision of a GPU, and float32 elsewhere, so that a CPU repeats a run bit
    for bit and scores as before. ValueError for bfloat16 on a device without its instructions.
    """
    half = reduced_precision(device)
    if name == "auto":
        return str(half).removeprefix("torch.") if half and device.type == "cuda" else "float32"
    check_precision(name, device)
    return name


def check_precision(name: str, device: torch.device) -> None:
    """ValueError where the device has no instructions for `--precision name`."""
    if name == "bfloat16" and reduced_precision(device) is not torch.bfloat16:
        raise ValueError(
            f"--precision bfloat16: this {device.type} has no instructions for it; "
            "try --precision float32"
        )
    if name == "float16" and device.type == "cpu":
        raise ValueError("--precision float16: needs a GPU; try --precision float32")


def autocast_to(precision: str, device: torch.device) -> contextlib.AbstractContextManager:
    """torch.autocast in "bfloat16" or "float16"; a null context for "float32"."""
    if precision == "float32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, getattr(torch, precision))


def _cpu_supports(instructions: str) -> bool:
    """Whether the CPU has these instructions; False where torch drops the private function."""
    return getattr(torch.cpu, f"_is_{instructions}_supported", bool)()


def autocast(device: torch.device) -> contextlib.AbstractContextManager:
    """torch.autocast in the device's reduced precision; a null context without one."""
    dtype = reduced_precision(device)
    return torch.autocast(device.type, dtype) if dtype else contextlib.nullcontext()
