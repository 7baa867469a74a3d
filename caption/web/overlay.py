"""Where the decoder looked: attention over a picture, word by word.

In: an upright RGB picture and attention (T, R) over a square grid of regions. Out: a sheet of
panels, one a word, bright where that word's decoder looked; and the same numbers as JSON.

    write_overlay(picture, words, caption.attention, Path("looked"), "image", transform)

After figure 3 of Xu et al.: Show, attend and tell, ICML 2015.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from eval.files import whole_file, write_json
from prepro.transform import Transform

VEIL = 0.75
"""how much of its light a place loses where the decoder did not look at all"""
PANEL = 224  # pixels of a panel's longer side
LABEL = 26  # pixels below it, for the word
ACROSS = 5  # panels in a row
Box = tuple[float, float, float, float]


def write_overlay(
    picture: Image.Image, words: Sequence[str], attention: Tensor, folder: Path, stem: str,
    transform: Transform | None = None,
) -> Path:  # fmt: skip
    """Write folder/stem.png and folder/stem.json; the path of the sheet.

    `attention` (T, R) for T words, its rows as the decoder returned them, goes into the JSON as it
    is. `transform` tells which part of the picture the encoder saw; without it, all. ValueError
    where R is no square.
    """
    grid = grids(attention.numpy())
    box = seen(transform, *picture.size)
    path = folder / f"{stem}.png"
    with whole_file(path) as partial:
        _sheet(picture, words, grid, box).save(partial, format="PNG")
    about = {"words": list(words), "box": list(box), "attention": attention.tolist()}
    write_json(folder / f"{stem}.json", about)
    return path


def grids(attention: np.ndarray) -> np.ndarray:
    """(T, R) as (T, side, side), row by row. ValueError where R is no square."""
    side = math.isqrt(attention.shape[-1])
    if side * side != attention.shape[-1]:
        raise ValueError(f"attention over {attention.shape[-1]} regions, which are no square grid")
    return attention.reshape(-1, side, side)


def seen(transform: Transform | None, width: int, height: int) -> Box:
    """(left, top, width, height) of what the encoder saw, as shares of the picture."""
    if transform is None or transform.mode == "full":
        return 0.0, 0.0, 1.0, 1.0
    sides = transform.size(width, height)
    left, top = (transform.offset(side) / side for side in sides)
    return left, top, transform.crop / sides[0], transform.crop / sides[1]


def shine(picture: Image.Image, weights: np.ndarray, box: Box) -> Image.Image:
    """The picture, dark but where `weights` (side, side) are; their greatest is full light.

    Between the centres of the regions the light is interpolated linearly.
    """
    width, height = picture.size
    left, top = round(box[0] * width), round(box[1] * height)
    size = max(1, round(box[2] * width)), max(1, round(box[3] * height))
    small = Image.fromarray((weights / max(weights.max(), 1e-12)).astype(np.float32), "F")
    light = Image.new("F", picture.size, 0.0)
    light.paste(small.resize(size, Image.Resampling.BILINEAR), (left, top))
    factor = 1 - VEIL * (1 - np.asarray(light))
    lit = np.asarray(picture, np.float32) * factor[..., None]
    return Image.fromarray(np.rint(lit).astype(np.uint8), "RGB")


def _sheet(picture: Image.Image, words: Sequence[str], grid: np.ndarray, box: Box) -> Image.Image:
    """The picture, then a panel a word, each above its label."""
    scale = PANEL / max(picture.size)
    small = picture.resize([max(1, round(side * scale)) for side in picture.size])
    panels = [("", small)]
    panels += [(w, shine(small, g, box)) for w, g in zip(words, grid, strict=True)]
    across = min(ACROSS, len(panels))
    step = small.width + 8, small.height + LABEL
    down = -(-len(panels) // across)
    sheet = Image.new("RGB", (8 + across * step[0], 8 + down * step[1]), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(16)
    for place, (word, panel) in enumerate(panels):
        x, y = 8 + place % across * step[0], 8 + place // across * step[1]
        sheet.paste(panel, (x, y))
        draw.text((x, y + small.height + 2), _fitting(word, font, small.width), "black", font)
    return sheet


def _fitting(word: str, font: ImageFont.ImageFont, width: int) -> str:
    """The word, cut off where it is wider than its panel."""
    while font.getlength(word) > width:
        word = word[:-2].rstrip(".") + "."
    return word
