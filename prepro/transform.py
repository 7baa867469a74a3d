"""The preprocessing of an encoder: resize, crop and normalise.

In: an upright RGB image (PIL). Out: uint8 pixels (3, H, W) and, on the device, floats.
A Transform belongs to a set of weights; features.h5 and runs store it with them.
"""

from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
from PIL import Image

from eval import schema

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
FULL_SIDE = 640  # the longest side of COCO's images, so that mode "full" shrinks none of them
_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
_MODES = ("short", "square", "full")
MAX_SIDE = 8192


@dataclass(frozen=True)
class Transform:
    """Resize with antialias, crop the centre, normalise.

    mode "short":  the short side becomes `resize`, then the centre crop (torchvision, timm)
    mode "square": both sides become `resize`, then the centre crop (neuraltalk2)
    mode "full":   no crop; the long side shrinks to `resize` where it exceeds it (0: never)
    """

    mode: Literal["short", "square", "full"] = "short"
    resize: int = 256
    crop: int = 224
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    rounding: Literal["round", "ceil"] = "round"
    """of the crop's offset (W - crop) / 2: torchvision rounds half to even, fb.resnet.torch up"""

    def __post_init__(self) -> None:
        if self.mode not in _MODES or self.interpolation not in _FILTERS:
            raise ValueError(
                f"transform: mode {self.mode!r} (of {', '.join(_MODES)}) and interpolation "
                f"{self.interpolation!r} (of {', '.join(_FILTERS)})"
            )
        if self.mode != "full" and not 0 < self.crop <= self.resize:
            raise ValueError(f"transform: crop {self.crop} of a picture resized to {self.resize}")
        if self.resize > MAX_SIDE:
            raise ValueError(f"transform: resize {self.resize}, more than {MAX_SIDE:,} pixels")
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise ValueError(f"transform: mean {self.mean} and std {self.std} of three channels")

    def pixels(self, picture: Image.Image) -> np.ndarray:
        """The image as uint8 (3, H, W): (3, crop, crop) unless mode is "full"."""
        picture = self.resized(picture)
        if self.mode != "full":
            left, top = (self.offset(side) for side in picture.size)
            picture = picture.crop((left, top, left + self.crop, top + self.crop))
        return np.ascontiguousarray(np.asarray(picture).transpose(2, 0, 1))

    def resized(self, picture: Image.Image) -> Image.Image:
        """The resized image before the crop."""
        size = self.size(*picture.size)
        if size == picture.size:
            return picture
        return picture.resize(size, _FILTERS[self.interpolation])

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height before the crop; the longer side is rounded down, as in torchvision."""
        if self.mode == "square":
            return self.resize, self.resize
        bound = min(width, height) if self.mode == "short" else max(width, height)
        if self.mode == "full" and (self.resize == 0 or bound <= self.resize):
            return width, height
        return max(1, width * self.resize // bound), max(1, height * self.resize // bound)

    def offset(self, side: int) -> int:
        """The first pixel of the centre crop along a side of that length."""
        spare = side - self.crop
        return (spare + 1) // 2 if self.rounding == "ceil" else round(spare / 2)

    def normalise(self, pixels):
        """Normalise pixels (B, 3, H, W), on any device, to float32 with `mean` and `std`.

        uint8 pixels are divided by 255; float pixels have the scale 0 to 1 (training augmentation
        may exceed it).
        """
        floats = pixels if pixels.is_floating_point() else pixels.float().div_(255)
        mean, std = floats.new_tensor(self.mean), floats.new_tensor(self.std)
        return floats.sub(mean[:, None, None]).div_(std[:, None, None])

    def to_dict(self) -> dict:
        """Plain JSON values."""
        values = asdict(self)
        return values | {"mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_dict(cls, values: dict) -> "Transform":
        """The Transform of to_dict's values. ValueError for others."""
        SCHEMA(values, "transform")
        return cls(**{**values, "mean": tuple(values["mean"]), "std": tuple(values["std"])})


SCHEMA = schema.mapping(
    {
        "mode": schema.one_of(_MODES),
        "resize": schema.integer(0, MAX_SIDE),
        "crop": schema.integer(0, MAX_SIDE),
        "interpolation": schema.one_of(tuple(_FILTERS)),
        "mean": schema.items(schema.number(-100, 100), 3),
        "std": schema.items(schema.number(1e-6, 100), 3),
        "rounding": schema.one_of(("round", "ceil")),
    }
)
"""of to_dict's values"""
IMAGENET = Transform()
CIFAR = Transform(
    resize=32,
    crop=32,
    mean=(125.3 / 255, 123.0 / 255, 113.9 / 255),
    std=(63.0 / 255, 62.1 / 255, 66.7 / 255),
)
