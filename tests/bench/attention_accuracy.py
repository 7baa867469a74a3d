"""Does attention fall on the shape that a word names? The scenes know where each shape is.

    python -m tests.bench.attention_accuracy --run runs/default --data data/scenes

Captions of a split are decoded as the run decodes them. For each shape word ("circle", "stars") the
attention of the step that says it is upsampled to the picture, and its peak is a hit where it lies
in the bounding box of a shape of the named kind. A word for a shape that is not there is a miss.

    on it     as pages and caption.sample --attention draw it
    colour    the same, on a shape of the named kind and colour
    even      the same with regions drawn as equal cells, not at their receptive fields
    chance    "on it" for the maps of other words in other pictures, at random
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from caption.reporting.attention_overlay import (
    EVEN_GRID,
    View,
    as_grids,
    attention_heatmap,
    encoder_view,
)
from eval import command
from eval.scene_statements import read_scenes
from prepro.scenes import SHAPES


@dataclass(frozen=True)
class Options:
    """Share of shape words at which attention peaks on such a shape."""

    run: Path = Path("runs/default")
    """a run on the embedded scenes, of a decoder with attention"""
    data: Path = Path("data/scenes")
    """the data folder with annotations.json"""
    split: str = "test"
    """which pictures"""


class Word(NamedTuple):
    """A shape word of a caption, the attention of its step, and what could be meant by it."""

    shape: str
    colour: str
    attention: np.ndarray
    """(R,)"""
    things: list[dict]
    """the shapes of this kind in the picture"""


def main(options: Options) -> None:
    from caption.captioner import Captioner
    from caption.data.data_folder import DataFolder
    from caption.reporting.captions import load_captions

    if options == Options() and not options.run.exists():
        print("attention_accuracy: no runs/default; make demo trains it", file=sys.stderr)
        return
    scenes = read_scenes(options.data / "annotations.json")
    captioner = Captioner.load(options.run / "model.safetensors", "cpu")
    encoder = captioner.encoder
    data = DataFolder.open(options.data)
    rows = data.split(options.split)
    size = Image.open(data.labels.image_root / data.labels.records[rows[0]].path).size
    words = []
    for image, generated in load_captions(captioner, data, rows, results=None).items():
        if generated.attention is None:
            raise ValueError(f"{options.run}: its decoder has no attention")
        words += named(generated.words, generated.attention.numpy(), scenes[image])
    report(words, encoder_view(encoder.name, encoder.transform, *size), size)


def named(words: Sequence[str], attention: np.ndarray, objects: Sequence[dict]) -> Iterator[Word]:
    """The shape words of a caption; `attention` (T, R)."""
    for word, before, looked in zip(words, ["", *words], attention, strict=False):
        shape = next((s for s in SHAPES if word in (s, s + "s", s + "es")), None)
        if shape:
            yield Word(shape, before, looked, [o for o in objects if o["shape"] == shape])


def peak(weights: np.ndarray, view: View, size: tuple[int, int]) -> tuple[float, float]:
    """(x, y) in pixels of the brightest point of the weights (R,)."""
    spread = attention_heatmap(as_grids(weights[None])[0], view, *size)
    y, x = np.unravel_index(spread.argmax(), spread.shape)
    return x + 0.5, y + 0.5


def hit(point: tuple[float, float], things: Sequence[dict]) -> bool:
    """Whether the peak lies in a box (left, top, width, height)."""
    (x, y), boxes = point, [thing["box"] for thing in things]
    return any(b[0] <= x <= b[0] + b[2] and b[1] <= y <= b[1] + b[3] for b in boxes)


def report(words: Sequence[Word], view: View, size: tuple[int, int]) -> None:
    """One line a shape and one for all; shares of words."""
    others = np.random.default_rng(0).permutation(len(words))
    rows = []
    for word, other in zip(words, others, strict=True):
        at, away = (peak(some.attention, view, size) for some in (word, words[other]))
        even = peak(word.attention, EVEN_GRID, size)
        coloured = [thing for thing in word.things if thing["color"] == word.colour]
        hits = hit(at, word.things), hit(at, coloured), hit(even, word.things)
        rows.append((*hits, hit(away, word.things)))
    table = np.array(rows, float).reshape(-1, 4)
    kinds = np.array([word.shape for word in words])
    print(f"{'shape':10} {'words':>6} {'on it':>8} {'colour':>8} {'even':>8} {'chance':>8}")
    for shape in (*SHAPES, "all"):
        some = table[(kinds == shape) | (shape == "all")]
        if len(some):
            shares = " ".join(f"{share:8.1%}" for share in some.mean(0))
            print(f"{shape:10} {len(some):6} {shares}")


if __name__ == "__main__":
    sys.exit(command.run(Options, main))
