"""The example pictures of the demo show what their names say."""

import io

import numpy as np
from PIL import Image

from caption.serving import examples


def mask(example, colour: str) -> np.ndarray:
    """Where a drawing has the colour."""
    with Image.open(io.BytesIO(example.data)) as picture:
        assert (picture.format, example.media_type) == ("PNG", "image/png")
        return (np.asarray(picture) == Image.new("RGB", (1, 1), colour).getpixel((0, 0))).all(-1)


def test_drawings_have_the_shapes_of_their_names():
    """A square fills its box, a circle the share pi / 4 of one, a triangle one half."""
    both, triangle, circles = examples.pictures(True)
    shapes = [
        (mask(both, "#c02020"), 1), (mask(both, "#2040c0"), np.pi / 4),
        *((half, np.pi / 4) for half in np.hsplit(mask(circles, "#e0c020"), 2)),
    ]  # fmt: skip
    sides = []
    for shape, share in shapes:
        rows, columns = np.nonzero(shape)
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert height == width
        assert abs(shape.sum() / (height * width) - share) < 0.02
        sides.append(width)
    assert sides[2] == sides[3]
    drawn = mask(triangle, "#209040")
    assert np.array_equal(drawn[:, 1:], drawn[:, :0:-1])  # about the middle of 128 pixels
    rows, columns = np.nonzero(drawn)
    assert drawn[rows.max()].sum() == np.ptp(columns) + 1 and drawn[rows.min()].sum() == 1
    assert abs(drawn.sum() / ((np.ptp(rows) + 1) * (np.ptp(columns) + 1)) - 0.5) < 0.02


def test_photographs_are_those_that_are_installed(tmp_path, monkeypatch):
    """Nothing is shown of a package that is missing, is only a folder, or lacks the file."""
    (tmp_path / "only_a_folder").mkdir()
    (tmp_path / "only_a_folder" / "a.jpg").write_bytes(b"no")
    monkeypatch.syspath_prepend(tmp_path)
    (first, *_) = examples.PHOTOGRAPHS
    others = [("no_such_package", "a.jpg", "a", "b"), ("only_a_folder", "a.jpg", "a", "b")]
    gone = (first[0], "mpl-data/gone.jpg", "gone", "c")
    monkeypatch.setattr(examples, "PHOTOGRAPHS", (*others, gone, first))
    for drawn in (False, None):
        (shown,) = examples.pictures(drawn)
        assert (shown.name, shown.credit) == ("portrait", "US Navy, public domain")
        with Image.open(io.BytesIO(shown.data)) as picture:
            assert picture.format == "JPEG" and shown.media_type == "image/jpeg"
