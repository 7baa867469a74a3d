"""The data that encoders are trained on: images with their targets, whatever stores them."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from PIL import Image


class LabelledImages(Protocol):
    """Images and their targets: class indices (N,), or label probabilities (N, C)."""

    targets: np.ndarray

    def __len__(self) -> int: ...
    def name(self, index: int) -> str:
        """The image's name in messages."""

    def open(self, index: int) -> Image.Image:
        """Upright, in RGB. Raises BadImage."""


@dataclass(frozen=True)
class LabelledDataset:
    """Training images, validation images, and the names of their classes."""

    train: LabelledImages
    val: LabelledImages
    classes: tuple[str, ...]
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    """of the colours on the scale of 0 to 1, if the data set defines its own normalisation"""
