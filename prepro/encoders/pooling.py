"""Feature maps to the features that decoders read: for features.h5, one image, or fine-tuning."""

import torch
from torch import Tensor
from torch.nn import functional as F


def pool(
    grid: Tensor, side: int, dtype: torch.dtype = torch.float16
) -> tuple[Tensor, Tensor | None]:
    """Pool a feature map `grid` (B, D, h, w) to fc (B, D) and att (B, side * side, D).

    fc is the mean; att is an adaptive average in row-major order, so that any input size gives the
    same number of regions, or None where `side` is 0. features.h5 stores float16.
    """
    fc = grid.mean((2, 3)).to(dtype)
    if not side:
        return fc, None
    return fc, F.adaptive_avg_pool2d(grid, side).flatten(2).mT.to(dtype)
