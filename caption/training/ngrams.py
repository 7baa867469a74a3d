"""N-grams of integer captions as integer keys, and what each is worth in CIDEr.

In: captions of a data set as rows of word indices, 0 the end. Out: `Weights`, a sorted table of
n-grams that any batch of captions is looked up in, on the device where it lives.

A key is the n words in base V + 2, each one plus 1, so that no key of one order is one of another;
0 is no n-gram. Four words of a vocabulary of up to 55,000 fit an int64.

E n-grams in all captions, G distinct ones, M captions, T words, V vocabulary.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

ORDERS = 4


@dataclass(frozen=True, eq=False)
class Weights:
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
        """The weight of each key, 0 for no n-gram. Sorted queries keep the search in the cache."""
        ordered, index = keys.flatten().sort()
        found = torch.searchsorted(self.keys, ordered).clamp_(max=len(self.keys) - 1)
        worth = torch.where(self.keys[found] == ordered, self.weights[found], self.unseen)
        worth = worth.masked_fill_(ordered == 0, 0)
        return torch.empty_like(worth).scatter_(0, index, worth).view(keys.shape)

    def to(self, device: torch.device | str) -> "Weights":
        """On `device`, in float32 where it has no float64."""
        weights = self.weights.to(device, precision(device))
        return Weights(self.keys.to(device), weights, self.unseen, self.base)


def precision(device: torch.device | str) -> torch.dtype:
    """Of weights and scores: float64, which costs nothing at these sizes, but on Apple's GPUs."""
    return torch.float32 if torch.device(device).type == "mps" else torch.float64


def with_end(words: Tensor) -> Tensor:
    """(...) lengths of captions (..., T), the end counted; one without a 0 was cut off."""
    return ((words != 0).sum(-1) + 1).clamp_(max=words.shape[-1])


def gram_keys(words: Tensor, lengths: Tensor, base: int) -> Tensor:
    """(4, ..., T) int64: the n-gram of each order that begins at each word, or 0.

    Only the first `lengths` (...) of the `words` (..., T) count.
    """
    index = torch.arange(words.shape[-1], device=words.device)
    digit = (words.long() + 1).masked_fill_(index >= lengths[..., None], 0)
    keys = [digit]
    for n in range(1, ORDERS):
        last = F.pad(digit[..., n:], (0, n))[..., : digit.shape[-1]]
        keys.append((keys[-1] * base + last).masked_fill_(last == 0, 0))
    return torch.stack(keys)


def weigh(words: Tensor, lengths: Tensor, image: Tensor, classes: int) -> tuple[Weights, Tensor]:
    """The weights of all n-grams of captions, and (M, 4) each caption's CIDEr norm in each order.

    `words` (M, T), `lengths` (M,) of them that count, `image` (M,) int64 whose caption it is,
    rising from 0. ValueError for a vocabulary whose 4-grams do not fit, and for a single image,
    with which every weight is 0.
    """
    base, images = classes + 1, int(image.max()) + 1 if len(image) else 0
    if base**ORDERS >= 1 << 63:
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
    return Weights(keys, weights[order], unseen, base), torch.stack(norms, 1)


def _order(
    caption: Tensor, gram: Tensor, grams: int, image: Tensor, images: int
) -> tuple[Tensor, Tensor]:
    """Of one order: (G,) weights, and (M,) squared norms of the captions; both float64.

    `caption` and `gram` (E,) say which n-gram, by number, stands in which caption.
    """
    kinds, counts = (caption * grams + gram).unique(return_counts=True)
    caption, gram = kinds // grams, kinds % grams
    pairs = (image[caption] * grams + gram).unique()
    frequency = torch.bincount(pairs % grams, minlength=grams)
    weights = torch.tensor(images, dtype=torch.float64).log() - frequency.double().log()
    squares = (counts * weights[gram]) ** 2
    return weights, torch.zeros(len(image), dtype=torch.float64).index_add_(0, caption, squares)
