"""How different several captions of one image are from each other.

In: captions by image id, and document frequencies. Out: `Diversity`, means over the images.

    div-n      distinct n-grams / words, over all captions of an image (Aneja et al.: Sequential
               latent spaces for modeling the intention during diverse image captioning, ICCV 2019)
    Self-CIDEr -log(s_1 / sum s) / log m, where s are the singular values of the m captions'
               weighted n-gram vectors, from the matrix of their CIDErs: 0 when all say the same, 1
               when they share nothing (Wang, Chan: Describing like humans, CVPR 2019)
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from eval.metrics.cider import similarities
from eval.metrics.document_frequencies import Frequencies
from eval.metrics.ngram_counts import Pairs
from eval.tokenizer import tokenize


@dataclass(frozen=True)
class Diversity:
    """Means over the images, each 0..1."""

    captions: float  # an image
    div_1: float
    div_2: float
    self_cider: float


def diversity(captions: Mapping[Hashable, Sequence[str]], frequencies: Frequencies) -> Diversity:
    """The diversity of raw captions, at least two an image; ValueError when there are fewer."""
    few = [image for image, several in captions.items() if len(several) < 2]
    if few or not captions:
        raise ValueError(f"image {few[0]!r} has one caption" if few else "no captions to examine")
    tokens = [[tokenize(caption) for caption in several] for several in captions.values()]
    return Diversity(
        captions=float(np.mean([len(several) for several in tokens])),
        div_1=float(np.mean([distinct(several, 1) for several in tokens])),
        div_2=float(np.mean([distinct(several, 2) for several in tokens])),
        self_cider=float(np.mean([self_cider(kernel) for kernel in _kernels(tokens, frequencies)])),
    )


def distinct(captions: Sequence[Sequence[str]], order: int) -> float:
    """Distinct n-grams over words, in all captions of one image; 0 when they have no words."""
    grams = {tuple(c[i : i + order]) for c in captions for i in range(len(c) - order + 1)}
    return len(grams) / max(sum(map(len, captions)), 1)


def self_cider(kernel: np.ndarray) -> float:
    """Self-CIDEr of (M, M) similarities with ones on the diagonal."""
    singular = np.sqrt(np.clip(np.linalg.eigvalsh(kernel), 0, None))
    if singular.sum() == 0:
        return 0.0
    return -math.log(singular[-1] / singular.sum()) / math.log(len(kernel))


def _kernels(
    tokens: Sequence[Sequence[Sequence[str]]], frequencies: Frequencies
) -> list[np.ndarray]:
    """(M, M) CIDEr / 10 between the captions of each image."""
    several = [(group, caption) for group in tokens for caption in group]
    pairs = Pairs(range(len(several)), [g for g, _ in several], [c for _, c in several])
    rows = iter(np.split(similarities(pairs, frequencies), np.cumsum(pairs.per_image)[:-1]))
    return [np.stack([next(rows) for _ in group]) for group in tokens]
