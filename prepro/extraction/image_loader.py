"""Decode images in worker processes: batches of uint8 pixels, and the reasons for bad images.

In: a folder, names, a Transform and the plan of batches. Out: (BatchPlan, uint8 tensor
(size, 3, H, W), {row: reason}); the slot of an image that cannot be read is black.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader

from prepro.extraction.batching import BatchPlan
from prepro.images import BadImage, inside, open_rgb, upright_size
from prepro.runtime.workers import identity, ignore_sigint
from prepro.transform import Transform

Loaded = tuple[BatchPlan, torch.Tensor, dict[int, str]]


@dataclass(frozen=True)
class ImageFolderReader:
    """Reads the images of a folder as pixels; row i is the file names[i] under root."""

    root: Path
    names: Sequence[str]
    transform: Transform

    def load_pixels(self, row: int) -> np.ndarray:
        """uint8 (3, H, W). Raises BadImage."""
        return self.transform.pixels(open_rgb(self._path(row), self.transform.resize))

    def read_shape(self, row: int) -> tuple[int, int] | str:
        """(height, width) of load_pixels(row), from the file's header, or why it is bad."""
        try:
            size = upright_size(self._path(row), self.transform.resize)
            width, height = self.transform.size(*size)
        except BadImage as error:
            return str(error)
        return height, width

    def _path(self, row: int) -> Path:
        try:
            return inside(self.root, self.names[row])
        except ValueError as error:
            raise BadImage(str(error)) from None


class BatchDataset:
    """The batches of a plan, for a DataLoader whose workers load one whole batch each."""

    def __init__(self, reader: ImageFolderReader, plan: Sequence[BatchPlan]) -> None:
        self.reader, self.plan = reader, plan

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, index: int) -> Loaded:
        batch = self.plan[index]
        pixels = np.zeros((batch.size, 3, batch.height, batch.width), np.uint8)
        bad = {}
        for row, slot in zip(batch.rows, batch.slots, strict=True):
            try:
                decoded = self.reader.load_pixels(row)
                if decoded.shape != pixels.shape[1:]:
                    raise BadImage(
                        f"its header has another size than its pixels {decoded.shape[1:]}"
                    )
                pixels[slot] = decoded
            except BadImage as error:
                bad[row] = str(error)
        return batch, torch.from_numpy(pixels), bad


class ImageSizes:
    """The sizes of 256 images at a time, for a DataLoader."""

    STEP = 256

    def __init__(self, reader: ImageFolderReader) -> None:
        self.reader = reader

    def __len__(self) -> int:
        return -(-len(self.reader.names) // self.STEP)

    def __getitem__(self, index: int) -> list[tuple[int, int] | str]:
        rows = range(len(self.reader.names))[index * self.STEP : (index + 1) * self.STEP]
        return [self.reader.read_shape(row) for row in rows]


def make_loader(dataset: BatchDataset | ImageSizes, workers: int, pin: bool = False) -> DataLoader:
    """A DataLoader of whole items, in order, whose workers ignore Ctrl-C."""
    return DataLoader(
        dataset,
        batch_size=None,
        num_workers=min(workers, len(dataset)),
        collate_fn=identity,
        worker_init_fn=ignore_sigint,
        pin_memory=pin,
    )
