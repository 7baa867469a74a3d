"""The captions of a batch as rows that leave a loop over time when their last word is read.

In: words (B, K, T) and which of them are real. Out: the rows (n, ...) of each step, and back.

B images, K captions of each, T words, N = B K captions, n of them at a step, P words in all.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Now(NamedTuple):
    """One step of the loop."""

    shares: Sequence[int]
    """rows of each image"""
    left: Tensor | None
    """which rows of the step before go on, (n,) int64; None where all do"""

    def keep(self, *rows: Tensor) -> tuple[Tensor, ...]:
        """`rows` of the step before as those of this one."""
        return rows if self.left is None else tuple(t.index_select(0, self.left) for t in rows)


class PackedCaptions:
    """Iterating gives the steps. Rows lie image by image, caption by caption.

    words (P,): the first word of every row, then the second of every row that has one, ...
    counts: the rows of each step. totals: the words of each image.
    """

    def __init__(self, words: Tensor, real: Tensor | None = None) -> None:
        """`words` (B, K, T); `real` as Decoder.read takes it."""
        b, k, t = words.shape
        self.size, self.real = (b, k, t), None
        self.words = words.permute(2, 0, 1).flatten()
        self.shares: list[Sequence[int]] = [[k] * b] * t
        self.totals = [k * t] * b
        if real is not None:
            self.real = real.permute(2, 0, 1).contiguous()  # (T, B, K)
            self.words = self.words[self.real.flatten()]
            self.shares = [step for step in self.real.sum(2).tolist() if any(step)]
            self.totals = real.sum((1, 2)).tolist()
        self.counts = [sum(step) for step in self.shares]

    def __iter__(self) -> Iterator[Now]:
        counts = [self.counts[0], *self.counts]
        for t, shares in enumerate(self.shares):
            left = None
            if counts[t + 1] < counts[t]:
                before, now = self.real[t - 1].flatten(), self.real[t].flatten()
                left = now[before].nonzero()[:, 0]
            yield Now(shares, left)

    def rows(self, state: Sequence[Tensor]) -> list[Tensor]:
        """The first step's rows (N, ...) of tensors (B, K, ...)."""
        return [t.flatten(0, 1) for t in state]

    def grid(self, rows: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The last step's rows as (B, K, ...); nothing where some have left before."""
        return () if self.real is not None else tuple(t.unflatten(0, self.size[:2]) for t in rows)

    def spread(self, images: Tensor) -> Tensor:
        """(B, ...) of each image to (P, ...), its image's for each word."""
        b, k, t = self.size
        where = torch.arange(b, device=images.device).repeat_interleave(k).repeat(t)
        where = where if self.real is None else where[self.real.flatten()]
        return images.index_select(0, where)

    def told(self, steps: Sequence[Tensor] | Tensor) -> Tensor:
        """What the steps gave, (n, ...) each or (P, ...), caption by caption.

        (B, K, T, ...), or with `real` (P, ...) in the order of words[real].
        """
        told = steps if isinstance(steps, Tensor) else torch.cat(list(steps))
        b, k, t = self.size
        if self.real is None:
            return told.view(t, b, k, *told.shape[1:]).permute(1, 2, 0, *range(3, told.dim() + 2))
        place = torch.empty(t, b, k, dtype=torch.long)
        place[self.real] = torch.arange(len(told))
        return told.index_select(0, place.permute(1, 2, 0)[self.real.permute(1, 2, 0)])
