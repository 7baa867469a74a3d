"""A picture file as an upright RGB picture, or the reason why it is none.

In: a path, or a file's bytes. Out: a PIL picture in mode RGB. Raises BadImage.
"""

import io
import os

from PIL import Image, ImageOps, UnidentifiedImageError


class BadImage(ValueError):
    """A file that is no picture; the message says why."""


def open_rgb(source: str | os.PathLike | bytes) -> Image.Image:
    """The picture, turned upright by its EXIF orientation. Raises BadImage."""
    try:
        file = io.BytesIO(source) if isinstance(source, bytes) else source
        with Image.open(file) as picture:
            return ImageOps.exif_transpose(picture).convert("RGB")
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise BadImage(f"{type(error).__name__}: {error}") from None
