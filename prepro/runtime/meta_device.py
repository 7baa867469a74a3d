"""Modules on the meta device: names and shapes, without memory and without initial values.

    with meta_device():
        shapes = build(...).state_dict()

PyTorch computes random initial values of meta tensors in Python, and importing what it needs for
that takes longer than everything else that a command does with one picture.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

RANDOM = frozenset(("normal_", "uniform_", "kaiming_uniform_"))


@contextmanager
def meta_device() -> Iterator[None]:
    """torch.device("meta"), where random initialisation does nothing."""
    with torch.device("meta"), _WithoutInitialValues():
        yield


class _WithoutInitialValues(TorchFunctionMode):
    def __torch_function__(
        self, func: Callable, types: object, args: tuple = (), kwargs: dict | None = None
    ) -> Tensor:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") in RANDOM:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)
