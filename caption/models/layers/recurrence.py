"""Recurrent cells, and the sum of gates x_t + W h_t inside a loop over time."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from caption.models.layers.kernels import DeferredWeightGrad, use_kernels
from caption.models.layers.linear import Linear

Gates = Callable[[Tensor], Tensor]
"""h (n, H) of the next time step to x_t + W h (n, G)"""


def recurrent_gates(x: Tensor, linear: Linear, counts: Sequence[int]) -> Gates:
    """A function that returns x_t + W h_t for t = 0, 1, ...

    `x` (P, G) in time-major order, of which step t has `counts[t]` rows; W (G, H) is the weight of
    `linear`.
    """
    if use_kernels(x) and torch.is_grad_enabled():
        return DeferredWeightGrad(x, linear.weight_to_train(), counts)
    inputs = iter(x.split(list(counts)) if len(counts) > 1 else [x])
    return lambda h: linear.add_product(next(inputs), h)


def lstm_cell(gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """Gates (..., 4H) before their nonlinearities, in nn.LSTM's order, to (h, c), each (..., H)."""
    i, f, g, o = gates.chunk(4, -1)
    cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
    return o.sigmoid() * cell.tanh(), cell


def maxout_cell(
    gates: Tensor, cell: Tensor, candidates: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Gates (..., 5H): input, forget, output and two candidates, the larger of which is used.

    The maximum replaces the LSTM's tanh: Rennie et al. 2017 (arXiv 1612.00563). `candidates`
    (..., 2H) is added to the two candidates.
    """
    size = cell.shape[-1]
    sigmoids, maxout = gates.split([3 * size, 2 * size], -1)
    i, f, o = sigmoids.sigmoid().chunk(3, -1)
    maxout = maxout if candidates is None else maxout + candidates
    first, second = maxout.chunk(2, -1)
    larger = second + (first - second).relu()  # the backward of torch.maximum is twice as slow
    cell = f * cell + i * larger
    return o * cell.tanh(), cell
