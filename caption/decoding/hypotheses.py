"""The result of a search or of sampling: tokens and their log-probabilities, as tensors.

B batch, K hypotheses, R regions, T tokens.
"""

from typing import NamedTuple

import torch
from torch import Tensor

SHRINK = 0.75
"""finished images are dropped when at most this share is unfinished, so that copying is rare"""


class Hypotheses(NamedTuple):
    """K captions of each of B images; a search returns the best first."""

    tokens: Tensor
    """(B, K, T) int64, 0 from the end token on; a caption of T tokens was cut off"""
    log_probs: Tensor
    """(B, K, T) of each token and of the end token, unmodified; 0 after the end"""
    scores: Tensor
    """(B, K) the ranking score; -inf if there is no caption at this index"""
    attention: Tensor | None = None
    """(B, K, T, R) attention weights when each token was chosen; 0 after the end"""

    def take(self, index: Tensor) -> "Hypotheses":
        """Select m of the K captions of each image; `index` (B, m) int64."""
        images = torch.arange(len(index), device=index.device)[:, None]
        return Hypotheses(*(None if t is None else t[images, index] for t in self))
