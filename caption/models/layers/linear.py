"""A linear layer that captions faster on a CPU whose products go through oneDNN.

oneDNN reorders a weight before each product, and autocast converts it. Without gradients a weight
stays as it is, so both are done once: a step for one picture takes half as long. With gradients, on
other devices and in exported graphs this is nn.Linear.
"""

import weakref
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from prepro.runtime.matmul import uses_onednn


class Reordered(NamedTuple):
    """A weight (out, in) and a bias (out,) as oneDNN takes them."""

    source: tuple
    """what tells the weight and the dtype from later ones"""
    weight: Tensor
    bias: Tensor | None


_reordered: "weakref.WeakKeyDictionary[nn.Module, Reordered]" = weakref.WeakKeyDictionary()


class Linear(nn.Linear):
    """nn.Linear, with the sum that a recurrent layer needs."""

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) to (..., out)"""
        found = self._reorder(x)
        if found is None:
            return super().forward(x)
        rows = x.reshape(-1, x.shape[-1]).contiguous().to(found.weight.dtype)
        run = torch.ops.mkldnn._linear_pointwise
        return run(rows, found.weight, found.bias, "none", [], "").view(*x.shape[:-1], -1)

    def add_product(self, x: Tensor, h: Tensor) -> Tensor:
        """x + W h, without the bias: `x` (n, out), `h` (n, in)."""
        found = self._reorder(h)
        if found is None:
            return x + F.linear(h, self.weight)
        h, x = (t.contiguous().to(found.weight.dtype) for t in (h, x))
        return torch.ops.mkldnn._linear_pointwise.binary(h, x, found.weight, None, "add")

    def weight_to_train(self) -> Tensor:
        """The weight for a product of the caller's, after which an optimizer may change it.

        PyTorch's fused optimizers do not count as a change of a tensor's version.
        """
        _reordered.pop(self, None)
        return self.weight

    def _reorder(self, x: Tensor) -> Reordered | None:
        """The weight for oneDNN, None where PyTorch's own product is used."""
        weight = self.weight_to_train() if torch.is_grad_enabled() else self.weight
        dtype = None if torch.is_grad_enabled() else _product_dtype(x)
        if dtype is None or weight.dtype != torch.float32:
            return None
        source = weight._version, weight.data_ptr(), dtype
        found = _reordered.get(self)
        if found is None or found.source != source:
            ordered = torch.ops.mkldnn._reorder_linear_weight(weight.detach().to(dtype))
            bias = None if self.bias is None else self.bias.detach().to(dtype)
            found = _reordered[self] = Reordered(source, ordered, bias)
        return found


def _product_dtype(x: Tensor) -> torch.dtype | None:
    """The dtype of a product with x by oneDNN; None where oneDNN does not compute it."""
    if x.device.type != "cpu" or torch.compiler.is_exporting() or not x.numel():
        return None
    half = torch.is_autocast_enabled("cpu")
    dtype = torch.get_autocast_dtype("cpu") if half else x.dtype
    return dtype if uses_onednn(dtype) else None
