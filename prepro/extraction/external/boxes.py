"""Boxes of regions as fractions of the picture's sides.

In: (R, 4) or more columns, the first four left, top, right and bottom. Out: float32 (R, 4), from 0
to 1.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from prepro.annotations.records import ImageRecord
from prepro.images import FORMATS, inside


def normalised_boxes(boxes: np.ndarray, size: tuple[float, float] | None) -> np.ndarray | None:
    """None for boxes in pixels of a picture of unknown size. ValueError for other arrays."""
    boxes = boxes.reshape(boxes.shape[-2:]) if boxes.ndim > 2 else boxes
    if boxes.dtype.kind not in "fiu" or boxes.ndim != 2 or boxes.shape[1] < 4:
        raise ValueError(f"boxes of {boxes.dtype} {boxes.shape}, expected numbers of shape (R, 4)")
    corners = boxes[:, :4].astype(np.float64)
    if not np.isfinite(corners).all():
        raise ValueError("boxes that are not finite")
    if corners.size and corners.max() > 1.01:
        if size is None or min(size) <= 0:
            return None
        corners /= np.array([*size, *size])
    return corners.clip(0, 1).astype(np.float32)


def picture_size(root: Path, record: ImageRecord) -> tuple[float, float] | None:
    """Width and height in the header of the picture's file; None where it cannot be read."""
    try:
        with Image.open(inside(root, record.path), formats=FORMATS) as picture:
            return picture.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
