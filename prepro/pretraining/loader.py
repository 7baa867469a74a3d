"""Batches of labelled pictures, in an order and with augmentation that a resumed run repeats.

In: Pictures, what makes pixels of one, and an order of indices. Out: a DataLoader of
(pixels (B, 3, H, W), targets). A picture that cannot be read is named once on stderr; training
takes the next one in its place, evaluation goes on without it.
"""

import sys
from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from prepro.images import BadImage
from prepro.pretraining.dataset import Pictures
from prepro.runtime.workers import exit_with_parent, forkserver


class Reader(Dataset):
    """index -> (pixels, target), or None for a bad picture."""

    def __init__(
        self, pictures: Pictures, pixels: Callable[[Image.Image, int], np.ndarray], replace: bool
    ) -> None:
        self.pictures, self.pixels, self.replace = pictures, pixels, replace
        self.warned: set[int] = set()

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray] | None:
        for step in range(min(len(self), 100) if self.replace else 1):
            chosen = (index + step) % len(self)
            try:
                picture = self.pictures.open(chosen)
            except BadImage as error:
                self._warn(chosen, error)
                continue
            return self.pixels(picture, index), self.pictures.targets[chosen]
        return None

    def _warn(self, index: int, error: BadImage) -> None:
        if index not in self.warned:
            self.warned.add(index)
            print(f"left out {self.pictures.name(index)}: {error}", file=sys.stderr)


def collate(samples: list) -> tuple[Tensor, Tensor] | None:
    """Stack what could be read; None where nothing could."""
    good = [sample for sample in samples if sample is not None]
    if not good:
        return None
    pixels, targets = zip(*good, strict=True)
    return torch.from_numpy(np.stack(pixels)), torch.from_numpy(np.stack(targets))


def loader(reader: Reader, order: Sequence[int], batch: int, workers: int = 0) -> DataLoader:
    """Batches of `order`, the last one smaller; workers come from a forkserver, never from fork."""
    context = forkserver(["prepro.pretraining.loader"]) if workers else None
    return DataLoader(
        reader,
        batch_size=batch,
        sampler=order,
        collate_fn=collate,
        num_workers=workers,
        generator=torch.Generator().manual_seed(0),  # so that it leaves the global one alone
        multiprocessing_context=context,
        worker_init_fn=exit_with_parent,
        pin_memory=torch.cuda.is_available(),
    )


def shuffled(count: int, seed: int, epoch: int, rank: int = 0, world: int = 1) -> list[int]:
    """This process's share of an epoch's random order; shares are equally long, by repeating."""
    order = np.random.default_rng((seed, epoch)).permutation(count)
    order = np.resize(order, -(-count // world) * world)
    return order[rank::world].tolist()
