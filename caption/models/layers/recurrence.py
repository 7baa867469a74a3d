"""What recurrent decoders share: their cells, and the sum of gates that a loop over time needs."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable


class DeferredWeightGrad:
    """x_t + W h_t for t = 0, 1, ...; the gradient of W is one product over all t at the end.

    Autograd alone would multiply and add a matrix of W's size at every step. Since d(x_t + W h_t)
    is also the gradient of x_t, the joined gradient of x is all that W's needs.
    """

    def __init__(self, x: Tensor, weight: Tensor, counts: Sequence[int]) -> None:
        """`x` (P, G), of which step t has `counts[t]` rows; `weight` (G, H)"""
        self.hiddens: list[Tensor] = []
        self.inputs = _DeferredWeightGrad.apply(x, weight, self.hiddens).split(list(counts))
        self.weight = weight.detach()

    def __call__(self, h: Tensor) -> Tensor:
        """The next step's `h` (n, H), to (n, G)."""
        x = self.inputs[len(self.hiddens)]
        self.hiddens.append(h.detach())
        return torch.addmm(x, h, self.weight.T)


class _DeferredWeightGrad(torch.autograd.Function):
    """x unchanged; backward, the gradient of the W that multiplies `hiddens` in the loop."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, weight: Tensor, hiddens: list[Tensor]) -> Tensor:
        ctx.hiddens, ctx.dtype = hiddens, weight.dtype
        return x.view_as(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        hiddens = torch.cat(ctx.hiddens)
        return grad, (grad.to(hiddens.dtype).T @ hiddens).to(ctx.dtype), None


def lstm_cell(gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """Gates (..., 4H) before their nonlinearities, in nn.LSTM's order, to (h, c), each (..., H)."""
    i, f, g, o = gates.chunk(4, -1)
    cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
    return o.sigmoid() * cell.tanh(), cell


def maxout_cell(
    gates: Tensor, cell: Tensor, candidates: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Gates (..., 5H): input, forget, output, and two candidates, the larger of which enters.

    Maxout in place of the candidate's tanh: Rennie et al. 2017 (arXiv 1612.00563). `candidates`
    (..., 2H) is added to the two.
    """
    size = cell.shape[-1]
    opened, both = gates.split([3 * size, 2 * size], -1)
    i, f, o = opened.sigmoid().chunk(3, -1)
    both = both if candidates is None else both + candidates
    one, other = both.chunk(2, -1)
    larger = other + (one - other).relu()  # torch.maximum goes back at twice the price
    cell = f * cell + i * larger
    return o * cell.tanh(), cell
