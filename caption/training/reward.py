"""The reward of self-critical training: CIDEr-D, BLEU-4 or a weighted sum, on token indices.

    reward = Reward.of(data.labels, device)            # once: document frequencies, norms
    reward(batch.rows, tokens)                         # (B, K) for K sampled captions an image

Everything is computed on the device of the samples, without text and without a loop over captions.
The numbers equal those of eval's CIDEr and BLEU on the same tokens, with two conventions of
self-critical.pytorch: the end token counts as a word, in samples and in references (without it a
caption that stops in mid-phrase loses nothing), and a caption that was cut off has no end token.

B images, K captions, R references of an image, T tokens, S tokens of a reference, L label columns.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from caption.training.ngrams import NgramWeights, gram_keys, ngram_weights, precision, with_end
from prepro.storage.label_file import Labels

SIGMA = 6.0
TINY, SMALL = 1e-15, 1e-9  # coco-caption's, see eval.metrics.bleu


@dataclass(frozen=True, eq=False)
class Reward:
    """Scores captions of a training split against its references."""

    weights: NgramWeights
    words: Tensor
    """(M, L) the references, 0 their end and padding"""
    norms: Tensor
    """(M, 4) of each reference, by order"""
    ranges: np.ndarray
    """(N, 2) int64, by position in labels.json: the image's rows of `words`; equal without any"""
    cider: float
    """weight of CIDEr-D, 0..10"""
    bleu: float
    """weight of BLEU-4, 0..1"""

    @classmethod
    def of(
        cls, labels: Labels, device: torch.device | str = "cpu", split: str = "train",
        cider: float = 1.0, bleu: float = 0.0,
    ) -> "Reward":  # fmt: skip
        """From the references of a split; ValueError if it is unfit, see `ngrams.ngram_weights`."""
        images = labels.split(split)
        first, last = labels.ranges[images].T
        images, counts = images[last > first], (last - first)[last > first]
        ranges = np.zeros_like(labels.ranges)
        ranges[images, 1] = np.cumsum(counts)
        ranges[images, 0] = ranges[images, 1] - counts
        rows = np.arange(counts.sum()) + np.repeat(first[last > first] - ranges[images, 0], counts)
        words = torch.from_numpy(labels.tokens(rows).astype(np.int32))
        image = torch.from_numpy(np.repeat(np.arange(len(images)), counts))
        weights, norms = ngram_weights(words, with_end(words), image, labels.vocabulary.classes)
        norms = norms.to(device, precision(device))
        return cls(weights.to(device), words.to(device), norms, ranges, cider, bleu)

    def __call__(self, rows: np.ndarray, words: Tensor) -> Tensor:
        """(B, K) rewards of captions (B, K, T) int64 of the images at `rows` (B,) in labels.json.

        A caption ends at its first 0, after which all is 0; without a 0 it was cut off.
        """
        matches = self._match(rows, words)
        score = words.new_zeros(words.shape[:2], dtype=self.norms.dtype)
        if self.cider:
            score = score + self.cider * matches.cider_d()
        return score + self.bleu * matches.bleu4() if self.bleu else score

    def _match(self, rows: np.ndarray, words: Tensor) -> "NgramMatches":
        first, last = self.ranges[rows].T
        assert (last > first).all(), "an image without references in this split"
        which = first[:, None] + np.arange((last - first).max())
        exists = torch.from_numpy(which < last[:, None]).to(words.device)
        which = torch.from_numpy(np.minimum(which, last[:, None] - 1)).to(words.device)
        references = self.words[which]
        lengths, reference_lengths = with_end(words), with_end(references).masked_fill_(~exists, 0)
        sampled = gram_keys(words, lengths, self.weights.base)
        reference = gram_keys(references, reference_lengths, self.weights.base)
        norms = self.norms[which].movedim(-1, 0)
        return NgramMatches(
            sampled, reference, self.weights(sampled), norms, lengths, reference_lengths
        )


@dataclass(frozen=True, eq=False)
class NgramMatches:
    """Captions beside the references of their images; `sampled` and `reference` are n-gram keys."""

    sampled: Tensor
    """(4, B, K, T)"""
    reference: Tensor
    """(4, B, R, S)"""
    weights: Tensor
    """(4, B, K, T) of the captions' n-grams"""
    norms: Tensor
    """(4, B, R) of the references"""
    lengths: Tensor
    """(B, K) lengths of the captions, their end counted"""
    reference_lengths: Tensor
    """(B, R) of the references; 0 where the image has fewer"""

    def cider_d(self) -> Tensor:
        """(B, K), 0..10.

        eval's CIDEr sums over distinct n-grams. Here the sum runs over positions: an n-gram that
        occurs c counts in the caption is counted c counts with a weight of 1 / c.
        """
        squares = self.weights**2
        counts, reference_counts = self._counts()
        clipped = (
            torch.minimum(counts[:, :, :, None], reference_counts) * reference_counts
        )  # (4, B, K, R, T)
        dot = (clipped * (squares / counts)[:, :, :, None]).sum(-1)
        norm = (squares * counts).sum(-1).sqrt()
        below = norm[..., None] * self.norms[:, :, None]
        similarity = (dot / torch.where(below > 0, below, 1)).mean(0)  # (B, K, R)
        off = self.lengths[:, :, None] - self.reference_lengths[:, None]
        similarity = similarity * torch.exp(-(off.to(dot.dtype) ** 2) / (2 * SIGMA**2))
        exists = (self.reference_lengths > 0)[:, None].to(dot.dtype)
        return 10 * (similarity * exists).sum(-1) / exists.sum(-1)

    def bleu4(self) -> Tensor:
        """(B, K), 0..1: of each caption by itself."""
        counts, reference_counts = self._counts()
        clipped = (
            torch.minimum(counts, reference_counts.amax(3)) / counts * (self.sampled > 0)
        )  # (4, B, K, T)
        guessed = (self.sampled > 0).sum(-1).to(counts.dtype)
        matched = ((clipped.sum(-1) + TINY) / (guessed + SMALL)).log().mean(0).exp()
        far = (self.lengths[:, :, None] - self.reference_lengths[:, None]).abs() * (
            1 << 20
        ) + self.reference_lengths[:, None]
        nearest = far.masked_fill_((self.reference_lengths == 0)[:, None], 1 << 40).argmin(
            -1
        )  # shorter first
        closest = self.reference_lengths.gather(1, nearest).to(counts.dtype)
        ratio = (self.lengths.to(counts.dtype) + TINY) / (closest + SMALL)
        return matched * (1 - 1 / ratio).clamp_(max=0).exp()

    def _counts(self) -> tuple[Tensor, Tensor]:
        """How often the n-gram at each position occurs in its caption, (4, B, K, T), and in each
        reference, (4, B, K, R, T); the former is 1 or more."""
        sampled = self.sampled[..., None]
        counts = (sampled == self.sampled[..., None, :]).sum(-1)
        reference_counts = (sampled[:, :, :, None] == self.reference[:, :, None, :, None]).sum(-1)
        return counts.to(self.weights.dtype), reference_counts.to(self.weights.dtype)
