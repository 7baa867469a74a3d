"""Additive attention over regions, with the keys computed once an image.

Bahdanau et al. 2015 (arXiv 1409.0473), Xu et al. 2015 (arXiv 1502.03044).
"""

import torch
from torch import Tensor, nn


class AdditiveAttention(nn.Module):
    """weights = softmax over regions of v . tanh(keys + query)."""

    def __init__(self, values: int, query: int, size: int) -> None:
        super().__init__()
        self.key = nn.Linear(values, size)
        self.query = nn.Linear(query, size, bias=False)
        self.score = nn.Linear(size, 1, bias=False)

    def forward(
        self, query: Tensor, keys: Tensor, values: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """`query` (B, K, H), `keys` (B, R, A), `values` (B, R, D), `mask` (B, R) bool.

        Returns the attended values (B, K, D) and the weights (B, K, R); a masked region's is 0.
        """
        summed = keys[:, None] + self.query(query)[:, :, None]  # (B, K, R, A)
        scores = self.score(summed.tanh()).squeeze(-1)
        weights = scores.masked_fill(~mask[:, None], -torch.inf).softmax(-1)
        return weights @ values, weights
