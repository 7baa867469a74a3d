"""Decode images in worker processes: batches of uint8 pixels, and the reasons for bad images.

In: a folder, names, a Transform and the plan of batches. Out: (BatchPlan, uint8 tensor
(size, 3, H, W), {row: reason}, marks); the slot of an image that cannot be read is black.
"""

import contextlib
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader

from prepro.extraction.batching import BatchPlan
from prepro.images import BadImage, inside, open_rgb, read_file, upright_size
from prepro.remote import RemotePath, require
from prepro.runtime.workers import identity, ignore_sigint
from prepro.transform import Transform

Loaded = tuple[BatchPlan, torch.Tensor, dict[int, str], np.ndarray]
NO_STAMP = (0, 0)  # of a file that is not there


@dataclass(frozen=True)
class ImageFolderReader:
    """Reads the images of a folder as pixels; row i is the file names[i] under root."""

    root: Path
    names: Sequence[str]
    transform: Transform

    def __post_init__(self) -> None:
        """ValueError for a folder in object storage that cannot be read from here."""
        require(self.root)

    def read(self, row: int) -> bytes:
        """The bytes of the file. Raises BadImage."""
        return read_file(self._path(row))

    def pixels(self, data: bytes) -> np.ndarray:
        """uint8 (3, H, W) of the bytes of a file. Raises BadImage."""
        return self.transform.pixels(open_rgb(data, self.transform.resize))

    def stamp(self, row: int) -> tuple[int, int]:
        """The size in bytes and the time of change in nanoseconds; NO_STAMP without a file.

        Those of the tar file for a picture that lies in one; object storage is not asked.
        """
        try:
            path = self._path(row)
            if isinstance(path, RemotePath):
                return NO_STAMP
            for file in (path, *path.parents):
                with contextlib.suppress(NotADirectoryError):
                    found = os.stat(file)
                    return found.st_size, found.st_mtime_ns
        except (OSError, BadImage):
            pass
        return NO_STAMP

    def read_shape(self, row: int) -> tuple[int, int] | str:
        """(height, width) of a row's pixels, from the file's header, or why it is bad."""
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
        bad, marks = {}, np.zeros((batch.size, 3), np.int64)
        for row, slot in zip(batch.rows, batch.slots, strict=True):
            try:
                stamp = self.reader.stamp(row)  # first: a file that changes now is read again
                data = self.reader.read(row)
                marks[slot] = digest(data), *stamp
                decoded = self.reader.pixels(data)
                if decoded.shape != pixels.shape[1:]:
                    raise BadImage(
                        f"its header has another size than its pixels {decoded.shape[1:]}"
                    )
                pixels[slot] = decoded
            except BadImage as error:
                bad[row] = str(error)
        return batch, torch.from_numpy(pixels), bad, marks


def digest(data: bytes) -> int:
    """BLAKE2b of the bytes of a file in 8 bytes, as a signed number."""
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big", signed=True)


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
