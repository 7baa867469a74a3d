"""N-grams of captions as integer keys, and their CIDEr weights.

In: the captions of a data set as rows of token indices; 0 ends a caption. Out: `NgramWeights`, a
sorted table in which the n-grams of a batch are looked up, on any device.

A key is the n tokens in base V + 2, each plus 1, so that keys of different orders differ; key 0 is
no n-gram. Four tokens of a vocabulary of up to 55,000 words fit into an int64.

E n-grams in all captions, G distinct n-grams, M captions, T tokens, V vocabulary.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

MAX_ORDER = 4


@dataclass(frozen=True, eq=False)
class NgramWeights:
    """log N - log df of each n-gram in the captions of N images; df: the images that have it."""

    keys: Tensor
    """(G,) int64, sorted"""
    weights: Tensor
    """(G,)"""
    unseen: float
    """log N, the weight of all others"""
    base: int
    """V + 2"""

    def __call__(self, keys: Tensor) -> Tensor:
        """The weight of each key, 0 for key 0. Sorted keys are faster to search."""
        sorted_keys, index = keys.flatten().sort()
        found = torch.searchsorted(self.keys, sorted_keys).clamp_(max=len(self.keys) - 1)
        weights = torch.where(self.keys[found] == sorted_keys, self.weights[found], self.unseen)
        weights = weights.masked_fill_(sorted_keys == 0, 0)
        return torch.empty_like(weights).scatter_(0, index, weights).view(keys.shape)

    def to(self, device: torch.device | str) -> "NgramWeights":
        """A copy on `device`, in float32 if the device has no float64."""
        weights = self.weights.to(device, precision(device))
        return NgramWeights(self.keys.to(device), weights, self.unseen, self.base)


def precision(device: torch.device | str) -> torch.dtype:
    """The dtype of weights and scores: float64, or float32 on Apple's GPUs, which lack float64."""
    return torch.float32 if torch.device(device).type == "mps" else torch.float64


def with_end(words: Tensor) -> Tensor:
    """Lengths (...) of captions (..., T), including the end token unless a caption was cut off."""
    return ((words != 0).sum(-1) + 1).clamp_(max=words.shape[-1])


def gram_keys(words: Tensor, lengths: Tensor, base: int) -> Tensor:
    """(4, ..., T) int64: the n-gram of each order that begins at each word, or 0.

    Only the first `lengths` (...) of the `words` (..., T) count.
    """
    index = torch.arange(words.shape[-1], device=words.device)
    digit = (words.long() + 1).masked_fill_(index >= lengths[..., None], 0)
    keys = [digit]
    for n in range(1, MAX_ORDER):
        last = F.pad(digit[..., n:], (0, n))[..., : digit.shape[-1]]
        keys.append((keys[-1] * base + last).masked_fill_(last == 0, 0))
    return torch.stack(keys)


def ngram_weights(
    words: Tensor, lengths: Tensor, image: Tensor, classes: int
) -> tuple[NgramWeights, Tensor]:
    """The weights of all n-grams of captions, and (M, 4) each caption's CIDEr norm in each order.

    `words` (M, T), `lengths` (M,) of them that count, `image` (M,) int64 whose caption it is,
    rising from 0. ValueError for a vocabulary whose 4-grams do not fit, and for a single image,
    with which every weight is 0.
    """
    base, images = classes + 1, int(image.max()) + 1 if len(image) else 0
    if base**MAX_ORDER >= 1 << 63:
        raise ValueError(f"the CIDEr-D reward takes up to 55,000 words, not {classes - 1:,}")
    if images < 2:
        raise ValueError(f"CIDEr-D needs the captions of two images or more, not of {images}")
    tables, norms = [], []
    for keys in gram_keys(words, lengths, base):
        caption, index = keys.nonzero().unbind(1)
        grams, gram = keys[caption, index].unique(return_inverse=True)
        weights, squares = _order(caption, gram, len(grams), image, images)
        tables.append((grams, weights))
        norms.append(squares.sqrt())
    keys, weights = (torch.cat(parts) for parts in zip(*tables, strict=True))
    keys, order = keys.sort()
    unseen = torch.tensor(images, dtype=torch.float64).log().item()
    return NgramWeights(keys, weights[order], unseen, base), torch.stack(norms, 1)


def _order(
    caption: Tensor, gram: Tensor, grams: int, image: Tensor, images: int
) -> tuple[Tensor, Tensor]:
    """Of one order: (G,) weights, and (M,) squared norms of the captions; both float64.

    `caption` and `gram` (E,) say which n-gram, by number, stands in which caption.
    """
    pairs_of, counts = (caption * grams + gram).unique(return_counts=True)
    caption, gram = pairs_of // grams, pairs_of % grams
    pairs = (image[caption] * grams + gram).unique()
    frequency = torch.bincount(pairs % grams, minlength=grams)
    weights = torch.tensor(images, dtype=torch.float64).log() - frequency.double().log()
    squares = (counts * weights[gram]) ** 2
    return weights, torch.zeros(len(image), dtype=torch.float64).index_add_(0, caption, squares)
