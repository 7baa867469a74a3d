"""The device that a command computes on; on a CPU, products and malloc are set up for speed."""

import torch

from prepro.runtime.malloc import keep_freed_memory
from prepro.runtime.matmul import choose_matmul


def choose_device(name: str) -> torch.device:
    """The device of `--device`; on a CPU, set up prepro.runtime.matmul and malloc.

    ValueError for a device that is missing.
    """
    device = _find_device(name)
    if device.type == "cpu":
        keep_freed_memory()
        choose_matmul()
    return device


def _find_device(name: str) -> torch.device:
    """`auto` is CUDA, then Apple's MPS, then the CPU. ValueError for a device that is missing."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ValueError(f"--device {name}: expected auto, cpu, cuda, cuda:1 or mps") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"--device {name}: this PyTorch sees no CUDA device; try --device auto")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"--device {name}: this machine has {torch.cuda.device_count()} CUDA devices"
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ValueError(f"--device {name}: this PyTorch sees no MPS device; try --device auto")
    return device
