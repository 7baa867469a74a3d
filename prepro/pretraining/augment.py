"""What happens to a picture while an encoder is trained.

In: an upright RGB picture and a numpy Generator, keyed by (seed, epoch, index): a picture's
augmentation does not depend on workers or on where training resumed. Out: pixels (3, crop, crop),
uint8, or float32 on the scale of 0 to 1, not clamped. Normalisation follows on the device.
"imagenet" and "cifar" are fb.resnet.torch's (datasets/transforms.lua), number for number;
torchvision's transforms of the same names differ in the aspect ratio, the clamping and the rest.
"""

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

from prepro.transform import Transform

GREY = np.array([0.299, 0.587, 0.114], np.float32)
JITTER = 0.4
LIGHTING = 0.1
# principal components of ImageNet's colours, Krizhevsky's numbers for RGB on the scale of 0 to 1
EIGENVALUES = np.array([0.2175, 0.0188, 0.0045])
EIGENVECTORS = np.array(
    [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]
)


@dataclass(frozen=True)
class Augmentation:
    """(picture, index) -> pixels for one epoch; it can be sent to other processes.

    name: "imagenet", "cifar", "modern" or "none". crop: side of the training crop in pixels.
    """

    name: str
    crop: int
    transform: Transform
    seed: int
    epoch: int

    def __call__(self, picture: Image.Image, index: int) -> np.ndarray:
        rng = np.random.default_rng((self.seed, self.epoch, index))
        if self.name == "imagenet":
            return imagenet(picture, self.crop, rng)
        if self.name == "cifar":
            return cifar(picture, np.array(self.transform.mean, np.float32), rng)
        if self.name == "modern":
            from prepro.pretraining.modern_augment import modern

            return modern(self.crop)(picture, rng)
        return self.transform.pixels(picture)


def imagenet(picture: Image.Image, crop: int, rng: np.random.Generator) -> np.ndarray:
    """Random crop, colour jitter, lighting, flip; float32 (3, crop, crop)."""
    picture = random_sized_crop(picture, crop, rng)
    planes = np.asarray(picture, np.float32).transpose(2, 0, 1) / 255
    planes = lighting(color_jitter(planes, rng), rng)
    return _flip(planes, rng)


def cifar(picture: Image.Image, mean: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Flip, then a crop of the picture's own size out of it padded by 4; float32 (3, H, W).

    The padding is 0 after normalising, so the mean before it.
    """
    planes = _flip(np.asarray(picture, np.float32).transpose(2, 0, 1) / 255, rng)
    _, height, width = planes.shape
    padded = np.empty((3, height + 8, width + 8), np.float32)
    padded[:] = mean[:, None, None]
    padded[:, 4:-4, 4:-4] = planes
    top, left = rng.integers(0, 9, 2)
    return np.ascontiguousarray(padded[:, top : top + height, left : left + width])


def random_sized_crop(picture: Image.Image, size: int, rng: np.random.Generator) -> Image.Image:
    """8 % to all of the area, aspect 3/4 to 4/3 (uniform, then perhaps turned), `size` x `size`.

    After ten crops that do not fit: the short side to `size` and the centre.
    """
    width, height = picture.size
    for _ in range(10):
        area, aspect = rng.uniform(0.08, 1) * width * height, rng.uniform(3 / 4, 4 / 3)
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if rng.random() < 0.5:
            w, h = h, w
        if 0 < w <= width and 0 < h <= height:
            left, top = rng.integers(0, width - w + 1), rng.integers(0, height - h + 1)
            box = (left, top, left + w, top + h)
            return picture.crop(box).resize((size, size), Image.Resampling.BICUBIC)
    centre = Transform(resize=size, crop=size, interpolation="bicubic", rounding="ceil")
    return Image.fromarray(centre.pixels(picture).transpose(1, 2, 0))


def color_jitter(planes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Brightness, contrast and saturation, each by up to 40 %, in random order; never clamped."""
    for kind in rng.permutation(3):
        alpha = 1 + rng.uniform(-JITTER, JITTER)
        planes = blend(planes, ("brightness", "contrast", "saturation")[kind], alpha)
    return planes


def blend(planes: np.ndarray, kind: str, alpha: float) -> np.ndarray:
    """alpha * picture + (1 - alpha) * reference: black, the mean grey, or the picture in grey."""
    if kind == "brightness":
        return np.float32(alpha) * planes
    reference = np.tensordot(GREY, planes, 1)
    if kind == "contrast":
        reference = reference.mean()
    return np.float32(alpha) * planes + np.float32(1 - alpha) * reference


def lighting(planes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Krizhevsky's colour shift along the principal components, with standard deviation 0.1."""
    shift = EIGENVECTORS @ (rng.normal(0, LIGHTING, 3) * EIGENVALUES)
    return planes + shift.astype(np.float32)[:, None, None]


def _flip(planes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.ascontiguousarray(planes[:, :, ::-1] if rng.random() < 0.5 else planes)
