"""Batches for training: features from the store, captions drawn anew each epoch.

In: a data folder. Out: Batch after Batch, in an order that depends on (seed, epoch) alone, from any
cursor on, so that a resumed run sees what the stopped one would have seen. Of several processes
each gets its share of every batch.

B images, K captions an image, T words with the end, R regions, D feature.
"""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from caption.data.feature_store import FeatureStore as FeatureStore
from caption.data.feature_store import Store
from caption.models import Features
from prepro.runtime.distributed import DistributedContext
from prepro.storage.feature_file import DONE, FeatureFile
from prepro.storage.label_file import Labels, read_labels

SINGLE_PROCESS = DistributedContext(torch.device("cpu"))
Item = TypeVar("Item")


class Batch(NamedTuple):
    rows: np.ndarray
    """(B,) positions of the images in labels.json"""
    features: Features | None
    """None where `pixels` are to be looked at"""
    inputs: Tensor
    """(B, K, T) int64, the decoder's inputs: the start token, the caption, padding"""
    targets: Tensor
    """(B, K, T) int64, the expected outputs: the caption, the end token, padding"""
    token_mask: Tensor
    """(B, K, T) bool, False where targets are padding"""
    pixels: Tensor | None = None
    """(B, 3, H, W) while the encoder is trained"""


class Picks(NamedTuple):
    """A process's share of a batch, before anything is read."""

    rows: np.ndarray
    """(B,) positions of the images in labels.json"""
    captions: np.ndarray
    """(B, K) rows of labels.h5"""
    idle: bool = False
    """nothing was left for this process: one image stands in, and no word of it counts"""


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
        """Positions (n,) of a split's images, rising, without those whose picture is bad."""
        rows = self.labels.split(name)
        return rows[self.features.status[rows] == DONE]


class CaptionSet:
    """The images of a split, K captions of each an epoch."""

    def __init__(
        self, data: DataFolder, store: Store | None, split: str, captions: int, seed: int,
        device: torch.device | None = None,
    ) -> None:  # fmt: skip
        """`store` None: batches without features, on `device`."""
        rows = data.split(split)
        if not len(rows) and len(data.labels.split(split)):
            raise ValueError(
                f"{data.features.path}: features of no picture of split {split!r}, none of which "
                "could be read; run prepro.features again, with pictures that can"
            )
        ranges = data.labels.ranges[rows]
        keep = ranges[:, 1] > ranges[:, 0]
        if not keep.any():
            raise ValueError(f"{data.labels.folder}: no picture of split {split!r} has a caption")
        self.rows, self.ranges = rows[keep], ranges[keep]
        self.store, self.captions, self.seed = store, captions, seed
        self.device = device or store.device
        labels = data.labels.labels.astype(np.int64)
        self.labels = np.pad(labels, ((0, 0), (1, 1)))  # (M, 1 + L + 1): BOS before, end after
        self.lengths = data.labels.lengths

    def __len__(self) -> int:
        return len(self.rows)

    def epoch(
        self,
        number: int,
        batch_size: int,
        start: int = 0,
        context: DistributedContext = SINGLE_PROCESS,
    ) -> Iterator[Batch]:
        """This process's share of the batches of epoch `number`, from image `start` on."""
        batches = map(self.batch, self.picks(number, batch_size, start, context))
        return ahead(batches) if getattr(self.store, "location", "") == "disk" else batches

    def picks(
        self,
        number: int,
        batch_size: int,
        start: int = 0,
        context: DistributedContext = SINGLE_PROCESS,
    ) -> Iterator[Picks]:
        order = np.random.default_rng((self.seed, number, 0)).permutation(len(self))
        chosen = self.choose(number)
        for first in range(start, len(order), batch_size):
            picked = order[first : first + batch_size]
            mine = picked[context.rank :: context.world]
            idle = not len(mine)
            mine = picked[:1] if idle else mine
            yield Picks(self.rows[mine], chosen[mine], idle)

    def choose(self, epoch: int) -> np.ndarray:
        """(n, K) rows of `labels`: without replacement where an image has enough captions."""
        rng = np.random.default_rng((self.seed, epoch, 1))
        first, last = self.ranges.T
        counts = last - first
        keys = rng.random((len(self), max(counts.max(), self.captions)))
        keys[np.arange(keys.shape[1]) >= counts[:, None]] += 1  # what is not there comes last
        ranks = keys.argsort(1)[:, : self.captions]
        again = rng.integers(0, counts[:, None], ranks.shape)
        return first[:, None] + np.where(ranks < counts[:, None], ranks, again)

    def batch(self, picks: Picks) -> Batch:
        length = int(self.lengths[picks.captions].max()) + 1  # T, with the end
        words = torch.from_numpy(self.labels[picks.captions][..., : length + 1]).to(self.device)
        lengths = torch.from_numpy(self.lengths[picks.captions]).to(self.device)
        # a caption that fills its row was cut off there: nothing is to be learnt of its end
        ends = lengths + (lengths < self.labels.shape[1] - 2)
        real = torch.arange(length, device=lengths.device) < ends[..., None]
        features = self.store(picks.rows) if self.store else None
        real = real & (not picks.idle)
        return Batch(picks.rows, features, words[..., :-1], words[..., 1:], real)


def ahead(items: Iterator[Item], depth: int = 4) -> Iterator[Item]:
    """The same items, of which a thread makes the next `depth` while one is worked on."""
    end = object()
    with ThreadPoolExecutor(1, "ahead") as thread:
        coming = deque(thread.submit(next, items, end) for _ in range(depth))
        while (item := coming.popleft().result()) is not end:
            coming.append(thread.submit(next, items, end))
            yield item
