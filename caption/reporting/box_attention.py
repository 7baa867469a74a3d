"""Attention over the boxes of a detector's regions.

In: a picture, the weight of each region, their boxes. Out: the picture, bright where the attention
is, with a line around the box of the greatest weight, after figure 5 of Anderson et al.: Bottom-up
and top-down attention, CVPR 2018.
"""

from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

OUTLINE = (255, 59, 48)  # as in attention.js


class BoxView(NamedTuple):
    """The boxes of R regions."""

    boxes: tuple[tuple[float, float, float, float], ...]
    """left, top, right and bottom of each, as fractions of the picture's sides"""


def box_view(boxes: np.ndarray) -> BoxView:
    """`boxes` (R, 4) as features.h5 holds them."""
    return BoxView(tuple(tuple(round(float(v), 5) for v in box) for box in boxes))


def box_heatmap(weights: np.ndarray, view: BoxView, width: int, height: int) -> np.ndarray:
    """The attention of each pixel, (height, width), at most 1: the sum of the weights of its boxes.

    `weights` (R,). Regions beyond the boxes are padding.
    """
    x, y = (np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height
    left, top, right, bottom = np.array(view.boxes, np.float64).reshape(-1, 4).T[..., None]
    across, down = (x >= left) & (x < right), (y >= top) & (y < bottom)  # (R, width), (R, height)
    heatmap = (down * weights[: len(down), None]).T @ across.astype(np.float64)
    return heatmap / max(heatmap.max(initial=0), 1e-12)


def outline(picture: Image.Image, weights: np.ndarray, view: BoxView) -> None:
    """Draw a line around the box of the greatest weight."""
    best = view.boxes[int(weights[: len(view.boxes)].argmax())]
    corners = [value * side for value, side in zip(best, 2 * picture.size, strict=True)]
    ImageDraw.Draw(picture).rectangle(corners, outline=OUTLINE, width=2)
