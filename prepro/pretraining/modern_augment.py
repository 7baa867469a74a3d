"""The augmentation of torchvision's newer references: RandAugment, MixUp, CutMix.

In: an image and a numpy Generator, or a batch with soft targets. Out: uint8 pixels, or the mixed
batch. torchvision draws from torch's global generator, so each call seeds a fork of it.
"""

import functools
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from prepro.encoders.pretrained import torchvision


@functools.cache
def modern_augment(crop: int) -> Callable[[Image.Image, np.random.Generator], np.ndarray]:
    """RandomResizedCrop, flip, RandAugment (2 operations, magnitude 9), RandomErasing (10 %)."""
    torchvision()
    from torchvision.transforms import v2

    chain = v2.Compose(
        [
            v2.PILToTensor(),
            v2.RandomResizedCrop(crop, antialias=True),
            v2.RandomHorizontalFlip(),
            v2.RandAugment(),
            v2.RandomErasing(0.1),
        ]
    )

    def augment(image: Image.Image, rng: np.random.Generator) -> np.ndarray:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(2**63)))
            return chain(image).numpy()

    return augment


def mixup_or_cutmix(pixels: Tensor, targets: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """MixUp (Beta(alpha, alpha)) or CutMix (Beta(1, 1)), at random, of neighbours in a batch.

    pixels (B, 3, H, W) floats; targets (B, C) floats. Drawn from torch's global CPU generator.
    Zhang et al. 2017 (arXiv 1710.09412), Yun et al. 2019 (arXiv 1905.04899).
    """
    cut = torch.rand(()) < 0.5
    weight = float(torch.distributions.Beta(1.0 if cut else alpha, 1.0 if cut else alpha).sample())
    if cut:
        pixels, weight = _cutmix(pixels, weight)
    else:
        pixels = weight * pixels + (1 - weight) * pixels.roll(1, 0)
    return pixels, weight * targets + (1 - weight) * targets.roll(1, 0)


def _cutmix(pixels: Tensor, weight: float) -> tuple[Tensor, float]:
    """Paste a window of 1 - weight of the area from the image before; also the exact weight."""
    height, width = pixels.shape[-2:]
    half_y, half_x = (round(side * (1 - weight) ** 0.5 / 2) for side in (height, width))
    y, x = int(torch.randint(height, ())), int(torch.randint(width, ()))
    rows = slice(max(0, y - half_y), min(height, y + half_y))
    columns = slice(max(0, x - half_x), min(width, x + half_x))
    pasted = pixels.clone()
    pasted[:, :, rows, columns] = pixels.roll(1, 0)[:, :, rows, columns]
    area = (rows.stop - rows.start) * (columns.stop - columns.start)
    return pasted, 1 - area / (height * width)
