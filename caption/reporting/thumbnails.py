"""The pictures of a report: thumbnails inside the page, or links to the files.

In: the image folder and file names. Out: the src of an <img> for each picture.
"""

import base64
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from prepro.images import BadImage, inside, open_rgb, upright_size
from prepro.remote import RemotePath
from prepro.runtime.progress_bar import ProgressBar
from prepro.tar_images import split_path

Mode = Literal["auto", "inline", "link"]
SIDE = 320  # pixels of a thumbnail's longer side
BUDGET = 22_000_000  # characters of thumbnails that "auto" puts into a page


@dataclass(frozen=True)
class PageImage:
    """The src of an <img>, and the size of the file."""

    src: str
    width: int
    height: int
    trouble: str = ""
    """why there is no picture"""


def page_images(root: Path, names: Sequence[str], page: Path, mode: Mode) -> list[PageImage]:
    """The pictures `names` under `root`, for the page at `page`.

    "inline" makes thumbnails, which the page carries; "link" links the files; "auto" makes
    thumbnails as long as they come to less than BUDGET in all, else it links.
    """
    images, total = [], 0
    with ProgressBar(len(names), "pictures", enabled=mode != "link") as progress:
        for name in names if mode != "link" else ():
            images.append(_guarded(_thumbnail, root, name))
            progress.add(1)
            total += len(images[-1].src)
            if mode == "auto" and total > BUDGET:
                break
        else:
            if mode != "link":
                return images
    page_folder = page.resolve().parent
    return [_guarded(lambda path: _link(path, page_folder), root, name) for name in names]


def _guarded(make, root: Path, name: str) -> PageImage:
    """The result of `make(path)`; for a bad picture or name, the reason."""
    try:
        return make(inside(root, name))
    except ValueError as error:  # BadImage is one
        reason = str(error) if isinstance(error, BadImage) else "not a name inside the image folder"
        return PageImage("", 1, 1, reason)


def _thumbnail(path: Path) -> PageImage:
    picture = open_rgb(path, SIDE)
    picture.thumbnail((SIDE, SIDE))
    data = io.BytesIO()
    picture.save(data, "WEBP", quality=70, method=2)  # a fifth smaller than JPEG
    encoded = base64.b64encode(data.getvalue()).decode()
    return PageImage(f"data:image/webp;base64,{encoded}", *upright_size(path))


def _link(path: Path, page_folder: Path) -> PageImage:
    if isinstance(path, RemotePath) or split_path(path):  # a browser opens no tar file
        return _thumbnail(path)
    relative = os.path.relpath(path.resolve(), page_folder).replace(os.sep, "/")
    return PageImage(quote(relative), *upright_size(path))
