"""A picture and what people said of it: what every annotation format becomes."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ImageRecord:
    """One picture and what people said of it; `path` is relative to the folder of pictures."""

    id: int | str
    path: str
    split: str
    captions: tuple[str, ...]
