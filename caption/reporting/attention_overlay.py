"""Where the decoder looked: attention over a picture, word by word.

In: an upright RGB picture, attention (T, R) over a square grid of regions, and where they lie. Out:
a sheet of panels, one a word, bright where that word's decoder looked; the same numbers as JSON.

    write_overlay(picture, words, caption.attention, Path("looked"), "image", view)

After figure 3 of Xu et al.: Show, attend and tell, ICML 2015.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from eval.files import whole_file, write_json
from prepro.encoders.region_positions import map_extent
from prepro.transform import Transform

DIM = 0.75
"""how much of its light a index loses where the decoder did not look at all"""
PANEL = 224  # pixels of a panel's longer side
LABEL = 26  # pixels below it, for the word
ACROSS = 5  # panels in a row
Box = tuple[float, float, float, float]
"""left, top, width and height, as shares of a picture's"""


class View(NamedTuple):
    """A picture as an encoder sees it."""

    seen: Box
    """what the crop keeps"""
    grid: Box
    """where the regions lie, as the cells of the encoder's map do: partly outside, for most"""


EVEN = View((0.0, 0.0, 1.0, 1.0), (0.0, 0.0, 1.0, 1.0))


def write_overlay(
    picture: Image.Image, words: Sequence[str], attention: Tensor, folder: Path, stem: str,
    view: View,
) -> Path:  # fmt: skip
    """Write folder/stem.png and folder/stem.json; the path of the sheet.

    `attention` (T, R) for T words, its rows as the decoder returned them, goes into the JSON as it
    is. ValueError where R is no square.
    """
    regions = grids(attention.numpy())
    path = folder / f"{stem}.png"
    with whole_file(path) as partial:
        _sheet(picture, words, regions, view).save(partial, format="PNG")
    about = {"words": list(words), **view._asdict(), "attention": attention.tolist()}
    write_json(folder / f"{stem}.json", about)
    return path


def grids(attention: np.ndarray) -> np.ndarray:
    """(T, R) as (T, side, side), row by row. ValueError where R is no square."""
    side = math.isqrt(attention.shape[-1])
    if side * side != attention.shape[-1]:
        raise ValueError(f"attention over {attention.shape[-1]} regions, which are no square grid")
    return attention.reshape(-1, side, side)


def seen(encoder: str, transform: Transform, width: int, height: int) -> View:
    """What the encoder of that name sees of a picture of that size, and where its regions lie."""
    sides = transform.size(width, height)
    whole = transform.mode == "full"
    kept = sides if whole else (transform.crop, transform.crop)
    starts = [0 if whole else transform.offset(side) for side in sides]
    spans = [map_extent(encoder, side) for side in kept]
    firsts = [start + first for start, (first, _) in zip(starts, spans, strict=True)]
    lengths = [length for _, length in spans]
    return View(*(_shares(some, sides) for some in ((*starts, *kept), (*firsts, *lengths))))


def _shares(box: Sequence[float], sides: tuple[int, int]) -> Box:
    left, top, width, height = (round(v / side, 5) for v, side in zip(box, 2 * sides, strict=True))
    return left, top, width, height


def light(weights: np.ndarray, view: View, width: int, height: int) -> np.ndarray:
    """How much each pixel was looked at: (height, width), 1 where most, 0 where the crop ends.

    Each region lights up around its middle, and where regions meet, their lights add up.
    """
    (left, top, across, down), side = view.grid, len(weights)
    columns, rows = _sight(width, left, across, side), _sight(height, top, down, side)
    found = rows @ weights @ columns.T
    (left, top, across, down) = view.seen
    mask = np.zeros_like(found)
    x, y = round(left * width), round(top * height)
    mask[y : round((top + down) * height), x : round((left + across) * width)] = 1
    found *= mask
    return found / max(found.max(), 1e-12)


def _sight(pixels: int, first: float, length: float, side: int) -> np.ndarray:
    """(pixels, side): what each region sees of each pixel, along one axis.

    It fades like a Gaussian from the middle of the receptive field (Luo et al. 2016, arXiv
    1701.04128); here as wide (sigma) as from one region to the next.
    """
    places = ((np.arange(pixels) + 0.5) / pixels - first) / length * side - 0.5
    return np.exp(-0.5 * (places[:, None] - np.arange(side)) ** 2)


def shine(picture: Image.Image, weights: np.ndarray, view: View) -> Image.Image:
    """The picture, dark but where `weights` (side, side) are; their greatest is full light."""
    factor = 1 - DIM * (1 - light(weights, view, *picture.size))
    lit = np.asarray(picture, np.float32) * factor[..., None]
    return Image.fromarray(np.rint(lit).astype(np.uint8), "RGB")


def _sheet(
    picture: Image.Image, words: Sequence[str], regions: np.ndarray, view: View
) -> Image.Image:
    """The picture, then a panel a word, each above its label."""
    scale = PANEL / max(picture.size)
    small = picture.resize([max(1, round(side * scale)) for side in picture.size])
    panels = [("", small)]
    panels += [(w, shine(small, r, view)) for w, r in zip(words, regions, strict=True)]
    across = min(ACROSS, len(panels))
    step = small.width + 8, small.height + LABEL
    down = -(-len(panels) // across)
    sheet = Image.new("RGB", (8 + across * step[0], 8 + down * step[1]), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(16)
    for index, (word, panel) in enumerate(panels):
        x, y = 8 + index % across * step[0], 8 + index // across * step[1]
        sheet.paste(panel, (x, y))
        draw.text((x, y + small.height + 2), _fitting(word, font, small.width), "black", font)
    return sheet


def _fitting(word: str, font: ImageFont.ImageFont, width: int) -> str:
    """The word, cut off where it is wider than its panel."""
    while font.getlength(word) > width:
        word = word[:-2].rstrip(".") + "."
    return word
