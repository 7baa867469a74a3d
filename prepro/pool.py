"""From the encoder's last map to what decoders read; the same for a store and for one picture."""

from torch import Tensor
from torch.nn import functional as F


def pool(grid: Tensor, side: int) -> tuple[Tensor, Tensor | None]:
    """`grid` (B, D, h, w) to fc (B, D), its mean, and att (B, side * side, D), row by row.

    att is an adaptive average, so that any input size gives the same number of regions; None where
    `side` is 0. float16, as features.h5 keeps them.
    """
    fc = grid.mean((2, 3)).half()
    if not side:
        return fc, None
    return fc, F.adaptive_avg_pool2d(grid, side).flatten(2).mT.half()
