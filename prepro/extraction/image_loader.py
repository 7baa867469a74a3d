"""Pictures decoded in worker processes: batches of uint8 pixels, and why some are missing.

In: a folder, names, a Transform and the plan of batches. Out: (BatchPlan, pixels (size, 3, H, W) uint8
tensor, {row: reason}); the slot of a bad picture is black.
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
    """Where the pictures are and how they become pixels; row i is names[i] under root."""

    root: Path
    names: Sequence[str]
    transform: Transform

    def pixels(self, row: int) -> np.ndarray:
        """uint8 (3, H, W); BadImage."""
        return self.transform.pixels(open_rgb(self._path(row), self.transform.resize))

    def shape(self, row: int) -> tuple[int, int] | str:
        """(height, width) of pixels(row) from the file's header, or why it has none."""
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
    """The batches of a plan, for a DataLoader that makes each one whole in one worker."""

    def __init__(self, source: ImageFolderReader, plan: Sequence[BatchPlan]) -> None:
        self.source, self.plan = source, plan

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, index: int) -> Loaded:
        batch = self.plan[index]
        pixels = np.zeros((batch.size, 3, batch.height, batch.width), np.uint8)
        bad = {}
        for row, slot in zip(batch.rows, batch.slots, strict=True):
            try:
                decoded = self.source.pixels(row)
                if decoded.shape != pixels.shape[1:]:
                    raise BadImage(f"its header promises another size than {decoded.shape[1:]}")
                pixels[slot] = decoded
            except BadImage as error:
                bad[row] = str(error)
        return batch, torch.from_numpy(pixels), bad


class ImageSizes:
    """The sizes of 256 pictures at a time, for a DataLoader."""

    STEP = 256

    def __init__(self, source: ImageFolderReader) -> None:
        self.source = source

    def __len__(self) -> int:
        return -(-len(self.source.names) // self.STEP)

    def __getitem__(self, index: int) -> list[tuple[int, int] | str]:
        rows = range(len(self.source.names))[index * self.STEP : (index + 1) * self.STEP]
        return [self.source.shape(row) for row in rows]


def make_loader(dataset: BatchDataset | ImageSizes, workers: int, pin: bool = False) -> DataLoader:
    """In the dataset's order, each item whole; nothing in the workers minds Ctrl-C."""
    return DataLoader(
        dataset,
        batch_size=None,
        num_workers=min(workers, len(dataset)),
        collate_fn=identity,
        worker_init_fn=ignore_sigint,
        pin_memory=pin,
    )
