"""The reward of self-critical training: CIDEr-D, BLEU-4 or a weighted sum, on word indices.

    reward = Reward.of(data.labels, device)            # once: document frequencies, norms
    reward(batch.rows, words)                          # (B, K) for K sampled captions an image

Everything stays on the device that samples are on: no text, no loop over captions. The numbers are
those of eval.metrics.cider and eval.metrics.bleu on the same tokens, with two choices of self-critical.pytorch:
the end of a caption is a word like any other, in samples and references (without it a caption that
stops in mid-phrase loses nothing), and one that was cut off at the greatest length has no end.

B images, K captions, R references of an image, T words, S words of a reference, L labels' words.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from caption.training.ngrams import Weights, gram_keys, precision, weigh, with_end
from prepro.storage.label_file import Labels

SIGMA = 6.0
TINY, SMALL = 1e-15, 1e-9  # coco-caption's, see eval.metrics.bleu


@dataclass(frozen=True, eq=False)
class Reward:
    """Scores captions of a training split against its references."""

    weights: Weights
    words: Tensor
    """(M, L) the references, 0 their end and padding"""
    norms: Tensor
    """(M, 4) of each reference, by order"""
    ranges: np.ndarray
    """(N, 2) int64, by position in labels.json: the image's rows of `words`; equal without any"""
    cider: float = 1.0
    """weight of CIDEr-D, 0..10"""
    bleu: float = 0.0
    """weight of BLEU-4, 0..1"""

    @classmethod
    def of(
        cls, labels: Labels, device: torch.device | str = "cpu", split: str = "train",
        cider: float = 1.0, bleu: float = 0.0,
    ) -> "Reward":  # fmt: skip
        """From the references of a split; ValueError if it is unfit, see `ngrams.weigh`."""
        images = labels.split(split)
        first, last = labels.ranges[images].T
        images, counts = images[last > first], (last - first)[last > first]
        ranges = np.zeros_like(labels.ranges)
        ranges[images, 1] = np.cumsum(counts)
        ranges[images, 0] = ranges[images, 1] - counts
        rows = np.arange(counts.sum()) + np.repeat(first[last > first] - ranges[images, 0], counts)
        words = torch.from_numpy(labels.labels[rows].astype(np.int32))
        image = torch.from_numpy(np.repeat(np.arange(len(images)), counts))
        weights, norms = weigh(words, with_end(words), image, labels.vocabulary.classes)
        norms = norms.to(device, precision(device))
        return cls(weights.to(device), words.to(device), norms, ranges, cider, bleu)

    def __call__(self, rows: np.ndarray, words: Tensor) -> Tensor:
        """(B, K) rewards of captions (B, K, T) int64 of the images at `rows` (B,) in labels.json.

        A caption ends at its first 0, after which all is 0; without a 0 it was cut off.
        """
        both = self._match(rows, words)
        score = words.new_zeros(words.shape[:2], dtype=self.norms.dtype)
        if self.cider:
            score = score + self.cider * both.cider_d()
        return score + self.bleu * both.bleu4() if self.bleu else score

    def _match(self, rows: np.ndarray, words: Tensor) -> "Matches":
        first, last = self.ranges[rows].T
        assert (last > first).all(), "an image without references in this split"
        which = first[:, None] + np.arange((last - first).max())
        there = torch.from_numpy(which < last[:, None]).to(words.device)
        which = torch.from_numpy(np.minimum(which, last[:, None] - 1)).to(words.device)
        references = self.words[which]
        own, other = with_end(words), with_end(references).masked_fill_(~there, 0)
        mine = gram_keys(words, own, self.weights.base)
        yours = gram_keys(references, other, self.weights.base)
        norms = self.norms[which].movedim(-1, 0)
        return Matches(mine, yours, self.weights(mine), norms, own, other)


@dataclass(frozen=True, eq=False)
class Matches:
    """Captions beside the references of their images; `mine` and `yours` are n-gram keys."""

    mine: Tensor
    """(4, B, K, T)"""
    yours: Tensor
    """(4, B, R, S)"""
    weights: Tensor
    """(4, B, K, T) of the captions' n-grams"""
    norms: Tensor
    """(4, B, R) of the references"""
    own: Tensor
    """(B, K) lengths of the captions, their end counted"""
    other: Tensor
    """(B, R) of the references; 0 where the image has fewer"""

    def cider_d(self) -> Tensor:
        """(B, K), 0..10.

        What eval.metrics.cider sums over distinct n-grams is summed over places here: an n-gram that stands
        c times in the caption comes c times, each with a c-th of its share.
        """
        squares = self.weights**2
        times, found = self._times()
        clipped = torch.minimum(times[:, :, :, None], found) * found  # (4, B, K, R, T)
        dot = (clipped * (squares / times)[:, :, :, None]).sum(-1)
        norm = (squares * times).sum(-1).sqrt()
        below = norm[..., None] * self.norms[:, :, None]
        similarity = (dot / torch.where(below > 0, below, 1)).mean(0)  # (B, K, R)
        off = self.own[:, :, None] - self.other[:, None]
        similarity = similarity * torch.exp(-(off.to(dot.dtype) ** 2) / (2 * SIGMA**2))
        there = (self.other > 0)[:, None].to(dot.dtype)
        return 10 * (similarity * there).sum(-1) / there.sum(-1)

    def bleu4(self) -> Tensor:
        """(B, K), 0..1: of each caption by itself."""
        times, found = self._times()
        clipped = torch.minimum(times, found.amax(3)) / times * (self.mine > 0)  # (4, B, K, T)
        guessed = (self.mine > 0).sum(-1).to(times.dtype)
        matched = ((clipped.sum(-1) + TINY) / (guessed + SMALL)).log().mean(0).exp()
        far = (self.own[:, :, None] - self.other[:, None]).abs() * (1 << 20) + self.other[:, None]
        nearest = far.masked_fill_((self.other == 0)[:, None], 1 << 40).argmin(-1)  # shorter first
        closest = self.other.gather(1, nearest).to(times.dtype)
        ratio = (self.own.to(times.dtype) + TINY) / (closest + SMALL)
        return matched * (1 - 1 / ratio).clamp_(max=0).exp()

    def _times(self) -> tuple[Tensor, Tensor]:
        """How often the n-gram at each place stands in its caption, (4, B, K, T), and in each
        reference, (4, B, K, R, T); the former is 1 or more."""
        mine = self.mine[..., None]
        times = (mine == self.mine[..., None, :]).sum(-1)
        found = (mine[:, :, :, None] == self.yours[:, :, None, :, None]).sum(-1)
        return times.to(self.weights.dtype), found.to(self.weights.dtype)
