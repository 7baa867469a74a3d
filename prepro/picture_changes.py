"""Copies of pictures in another folder: as they are, mirrored, cropped.

In: picture files. Out: links, or JPEG files, each with the time of the picture that it was made
from: by that a later run knows what is there already. Functions raise prepro.images.BadImage.
"""

import os
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import ImageOps

from eval.files import whole_file
from prepro.images import BadImage, open_rgb, upright_size

QUALITY = 95  # of a JPEG
SMALLEST = 0.8  # least part of a picture's width and of its height that a crop keeps


class Change(NamedTuple):
    """One changed picture: the row of its labels, the number of its crop (0: all of it)."""

    row: int
    crop: int
    is_mirrored: bool

    @property
    def folder(self) -> str:
        """Where it lies under images/."""
        return ("mirrored" if self.is_mirrored else "crop") + str(self.crop or "")

    def path(self, name: str) -> str:
        """The name of the changed picture under images/; `name` is that of the picture."""
        is_jpeg = name.lower().endswith((".jpg", ".jpeg"))
        return f"{self.folder}/{name}" + ("" if is_jpeg else ".jpg")


def link_picture(source: Path, path: Path) -> None:
    """One picture under two names, or a copy on another disk."""
    _require_file(source)
    if path.exists() and (path.samefile(source) or _same_time(source, path)):
        return
    upright_size(source)  # nothing but pictures gets into a folder that may be passed on
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    try:
        os.link(source.resolve(), path)
    except OSError:
        with whole_file(path) as partial:
            shutil.copyfile(source, partial)
        _take_time(source, path)


def write_changed(source: Path, path: Path, name: str, change: Change) -> None:
    """Write a changed picture, as it is seen, unless it is there already.

    The crop depends on the picture's name and on the change only.
    """
    _require_file(source)
    if path.exists() and _same_time(source, path):
        return
    picture = open_rgb(source)
    if change.crop:
        seed = (change.crop, change.is_mirrored, *name.encode())
        picture = picture.crop(random_box(picture.size, seed))
    if change.is_mirrored:
        picture = ImageOps.mirror(picture)
    picture.info = {}  # a comment, say, which may be too long for a JPEG
    with whole_file(path) as partial:
        picture.save(partial, "JPEG", quality=QUALITY)
    _take_time(source, path)


def random_box(size: tuple[int, int], seed: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of a crop: 80 to 100 % of the width and of the height (pixels)."""
    rng = np.random.default_rng(seed)
    width, height = (int(rng.integers(round(SMALLEST * side), side + 1)) for side in size)
    left, top = (int(rng.integers(0, n + 1)) for n in (size[0] - width, size[1] - height))
    return left, top, left + width, top + height


def _require_file(source: Path) -> None:
    if not source.is_file():
        raise BadImage("no such file")


def _same_time(source: Path, path: Path) -> bool:
    return path.stat().st_mtime_ns == source.stat().st_mtime_ns


def _take_time(source: Path, path: Path) -> None:
    found = source.stat()
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
