"""The order of the dimensions of external features, and refusal where it is in doubt.

R regions (h * w cells of a grid) of D numbers: "rd" (R, D), "hwd" (h, w, D), "dr" (D, R) as OpenVQA
writes it, "dhw" (D, h, w) as a convolution returns it. "auto" is D last, as most systems write it.
"""

from collections.abc import Iterable
from typing import Literal

import numpy as np

Layout = Literal["auto", "rd", "hwd", "dr", "dhw"]
MAX_REGIONS = 65_535  # of an image; features.h5 counts them in 16 bits


def to_rows(value: np.ndarray, layout: Layout) -> np.ndarray:
    """float32 (R, D); a pooled vector becomes (1, D). ValueError for other shapes."""
    value = squeezed(value)
    if value.dtype.kind not in "fiu" or not 1 <= value.ndim <= 3 or not value.size:
        raise ValueError(
            f"features of {value.dtype} {value.shape}, expected numbers of shape (R, D)"
        )
    if layout != "auto" and value.ndim > 1 and value.ndim != len(layout):
        raise ValueError(f"features of shape {value.shape}, which is not --layout {layout}")
    if layout in ("dr", "dhw") and value.ndim > 1:
        value = np.moveaxis(value, 0, -1)
    rows = value.reshape(-1, value.shape[-1])
    if len(rows) > MAX_REGIONS:
        raise ValueError(f"{len(rows):,} regions, more than {MAX_REGIONS:,}")
    return np.ascontiguousarray(rows, np.float32)


def squeezed(value: np.ndarray) -> np.ndarray:
    """Without a first dimension of 1, which stands for a batch."""
    while value.ndim > 2 and value.shape[0] == 1:
        value = value[0]
    return value


def check_layout(shapes: Iterable[tuple[int, ...]]) -> None:
    """ValueError where the last dimension of these `squeezed` features is plainly not D."""
    shapes = set(shapes)
    for a, b, c in sorted(shape for shape in shapes if len(shape) == 3):
        if a != b and a > c and a >= b:
            raise _refusal((a, b, c), "dhw", "hwd")
    flat = sorted(shape for shape in shapes if len(shape) == 2)
    rows, columns = ({shape[axis] for shape in flat} for axis in (0, 1))
    if len(columns) > 1 and len(rows) == 1 and min(rows) > 1:
        raise _refusal(flat[0], "dr", "rd")
    if len(rows) == len(columns) == 1 and min(rows) > min(columns):
        raise _refusal(flat[0], "dr", "rd")


def _refusal(shape: tuple[int, ...], likely: str, other: str) -> ValueError:
    names = {"d": f"D = {shape[0]}", "h": f"D = {shape[-1]}", "r": f"D = {shape[-1]}"}
    return ValueError(
        f"features of shape {shape}: which dimension holds the channels? give --layout {likely} "
        f"({names[likely[0]]}) or --layout {other} ({names[other[0]]})"
    )
