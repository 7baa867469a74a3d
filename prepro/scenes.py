"""The default data set: images of coloured shapes, drawn by this command, with true captions.

    python -m prepro.scenes --out data/scenes

Out: OUT/images/*.jpg and OUT/annotations.json, COCO captions with three additions. Each image has
a `split`; its `objects` (shape, color, box), to check the facts in a caption (eval/statements.py)
and where attention falls; and `labels`, to pretrain an encoder. Scene i depends on the seed and on
i alone, byte for byte.
"""

import math
import random
import sys
from dataclasses import dataclass
from pathlib import Path

from eval import command

COLORS = {
    "red": (208, 36, 36),
    "green": (38, 160, 60),
    "blue": (40, 80, 214),
    "yellow": (240, 212, 40),
    "purple": (144, 56, 184),
    "orange": (240, 132, 24),
}
SHAPES = ("circle", "square", "triangle", "star", "cross")
NUMBERS = {1: "a", 2: "two", 3: "three"}
RELATIONS = {  # the first group's position -> phrases for its relation to the second
    "left": ("left of", "to the left of"),
    "right": ("right of", "to the right of"),
    "above": ("above", "over"),
    "below": ("below", "under"),
}
OPPOSITE = {"left": "right", "right": "left", "above": "below", "below": "above"}
CAPTIONS = 5  # per image, as in COCO and Flickr8k
MOST = 1_000_000  # pictures of a split; their descriptions are kept in memory


@dataclass(frozen=True)
class Options:
    """Draw the default data set: coloured shapes with captions, in COCO's format.

    Example: python -m prepro.scenes --out data/scenes
    """

    out: Path = Path("data/scenes")
    """folder to write images/ and annotations.json to"""
    train: int = 2000
    """number of training pictures"""
    val: int = 200
    """number of validation pictures"""
    test: int = 200
    """number of test pictures"""
    size: int = 112
    """side of a picture in pixels"""
    seed: int = 0
    """random seed; each seed gives other scenes"""


@dataclass(frozen=True)
class Group:
    """One to three equal shapes; `position` is a key of RELATIONS, or "" for the only group."""

    count: int
    color: str
    shape: str
    position: str

    def phrase(self, rng: random.Random) -> str:
        """`a red circle`, `two blue crosses`."""
        number = rng.choice(("a", "a", "one")) if self.count == 1 else NUMBERS[self.count]
        if number == "a" and self.color == "orange":
            number = "an"
        plural = "" if self.count == 1 else "es" if self.shape == "cross" else "s"
        return f"{number} {self.color} {self.shape}{plural}"

    def labels(self) -> list[str]:
        """Labels for an encoder: colour and shape, then each attribute with the position."""
        position = self.position or "alone"
        values = (self.color, self.shape, NUMBERS[self.count])
        return [f"{self.color} {self.shape}", *(f"{position}: {value}" for value in values)]


def main(options: Options) -> None:
    from eval.files import write_json
    from prepro.runtime.progress_bar import ProgressBar

    counts = (options.train, options.val, options.test)
    if not 32 <= options.size <= 2048 or min(counts) < 1 or max(counts) > MOST:
        raise ValueError(
            "--size must lie in 32..2048, and every split (--train, --val, --test) must have 1 to "
            f"{MOST:,} pictures"
        )
    (options.out / "images").mkdir(parents=True, exist_ok=True)
    splits = [s for s in ("train", "val", "test") for _ in range(getattr(options, s))]
    images, annotations = [], []
    with ProgressBar(len(splits), "scenes") as progress:
        for i, split in enumerate(splits):
            name = f"images/{i:06d}.jpg"
            scene = draw_scene(options.out / name, options.size, options.seed, i)
            captions = scene.pop("captions")
            images.append({"id": i, "file_name": name, "split": split, **scene})
            annotations += [
                {"id": i * CAPTIONS + k, "image_id": i, "caption": caption}
                for k, caption in enumerate(captions)
            ]
            progress.add(1)
    info = {"description": "rendered scenes", "seed": options.seed, "size": options.size}
    value = {"info": info, "images": images, "annotations": annotations}
    write_json(options.out / "annotations.json", value)
    print(f"{options.out}: {len(images):,} pictures, {len(annotations):,} captions")


def draw_scene(path: Path, size: int, seed: int, index: int) -> dict[str, list]:
    """Draw a scene to `path`; returns its objects, labels and captions.

    Boxes are [x, y, width, height] in pixels.
    """
    rng = random.Random(f"{seed}:{index}")
    groups = _groups(rng)
    objects = [
        {"shape": group.shape, "color": group.color, "box": box}
        for group in groups
        for box in _boxes(rng, group, size)
    ]
    _paint(path, objects, size, rng)
    labels = [label for group in groups for label in group.labels()]
    return {"objects": objects, "labels": labels, "captions": _captions(rng, groups)}


def _groups(rng: random.Random) -> list[Group]:
    """One group in a third of the scenes, two different groups in the others."""
    kinds = rng.sample([(color, shape) for color in COLORS for shape in SHAPES], 2)
    counts = rng.choices((1, 2, 3), weights=(3, 2, 1), k=2)
    position = rng.choice(tuple(RELATIONS))
    if rng.random() < 1 / 3:
        return [Group(counts[0], *kinds[0], "")]
    first = Group(counts[0], *kinds[0], position)
    return [first, Group(counts[1], *kinds[1], OPPOSITE[position])]


