"""The example pictures of the demo page.

In: whether the model knows drawn shapes only. Out: pictures with their names and credits: shapes
that are drawn here, or photographs that installed packages carry (matplotlib; scikit-learn, if it
is installed).
"""

import io
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from PIL import Image, ImageDraw

PHOTOGRAPHS = (
    ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg", "portrait", "US Navy, public domain"),
    ("sklearn", "datasets/images/china.jpg", "a palace", "danielbuechele, CC BY 2.0"),
    ("sklearn", "datasets/images/flower.jpg", "a flower", "vultilion, CC BY 2.0"),
)  # fmt: skip
SIDE = 128  # pixels of a drawing


@dataclass(frozen=True)
class Example:
    """An encoded picture."""

    name: str
    credit: str
    data: bytes
    media_type: str


def pictures(drawn: bool | None) -> list[Example]:
    """Drawings for a model of drawn shapes, else the photographs that are installed."""
    return list(_drawings()) if drawn else list(_photographs())


def _photographs():
    for package, path, name, credit in PHOTOGRAPHS:
        found = find_spec(package)
        file = Path(found.origin).parent / path if found and found.origin else None
        if file and file.is_file():
            yield Example(name, credit, file.read_bytes(), "image/jpeg")


def _drawings():
    square, circle = (16, 36, 60, 80), (72, 44, 112, 84)
    yield _drawn("a square and a circle", lambda draw: (
        draw.rectangle(square, "#c02020"), draw.ellipse(circle, "#2040c0"),
    ))  # fmt: skip
    yield _drawn(
        "a triangle", lambda draw: draw.polygon([(64, 24), (24, 100), (104, 100)], "#209040")
    )
    yield _drawn("two circles", lambda draw: (
        draw.ellipse((16, 20, 60, 64), "#e0c020"), draw.ellipse((68, 64, 112, 108), "#e0c020"),
    ))  # fmt: skip


def _drawn(name: str, paint) -> Example:
    picture, data = Image.new("RGB", (SIDE, SIDE), "#b8b8b8"), io.BytesIO()
    paint(ImageDraw.Draw(picture))
    picture.save(data, "PNG")
    return Example(name, "drawn here", data.getvalue(), "image/png")
