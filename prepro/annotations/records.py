"""ImageRecord: an image with its captions, which every annotation format is converted to."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ImageRecord:
    """An image with its captions; `path` is relative to the image folder."""

    id: int | str
    path: str
    split: str
    captions: tuple[str, ...]
