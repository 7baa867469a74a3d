"""Batches for training: features from a store, captions drawn anew each epoch.

In: a data folder. Out: Batch after Batch, in an order that depends on (seed, epoch) only, from any
cursor on, so that a resumed run sees what the stopped one would have seen. Of several processes
each gets its share of every batch.

B images, K captions an image, T tokens with the end token, R regions, D feature.
"""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from caption.data.data_folder import DataFolder
from caption.data.feature_store import Store
from caption.models import Features
from prepro.runtime.distributed import SINGLE_PROCESS, DistributedContext

Item = TypeVar("Item")
CHUNK = 1 << 15  # images whose captions are drawn at a time


class Batch(NamedTuple):
    rows: np.ndarray
    """(B,) rows of the images in labels.json"""
    features: Features | None
    """None if the encoder has to compute them from `pixels`"""
    inputs: Tensor
    """(B, K, T) int64, the decoder's inputs: the start token, the caption, padding"""
    targets: Tensor
    """(B, K, T) int64, the expected outputs: the caption, the end token, padding"""
    token_mask: Tensor
    """(B, K, T) bool, False where targets are padding"""
    pixels: Tensor | None = None
    """(B, 3, H, W) while the encoder is fine-tuned"""


class Selection(NamedTuple):
    """The images and captions of this process's share of a batch; nothing is read yet."""

    rows: np.ndarray
    """(B,) rows of the images in labels.json"""
    captions: np.ndarray
    """(B, K) rows of labels.h5"""
    is_filler: bool = False
    """no image was left for this process: one image fills the batch, with all tokens masked"""


class CaptionSet:
    """The images of a split with K captions of each, drawn anew each epoch."""

    def __init__(
        self, data: DataFolder, store: Store | None, split: str, captions: int, seed: int,
        device: torch.device | None = None,
    ) -> None:  # fmt: skip
        """Without a `store`, batches have no features and lie on `device`."""
        rows = data.split(split)
        if not len(rows) and len(data.labels.split(split)):
            raise ValueError(
                f"{data.features.path}: no picture of split {split!r} could be read; repair the "
                "pictures and run prepro.features again"
            )
        small = np.uint32 if len(data.labels.labels) < 1 << 32 else np.int64  # half the memory
        ranges = data.labels.ranges.astype(small, copy=False)[rows]
        has_captions = ranges[:, 1] > ranges[:, 0]
        if not has_captions.any():
            raise ValueError(f"{data.labels.folder}: no picture of split {split!r} has a caption")
        everyone = has_captions.all()  # then nothing is copied
        self.rows = rows if everyone else rows[has_captions]
        self.ranges = ranges if everyone else ranges[has_captions]
        self.store, self.captions, self.seed = store, captions, seed
        self.device = device or store.device
        self.labels = data.labels

    def __len__(self) -> int:
        return len(self.rows)

    def epoch(
        self, number: int, batch_size: int, start: int = 0,
        context: DistributedContext = SINGLE_PROCESS,
    ) -> Iterator[Batch]:  # fmt: skip
        """This process's share of the batches of epoch `number`, from image `start` on."""
        batches = map(self.batch, self.selections(number, batch_size, start, context))
        return prefetch(batches) if getattr(self.store, "location", "") == "disk" else batches

    def selections(
        self, number: int, batch_size: int, start: int, context: DistributedContext
    ) -> Iterator[Selection]:
        order = np.random.default_rng((self.seed, number, 0)).permutation(len(self))
        captions = self.draw_captions(number).astype(self.ranges.dtype)
        for first in range(start, len(order), batch_size):
            images = order[first : first + batch_size]
            own = images[context.rank :: context.world]
            is_filler = not len(own)
            own = images[:1] if is_filler else own
            yield Selection(self.rows[own], captions[own], is_filler)

    def draw_captions(self, epoch: int) -> np.ndarray:
        """(n, K) rows of `labels`: without replacement if an image has enough captions."""
        rng = np.random.default_rng((self.seed, epoch, 1))
        first, last = self.ranges.T
        counts = last - first
        width = max(counts.max(), self.captions)
        ranks = np.empty((len(self), self.captions), np.int64)
        for start in range(0, len(self), CHUNK):  # the largest array otherwise
            some = slice(start, start + CHUNK)
            keys = rng.random((len(ranks[some]), width))
            keys[np.arange(width) >= counts[some, None]] += 1  # absent captions sort last
            ranks[some] = keys.argsort(1)[:, : self.captions]
        repeats = rng.integers(0, counts[:, None], ranks.shape)
        return first[:, None] + np.where(ranks < counts[:, None], ranks, repeats)

    def batch(self, selection: Selection) -> Batch:
        captions = self.labels.lengths[selection.captions].astype(np.int64)  # (B, K)
        length = int(captions.max()) + 1  # T, with the end token
        padded = np.zeros((*captions.shape, length + 1), np.int64)  # start and end tokens are 0
        padded[..., 1:length] = self.labels.tokens(selection.captions)[..., : length - 1]
        tokens, lengths = (torch.from_numpy(a).to(self.device) for a in (padded, captions))
        # a caption that fills its row was cut off there, so its end must not be learned
        ends = lengths + (lengths < self.labels.labels.shape[1])
        mask = torch.arange(length, device=lengths.device) < ends[..., None]
        features = self.store(selection.rows) if self.store else None
        mask = mask & (not selection.is_filler)
        return Batch(selection.rows, features, tokens[..., :-1], tokens[..., 1:], mask)


def prefetch(items: Iterator[Item], depth: int = 4) -> Iterator[Item]:
    """The same items; a thread computes the next `depth` of them in the background."""
    end = object()
    with ThreadPoolExecutor(1, "prefetch") as thread:
        pending = deque(thread.submit(next, items, end) for _ in range(depth))
        while (item := pending.popleft().result()) is not end:
            pending.append(thread.submit(next, items, end))
            yield item
