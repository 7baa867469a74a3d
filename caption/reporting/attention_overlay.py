"""Attention of a decoder drawn over a picture, word by word.

In: an upright RGB picture, attention (T, R) over a square grid of regions or over boxes, their
positions. Out: a sheet with a panel for each word, bright where the attention is; the same numbers
as JSON.

    write_overlay(picture, words, caption.attention, Path("overlays"), "image", view)

After figure 3 of Xu et al.: Show, attend and tell, ICML 2015.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from caption.reporting.box_attention import BoxView, box_heatmap, outline
from eval.files import whole_file, write_json
from prepro.encoders.region_positions import map_extent
from prepro.transform import Transform

DIM = 0.75
"""share of its brightness that a pixel loses where attention is zero"""
PANEL = 224  # pixels of a panel's longer side
LABEL = 26  # pixels below it, for the word
COLUMNS = 5  # panels in a row
Box = tuple[float, float, float, float]
"""left, top, width and height, as fractions of the picture's sides"""


class View(NamedTuple):
    """The part of a picture that an encoder receives, and the grid of its regions."""

    seen: Box
    """the crop"""
    grid: Box
    """the area of the regions, which for most encoders reaches beyond the crop"""


EVEN_GRID = View((0.0, 0.0, 1.0, 1.0), (0.0, 0.0, 1.0, 1.0))


def write_overlay(
    picture: Image.Image, words: Sequence[str], attention: Tensor, folder: Path, stem: str,
    view: View | BoxView,
) -> Path:  # fmt: skip
    """Write folder/stem.png and folder/stem.json; the path of the sheet.

    `attention` (T, R) for T words, its rows as the decoder returned them, goes into the JSON as it
    is. ValueError where R is no square and there are no boxes.
    """
    values = attention.numpy()
    regions = values if isinstance(view, BoxView) else as_grids(values)
    path = folder / f"{stem}.png"
    with whole_file(path) as partial:
        _sheet(picture, words, regions, view).save(partial, format="PNG")
    about = {"words": list(words), **view._asdict(), "attention": attention.tolist()}
    write_json(folder / f"{stem}.json", about)
    return path


def as_grids(attention: np.ndarray) -> np.ndarray:
    """(T, R) to (T, side, side), row by row. ValueError if R is not a square number."""
    side = math.isqrt(attention.shape[-1])
    if side * side != attention.shape[-1]:
        raise ValueError(
            f"attention over {attention.shape[-1]} regions, which are not a square grid"
        )
    return attention.reshape(-1, side, side)


def encoder_view(encoder: str, transform: Transform, width: int, height: int) -> View:
    """The View of the encoder with this name, for a picture of this size."""
    sides = transform.size(width, height)
    whole = transform.mode == "full"
    kept = sides if whole else (transform.crop, transform.crop)
    starts = [0 if whole else transform.offset(side) for side in sides]
    spans = [map_extent(encoder, side) for side in kept]
    firsts = [start + first for start, (first, _) in zip(starts, spans, strict=True)]
    lengths = [length for _, length in spans]
    return View(*(_as_fractions(some, sides) for some in ((*starts, *kept), (*firsts, *lengths))))


def _as_fractions(box: Sequence[float], sides: tuple[int, int]) -> Box:
    left, top, width, height = (round(v / side, 5) for v, side in zip(box, 2 * sides, strict=True))
    return left, top, width, height


def attention_heatmap(weights: np.ndarray, view: View, width: int, height: int) -> np.ndarray:
    """The attention of each pixel, (height, width): at most 1, and 0 outside the crop.

    Each region contributes a Gaussian around its centre; the contributions are added.
    """
    (left, top, across, down), side = view.grid, len(weights)
    columns, rows = (
        _gaussian_weights(width, left, across, side),
        _gaussian_weights(height, top, down, side),
    )
    heatmap = rows @ weights @ columns.T
    (left, top, across, down) = view.seen
    mask = np.zeros_like(heatmap)
    x, y = round(left * width), round(top * height)
    mask[y : round((top + down) * height), x : round((left + across) * width)] = 1
    heatmap *= mask
    return heatmap / max(heatmap.max(), 1e-12)


def _gaussian_weights(pixels: int, first: float, length: float, side: int) -> np.ndarray:
    """(pixels, side): the weight of each region for each pixel, along one axis.

    The effective receptive field of a region is a Gaussian (Luo et al. 2016, arXiv 1701.04128);
    here sigma is the distance between two regions.
    """
    cells = ((np.arange(pixels) + 0.5) / pixels - first) / length * side - 0.5
    return np.exp(-0.5 * (cells[:, None] - np.arange(side)) ** 2)


def overlay_attention(
    picture: Image.Image, weights: np.ndarray, view: View | BoxView
) -> Image.Image:
    """The picture, darkened where the attention `weights` are low: (side, side), of boxes (R,)."""
    is_boxes = isinstance(view, BoxView)
    heatmap = (box_heatmap if is_boxes else attention_heatmap)(weights, view, *picture.size)
    pixels = np.asarray(picture, np.float32) * (1 - DIM * (1 - heatmap))[..., None]
    drawn = Image.fromarray(np.rint(pixels).astype(np.uint8), "RGB")
    if is_boxes:
        outline(drawn, weights, view)
    return drawn


def _sheet(
    picture: Image.Image, words: Sequence[str], regions: np.ndarray, view: View | BoxView
) -> Image.Image:
    """The picture, then a panel for each word above its label."""
    scale = PANEL / max(picture.size)
    small = picture.resize([max(1, round(side * scale)) for side in picture.size])
    panels = [("", small)]
    panels += [(w, overlay_attention(small, r, view)) for w, r in zip(words, regions, strict=True)]
    across = min(COLUMNS, len(panels))
    step = small.width + 8, small.height + LABEL
    down = -(-len(panels) // across)
    sheet = Image.new("RGB", (8 + across * step[0], 8 + down * step[1]), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(16)
    for index, (word, panel) in enumerate(panels):
        x, y = 8 + index % across * step[0], 8 + index // across * step[1]
        sheet.paste(panel, (x, y))
        draw.text((x, y + small.height + 2), _shortened(word, font, small.width), "black", font)
    return sheet


def _shortened(word: str, font: ImageFont.ImageFont, width: int) -> str:
    """The word, shortened to the width of its panel."""
    while font.getlength(word) > width:
        word = word[:-2].rstrip(".") + "."
    return word
