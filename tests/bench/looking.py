"""Does attention look at what the caption names? The scenes know where each shape is.

    python -m tests.bench.looking --run runs/default --data data/scenes

Captions of a split are decoded as the run decodes them. For each shape word ("circle", "stars") the
attention of the step that says it, upsampled to the picture as `caption.sample --attention` draws
it, has its peak somewhere: a hit where that lies in the bounding box of a shape of the named kind.
A word for a shape that is not there is a miss. Beside it: hits on shapes of the named kind and
colour, and what a peak anywhere in the picture, at random, would hit.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from eval import command
from eval.statements import read_scenes
from prepro.scenes import SHAPES


@dataclass(frozen=True)
class Options:
    """Share of shape words at which attention peaks on such a shape."""

    run: Path = Path("runs/default")
    """a run on the embedded scenes, of a decoder that looks at regions"""
    data: Path = Path("data/scenes")
    """the data folder with annotations.json"""
    split: str = "test"
    """which pictures"""


class Word(NamedTuple):
    """A shape word of a caption and what its step's attention hit."""

    shape: str
    kind: bool
    """the peak is on a shape of this kind"""
    exact: bool
    """... and of the colour said before"""
    chance: float
    """share of the picture under boxes of this kind"""


def main(options: Options) -> None:
    from caption.captioner import Captioner
    from caption.data import DataFolder
    from caption.gallery import explain
    from caption.store import FeatureStore
    from caption.validate import captions_of

    if options == Options() and not options.run.exists():
        print("looking: no runs/default to look at; make demo", file=sys.stderr)
        return
    scenes = read_scenes(options.data / "annotations.json")
    captioner = Captioner.load(options.run / "model.safetensors", "cpu")
    data = DataFolder.open(options.data)
    store = FeatureStore(data.features, True, "disk", "cpu")
    rows = data.split(options.split)
    found = captions_of(captioner.decoder, data, store, rows, captioner.decoding)
    texts = [captioner.vocabulary.sentence(best.words) for _, (best, *_) in found]
    size = Image.open(data.labels.image_root / data.labels.records[rows[0]].path).size
    words = []
    for row, spoken in zip(rows, explain(captioner, store, rows, texts), strict=True):
        if spoken.attention is None:
            raise ValueError(f"{options.run}: its decoder looks at no regions")
        objects = scenes[data.labels.records[row].id]
        words += judged(spoken.words, spoken.attention.numpy(), objects, size)
    report(words)


def judged(
    words: Sequence[str], attention: np.ndarray, objects: Sequence[dict], size: tuple[int, int]
) -> Iterator[Word]:
    """A verdict on each shape word; `attention` (T, R), `size` of the picture in pixels."""
    for t, word in enumerate(words):
        shape = next((s for s in SHAPES if word in (s, s + "s", s + "es")), None)
        if shape is None:
            continue
        x, y = peak(attention[t], size)
        kind = [thing for thing in objects if thing["shape"] == shape]
        hits = [thing for thing in kind if inside(x, y, thing["box"])]
        exact = any(thing["color"] == words[t - 1] for thing in hits) if t else False
        area = sum(thing["box"][2] * thing["box"][3] for thing in kind) / (size[0] * size[1])
        yield Word(shape, bool(hits), exact, area)


def peak(weights: np.ndarray, size: tuple[int, int]) -> tuple[float, float]:
    """Where the upsampled weights (R,) are greatest: the middle of the pixels that share it."""
    side = round(len(weights) ** 0.5)
    grid = Image.fromarray(weights.reshape(side, side).astype(np.float32), "F")
    light = np.asarray(grid.resize(size, Image.Resampling.BILINEAR))
    down, across = np.nonzero(light == light.max())
    return float(across.mean()) + 0.5, float(down.mean()) + 0.5


def inside(x: float, y: float, box: Sequence[float]) -> bool:
    left, top, width, height = box
    return left <= x <= left + width and top <= y <= top + height


def report(words: Sequence[Word]) -> None:
    print(f"{'shape':10} {'words':>6} {'on it':>7} {'and colour':>11} {'by chance':>10}")
    for shape in (*SHAPES, "all"):
        some = [word for word in words if shape in ("all", word.shape)]
        if some:
            shares = (sum(w[i] for w in some) / len(some) for i in (1, 2, 3))
            one, two, three = shares
            print(f"{shape:10} {len(some):6} {one:7.1%} {two:11.1%} {three:10.1%}")


if __name__ == "__main__":
    sys.exit(command.run(Options, main))
