"""From the last map to what decoders read: in a store, for one picture, while fine-tuning."""

import torch
from torch import Tensor
from torch.nn import functional as F


def pool(
    grid: Tensor, side: int, dtype: torch.dtype = torch.float16
) -> tuple[Tensor, Tensor | None]:
    """`grid` (B, D, h, w) to fc (B, D), its mean, and att (B, side * side, D), row by row.

    att is an adaptive average, so that any input size gives the same number of regions; None where
    `side` is 0. float16 is what features.h5 keeps.
    """
    fc = grid.mean((2, 3)).to(dtype)
    if not side:
        return fc, None
    return fc, F.adaptive_avg_pool2d(grid, side).flatten(2).mT.to(dtype)
