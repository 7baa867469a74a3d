"""What every way of decoding returns: words and their log-probabilities, as tensors.

B batch, K hypotheses, R regions, T words.
"""

from typing import NamedTuple

import torch
from torch import Tensor

SHRINK = 0.75
"""finished images leave a batch when this share is left: the copying stays cheap"""


class Hypotheses(NamedTuple):
    """K captions of each of B images, best first where an order is meant."""

    tokens: Tensor
    """(B, K, T) int64, 0 from the end on; a caption of T words was cut off before its end"""
    log_probs: Tensor
    """(B, K, T) of each word and of the end, as the model gave them; 0 after the end"""
    scores: Tensor
    """(B, K) what captions are ordered by; -inf marks a place for which there is no caption"""
    attention: Tensor | None = None
    """(B, K, T, R) over the regions when each word was chosen; 0 after the end"""

    def take(self, places: Tensor) -> "Hypotheses":
        """Those at `places` (B, m) int64 of the K."""
        images = torch.arange(len(places), device=places.device)[:, None]
        return Hypotheses(*(None if t is None else t[images, places] for t in self))