def _boxes(rng: random.Random, group: Group, size: int) -> list[list[int]]:
    """Boxes in the group's half of the image; they have one size and do not touch."""
    half = {"left": (0, 0, 0.5, 1), "right": (0.5, 0, 1, 1)}
    half |= {"above": (0, 0, 1, 0.5), "below": (0, 0.5, 1, 1), "": (0, 0, 1, 1)}
    x0, y0, x1, y1 = (round(size * edge) for edge in half[group.position])
    while True:
        side = round(size * rng.uniform(0.26, 0.36))
        boxes: list[list[int]] = []
        for _ in range(60):
            x, y = rng.randint(x0 + 3, x1 - side - 3), rng.randint(y0 + 3, y1 - side - 3)
            if all(abs(x - b[0]) > side + 2 or abs(y - b[1]) > side + 2 for b in boxes):
                boxes.append([x, y, side, side])
            if len(boxes) == group.count:
                return boxes


def _paint(path: Path, objects: list[dict], size: int, rng: random.Random) -> None:
    """Draw the image at twice the size and shrink it, so that edges are smooth."""
    from PIL import Image, ImageDraw

    picture = _background(2 * size, rng)
    draw = ImageDraw.Draw(picture)
    _clutter(draw, 2 * size, rng)
    for item in objects:
        x, y, side, _ = (2 * value for value in item["box"])
        mask = Image.new("L", picture.size)
        pen = ImageDraw.Draw(mask)
        if item["shape"] == "circle":
            pen.ellipse((x, y, x + side, y + side), fill=255)
        else:
            turn = rng.uniform(-0.2, 0.2)
            pen.polygon(_outline(item["shape"], x + side / 2, y + side / 2, side / 2, turn), 255)
        picture.paste(_texture(picture.size, COLORS[item["color"]], rng), mask=mask)
    picture.resize((size, size), Image.Resampling.BOX).save(path, quality=92)


def _background(side: int, rng: random.Random):
    """A grey gradient from one edge to the other, with camera noise."""
    import numpy as np
    from PIL import Image

    first, last = rng.uniform(10, 245), rng.uniform(10, 245)
    ramp = np.linspace(first, (first + last) / 2, side)[:, None]
    if rng.random() < 0.5:
        ramp = ramp.T
    noise = np.random.default_rng(rng.getrandbits(32)).normal(0, 8, (side, side))
    grey = np.broadcast_to(ramp, (side, side)) + noise
    tint = np.array([rng.uniform(-8, 8) for _ in range(3)])
    return Image.fromarray((grey[..., None] + tint).clip(0, 255).astype(np.uint8))


def _clutter(draw, side: int, rng: random.Random) -> None:
    """Thin grey lines and dots, which captions do not mention."""
    for _ in range(rng.randint(0, 5)):
        grey = (rng.randint(0, 255),) * 3
        x, y = rng.uniform(0, side), rng.uniform(0, side)
        if rng.random() < 0.5:
            reach = rng.uniform(-side / 3, side / 3), rng.uniform(-side / 3, side / 3)
            draw.line((x, y, x + reach[0], y + reach[1]), grey, width=2)
        else:
            r = rng.uniform(1, side / 60)
            draw.ellipse((x - r, y - r, x + r, y + r), grey)


def _texture(size: tuple[int, int], color: tuple[int, int, int], rng: random.Random):
    """An image filled with about that colour: plain, striped or dotted."""
    from PIL import Image, ImageDraw

    fill = tuple(channel + rng.randint(-15, 15) for channel in color)
    shade = tuple(round(channel * 0.72) for channel in fill)
    sheet = Image.new("RGB", size, fill)
    draw = ImageDraw.Draw(sheet)
    kind, gap, (width, height) = rng.choice(("plain", "stripes", "dots")), 12, size
    if kind == "stripes":
        for x in range(-height, width, gap):
            draw.line((x, 0, x + height, height), shade, width=4)
    elif kind == "dots":
        for x in range(0, width, gap):
            for y in range(0, height, gap):
                draw.ellipse((x, y, x + 4, y + 4), shade)
    return sheet


def _outline(shape: str, x: float, y: float, r: float, turn: float) -> list[tuple[float, float]]:
    """The corners of a polygon around (x, y) within the radius r."""
    if shape == "cross":
        a, b = r * 0.95, r * 0.3
        corners = [(b, a), (b, b), (a, b), (a, -b), (b, -b), (b, -a)]
        corners += [(-px, -py) for px, py in corners]
    else:
        spokes = {"square": 4, "triangle": 3, "star": 10}[shape]
        start = math.pi / 4 if shape == "square" else math.pi
        radii = [r if shape != "star" or k % 2 == 0 else r * 0.42 for k in range(spokes)]
        angles = [start + 2 * math.pi * k / spokes for k in range(spokes)]
        corners = [(q * math.sin(a), q * math.cos(a)) for q, a in zip(radii, angles, strict=True)]
    cos, sin = math.cos(turn), math.sin(turn)
    return [(x + px * cos - py * sin, y + px * sin + py * cos) for px, py in corners]


def _captions(rng: random.Random, groups: list[Group]) -> list[str]:
    """Five different true sentences."""
    found: dict[str, None] = {}
    while len(found) < CAPTIONS:
        found[_caption(rng, groups)] = None
    return list(found)


def _caption(rng: random.Random, groups: list[Group]) -> str:
    """One true sentence; either of two groups may come first."""
    first, *others = rng.sample(groups, len(groups))
    body = first.phrase(rng)
    if others:
        relation = rng.choice((*RELATIONS[first.position] * 2, "and"))
        body += f" {relation} {others[0].phrase(rng)}"
    verb = "is" if first.count == 1 else "are"
    openings = ("", f"there {verb} ", "a picture of ", "this shows ", "I see ")
    return f"{rng.choices(openings, weights=(5, 2, 1, 1, 1))[0]}{body}."


if __name__ == "__main__":
    sys.exit(command.run(Options, main))
