"""Tensors that all processes of one machine read, and that its memory holds once.

In: shapes, and a function that fills them. Out: the same tensors in every process that torchrun has
started on this machine. They are mapped from a file in shared memory (/dev/shm), or in the
temporary folder where that is too small. The file loses its name as soon as every process has
opened it, so nothing remains of a process that is killed.
"""

import contextlib
import math
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from prepro.runtime.distributed import DistributedContext, all_gather

SHARED_MEMORY = Path("/dev/shm")
Fill = Callable[[Sequence[Tensor]], None]


def shared_tensors(
    context: DistributedContext, shapes: Sequence[tuple[int, ...]], dtype: torch.dtype, fill: Fill
) -> list[Tensor]:
    """Tensors of `shapes`, which `fill` has filled in one process of each machine.

    With one process, or where no file has room for them, each process has its own. An error of
    `fill` is raised in every process.
    """
    leader = context.rank - int(os.environ.get("LOCAL_RANK", 0))
    tensors = _mapped(context, leader, shapes, dtype) if context.world > 1 else None
    is_shared = tensors is not None
    if tensors is None:
        tensors = [torch.empty(shape, dtype=dtype) for shape in shapes]
    error = None
    if not is_shared or context.rank == leader:
        try:
            fill(tensors)
        except (OSError, ValueError, RuntimeError) as caught:
            error = caught
    for failure in all_gather(context, error):  # which also waits until they are filled
        if failure is not None:
            raise failure
    return tensors


def _mapped(
    context: DistributedContext, leader: int, shapes: Sequence[tuple[int, ...]], dtype: torch.dtype
) -> list[Tensor] | None:
    """Views of one mapped file, the same in all processes of a machine; None without room."""
    sizes = [math.prod(shape) for shape in shapes]
    path = _reserve(sum(sizes) * dtype.itemsize) if context.rank == leader else None
    paths = all_gather(context, path)
    try:
        if "" in paths:
            return None
        whole = torch.from_file(paths[leader], shared=True, size=sum(sizes), dtype=dtype)
        all_gather(context, None)  # every process has opened it
    finally:
        if path:
            Path(path).unlink()
    return [part.view(shape) for part, shape in zip(whole.split(sizes), shapes, strict=True)]


def _reserve(size: int) -> str:
    """The path of a new file of `size` bytes, whose space is reserved; "" if there is no room."""
    for folder in (SHARED_MEMORY, Path(tempfile.gettempdir())):
        with contextlib.suppress(OSError):
            handle, path = tempfile.mkstemp(prefix="features-", dir=folder)
            try:
                os.posix_fallocate(handle, 0, max(size, 1))
                return path
            except OSError:
                os.unlink(path)
            finally:
                os.close(handle)
    return ""
