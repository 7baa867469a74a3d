"""What encoders learn from: pictures with their targets, wherever they lie."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from PIL import Image


class Pictures(Protocol):
    """Pictures with their targets: class numbers (N,), or rows (N, C) of a multi-hot matrix."""

    targets: np.ndarray

    def __len__(self) -> int: ...
    def name(self, index: int) -> str: ...
    def open(self, index: int) -> Image.Image:
        """Raises BadImage."""


@dataclass(frozen=True)
class Data:
    """Pictures to learn from, pictures to judge by, and the names of their classes."""

    train: Pictures
    val: Pictures
    classes: tuple[str, ...]
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    """Of the colours, on the scale of 0 to 1, where the data set is known to have its own."""
