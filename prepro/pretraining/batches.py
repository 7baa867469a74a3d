"""Batches of labelled images, in an order and with augmentation that a resumed run repeats.

In: LabelledImages, a function that makes pixels of an image, and an order of indices. Out: a
DataLoader of (pixels (B, 3, H, W), targets). An image that cannot be read is named once on stderr;
training takes the next readable one instead, evaluation leaves it out.
"""

import sys
from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from prepro.images import BadImage
from prepro.pretraining.dataset import LabelledImages
from prepro.runtime.workers import forkserver, ignore_sigint


class ImageReader(Dataset):
    """index -> (pixels, target), or None for an image that cannot be read.

    to_pixels: (image, index) -> array. replace: take the next readable image instead.
    """

    def __init__(
        self,
        images: LabelledImages,
        to_pixels: Callable[[Image.Image, int], np.ndarray],
        replace: bool,
    ) -> None:
        self.images, self.to_pixels, self.replace = images, to_pixels, replace
        self.warned: set[int] = set()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray] | None:
        for step in range(min(len(self), 100) if self.replace else 1):
            chosen = (index + step) % len(self)
            try:
                image = self.images.open(chosen)
            except BadImage as error:
                self._warn(chosen, error)
                continue
            return self.to_pixels(image, index), self.images.targets[chosen]
        return None

    def _warn(self, index: int, error: BadImage) -> None:
        if index not in self.warned:
            self.warned.add(index)
            print(f"left out {self.images.name(index)}: {error}", file=sys.stderr)


def collate(samples: list) -> tuple[Tensor, Tensor] | None:
    """Stack the readable samples; None if there are none."""
    good = [sample for sample in samples if sample is not None]
    if not good:
        return None
    pixels, targets = zip(*good, strict=True)
    return torch.from_numpy(np.stack(pixels)), torch.from_numpy(np.stack(targets))


def make_loader(
    reader: ImageReader, order: Sequence[int], batch: int, workers: int = 0
) -> DataLoader:
    """Batches of `order`, the last one smaller; workers come from a forkserver, never from fork."""
    context = forkserver(["prepro.pretraining.batches"]) if workers else None
    return DataLoader(
        reader,
        batch_size=batch,
        sampler=order,
        collate_fn=collate,
        num_workers=workers,
        generator=torch.Generator().manual_seed(0),  # leaves the global generator unchanged
        multiprocessing_context=context,
        worker_init_fn=ignore_sigint,
        pin_memory=torch.cuda.is_available(),
    )


def epoch_order(count: int, seed: int, epoch: int, rank: int = 0, world: int = 1) -> list[int]:
    """The indices of this process in an epoch's random order.

    All processes get equally many: the first indices are repeated where `world` divides unevenly.
    """
    order = np.random.default_rng((seed, epoch)).permutation(count)
    order = np.resize(order, -(-count // world) * world)
    return order[rank::world].tolist()
