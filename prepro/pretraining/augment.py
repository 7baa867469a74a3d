"""Data augmentation of labelled images.

In: an upright RGB image and a numpy Generator, keyed by (seed, epoch, index): an image's
augmentation does not depend on workers or on where training resumed. Out: pixels (3, crop, crop),
uint8, or float32 on the scale of 0 to 1, not clamped. Normalisation follows on the device.
"imagenet" and "cifar" are exactly those of fb.resnet.torch (datasets/transforms.lua);
torchvision's transforms of the same names differ, for example in aspect ratio and clamping.
"""

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

from prepro.transform import Transform

GREY = np.array([0.299, 0.587, 0.114], np.float32)
JITTER = 0.4
LIGHTING = 0.1
# principal components of ImageNet's colours (Krizhevsky et al. 2012), RGB on the scale of 0 to 1
EIGENVALUES = np.array([0.2175, 0.0188, 0.0045])
EIGENVECTORS = np.array(
    [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]
)


@dataclass(frozen=True)
class Augmentation:
    """(image, index) -> pixels for one epoch; it can be pickled to worker processes.

    name: "imagenet", "cifar", "modern" or "none". crop: side of the training crop in pixels.
    """

    name: str
    crop: int
    transform: Transform
    seed: int
    epoch: int

    def __call__(self, image: Image.Image, index: int) -> np.ndarray:
        rng = np.random.default_rng((self.seed, self.epoch, index))
        if self.name == "imagenet":
            return imagenet_augment(image, self.crop, rng)
        if self.name == "cifar":
            return cifar_augment(image, np.array(self.transform.mean, np.float32), rng)
        if self.name == "modern":
            from prepro.pretraining.modern_augment import modern_augment

            return modern_augment(self.crop)(image, rng)
        return self.transform.pixels(image)


def imagenet_augment(image: Image.Image, crop: int, rng: np.random.Generator) -> np.ndarray:
    """Random crop, colour jitter, lighting, flip; float32 (3, crop, crop)."""
    image = random_resized_crop(image, crop, rng)
    planes = np.asarray(image, np.float32).transpose(2, 0, 1) / 255
    planes = lighting(color_jitter(planes, rng), rng)
    return _flip(planes, rng)


def cifar_augment(image: Image.Image, mean: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Flip, pad by 4 pixels, and crop to the original size at random; float32 (3, H, W).

    The padding has the mean colour, so that it is 0 after normalisation.
    """
    planes = _flip(np.asarray(image, np.float32).transpose(2, 0, 1) / 255, rng)
    _, height, width = planes.shape
    padded = np.empty((3, height + 8, width + 8), np.float32)
    padded[:] = mean[:, None, None]
    padded[:, 4:-4, 4:-4] = planes
    top, left = rng.integers(0, 9, 2)
    return np.ascontiguousarray(padded[:, top : top + height, left : left + width])


def random_resized_crop(image: Image.Image, size: int, rng: np.random.Generator) -> Image.Image:
    """A crop of 8 % to 100 % of the area and aspect 3/4 to 4/3, resized to `size` x `size`.

    The aspect is uniform and inverted half the time. After ten crops that do not fit, the short
    side is resized to `size` and the centre is cropped.
    """
    width, height = image.size
    for _ in range(10):
        area, aspect = rng.uniform(0.08, 1) * width * height, rng.uniform(3 / 4, 4 / 3)
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if rng.random() < 0.5:
            w, h = h, w
        if 0 < w <= width and 0 < h <= height:
            left, top = rng.integers(0, width - w + 1), rng.integers(0, height - h + 1)
            box = (left, top, left + w, top + h)
            return image.crop(box).resize((size, size), Image.Resampling.BICUBIC)
    centre = Transform(resize=size, crop=size, interpolation="bicubic", rounding="ceil")
    return Image.fromarray(centre.pixels(image).transpose(1, 2, 0))


def color_jitter(planes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Brightness, contrast and saturation, each by up to 40 %, in random order; never clamped."""
    for kind in rng.permutation(3):
        alpha = 1 + rng.uniform(-JITTER, JITTER)
        planes = blend(planes, ("brightness", "contrast", "saturation")[kind], alpha)
    return planes


def blend(planes: np.ndarray, kind: str, alpha: float) -> np.ndarray:
    """alpha * image + (1 - alpha) * reference: black, the mean grey, or the greyscale image."""
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
