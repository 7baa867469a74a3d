"""Batches for training: features from the store, captions drawn anew each epoch.

In: a data folder. Out: Batch after Batch, in an order that depends on (seed, epoch) alone, from any
cursor on, so that a resumed run sees what the stopped one would have seen.

B images, K captions an image, T words with the end, R regions, D feature.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from caption.models import Features
from prepro.feature_file import DONE, FeatureFile
from prepro.label_file import Labels, read_labels


class Batch(NamedTuple):
    rows: np.ndarray
    """(B,) positions of the images in labels.json"""
    features: Features
    words: Tensor
    """(B, K, T) int64, what the decoder is fed: BOS, then the caption, then padding"""
    targets: Tensor
    """(B, K, T) int64, what it should say: the caption, then the end"""
    real: Tensor
    """(B, K, T) bool, False where targets are padding"""


class FeatureStore:
    """Features of any images, from the training device, from memory or from disk."""

    def __init__(self, file: FeatureFile, regions: bool, place: str, device: torch.device) -> None:
        """`regions`: whether att is wanted; `place`: device, memory, disk or auto."""
        if regions and not file.provenance.regions:
            raise ValueError(
                f"{file.path}: no region features, which this decoder looks at; extract with "
                "python -m prepro.features --regions 7"
            )
        self.file, self.regions, self.device = file, regions, device
        self.place = place if place != "auto" else _choose(self.bytes, device)
        self.fc = self.att = None
        if self.place != "disk":
            home = device if self.place == "device" else torch.device("cpu")
            every = np.arange(len(file.status))
            self.fc = torch.from_numpy(file.fc(every)).to(home)
            self.att = torch.from_numpy(file.att(every)).to(home) if regions else None

    @property
    def bytes(self) -> int:
        about = self.file.provenance
        return 2 * len(self.file.status) * about.dim * (1 + self.regions * about.regions)

    def __call__(self, rows: np.ndarray) -> Features:
        """Features of the images at `rows` (B,), float32 on the device."""
        if self.place == "disk":
            fc = torch.from_numpy(self.file.fc(rows))
            att = torch.from_numpy(self.file.att(rows)) if self.regions else None
        else:
            where = torch.from_numpy(rows).to(self.fc.device)
            fc, att = self.fc[where], self.att[where] if self.regions else None
        fc = fc.to(self.device, non_blocking=True).float()
        return Features(fc, None if att is None else att.to(self.device, non_blocking=True).float())


def _choose(size: int, device: torch.device) -> str:
    """The fastest place with room to spare: half of what is free."""
    if device.type == "cuda" and size < torch.cuda.mem_get_info(device)[0] / 2:
        return "device"
    return "memory" if size < _free_memory() / 2 else "disk"


def _free_memory() -> int:
    """Bytes; 4 GiB where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(li.split()[1]) * 1024 for li in lines if li.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return 4 << 30


@dataclass(frozen=True)
class DataFolder:
    """Captions and features that belong together."""

    labels: Labels
    features: FeatureFile

    @classmethod
    def open(cls, folder: Path) -> "DataFolder":
        """ValueError or FileNotFoundError say what is missing and which command makes it."""
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder}: no such data folder; make features DATA={folder}")
        labels, features = read_labels(folder), FeatureFile(folder / "features.h5")
        features.require(labels.images_sha256)
        return cls(labels, features)

    def split(self, name: str) -> np.ndarray:
        """Positions (n,) of a split's images, without those whose picture is bad."""
        rows = self.labels.split(name)
        return rows[self.features.status[rows] == DONE]


class CaptionSet:
    """The images of a split, K captions of each an epoch."""

    def __init__(
        self, data: DataFolder, store: FeatureStore, split: str, captions: int, seed: int
    ) -> None:
        rows = data.split(split)
        ranges = data.labels.ranges[rows]
        keep = ranges[:, 1] > ranges[:, 0]
        self.rows, self.ranges = rows[keep], ranges[keep]
        self.store, self.captions, self.seed = store, captions, seed
        labels = data.labels.labels.astype(np.int64)
        self.labels = np.pad(labels, ((0, 0), (1, 1)))  # (M, 1 + L + 1): BOS before, end after
        self.lengths = data.labels.lengths

    def __len__(self) -> int:
        return len(self.rows)

    def epoch(self, number: int, batch_size: int, start: int = 0) -> Iterator[Batch]:
        """The batches of epoch `number`, from image `start` of its order on."""
        order = np.random.default_rng((self.seed, number, 0)).permutation(len(self))
        chosen = self._choose_captions(number)
        for first in range(start, len(order), batch_size):
            picked = order[first : first + batch_size]
            yield self._batch(self.rows[picked], chosen[picked])

    def _choose_captions(self, epoch: int) -> np.ndarray:
        """(n, K) rows of `labels`: without replacement where an image has enough captions."""
        rng = np.random.default_rng((self.seed, epoch, 1))
        first, last = self.ranges.T
        counts = last - first
        keys = rng.random((len(self), max(counts.max(), self.captions)))
        keys[np.arange(keys.shape[1]) >= counts[:, None]] += 1  # what is not there comes last
        ranks = keys.argsort(1)[:, : self.captions]
        again = rng.integers(0, counts[:, None], ranks.shape)
        return first[:, None] + np.where(ranks < counts[:, None], ranks, again)

    def _batch(self, rows: np.ndarray, chosen: np.ndarray) -> Batch:
        length = int(self.lengths[chosen].max()) + 1  # T, with the end
        words = torch.from_numpy(self.labels[chosen][..., : length + 1]).to(self.store.device)
        lengths = torch.from_numpy(self.lengths[chosen]).to(self.store.device)
        real = torch.arange(length, device=lengths.device) <= lengths[..., None]
        return Batch(rows, self.store(rows), words[..., :-1], words[..., 1:], real)
