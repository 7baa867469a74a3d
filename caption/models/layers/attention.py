"""Additive attention over regions: weights = softmax over regions of v . tanh(W k + U q).

Bahdanau et al. 2015 (arXiv 1409.0473), Xu et al. 2015 (arXiv 1502.03044). The keys W k are computed
once an image. The weight of a masked region is 0.

This file reads like the papers. `caption.models.layers.kernels` computes the same faster on a CPU.

B batch, n queries in the order of their images, R regions, A attention size, D size of the values.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from caption.models.layers import kernels
from caption.models.layers.kernels import use_kernels
from caption.models.layers.linear import Linear

AttentionStep = Callable[[Tensor, Sequence[int]], tuple[Tensor, Tensor]]
"""hidden (n, H) and the number of rows of each image, to context (n, D) and weights (n, R)"""


class AdditiveAttention(nn.Module):
    """`key` and `query` project to A, `score` is v. A bias of v would cancel in the softmax."""

    def __init__(self, values: int, query: int, size: int) -> None:
        super().__init__()
        self.key = Linear(values, size)
        self.query = Linear(query, size, bias=False)
        self.score = nn.Linear(size, 1, bias=False)

    def attend_steps(
        self, keys: Tensor, values: Tensor, mask: Tensor, counts: Sequence[int]
    ) -> AttentionStep:
        """A function for a loop over time that has `counts[t]` rows at step t.

        `keys` (B, R, A), `values` (B, R, D), `mask` (B, R) bool.
        """
        if use_kernels(keys):
            return kernels.attend_steps(self, keys, values, mask, counts)

        def attend(hidden: Tensor, rows_per_image: Sequence[int]) -> tuple[Tensor, Tensor]:
            query = self.query(hidden)
            weights = self.scores(query, keys, mask, rows_per_image).softmax(-1)
            return weighted_sum(weights, values, rows_per_image), weights

        return attend

    def scores(
        self, query: Tensor, keys: Tensor, mask: Tensor, rows_per_image: Sequence[int]
    ) -> Tensor:
        """The scores (n, R) before the softmax, -inf for a masked region. `query` is (n, A)."""
        if use_kernels(keys):
            scores = kernels.additive_scores(query, keys, self.score.weight[0], rows_per_image)
        else:
            keys = expand_to_rows(keys, rows_per_image)  # (n, R, A)
            scores = self.score((keys + query[:, None]).tanh())[..., 0]
        return scores.masked_fill(~expand_to_rows(mask, rows_per_image), -torch.inf)


def weighted_sum(weights: Tensor, values: Tensor, rows_per_image: Sequence[int]) -> Tensor:
    """The mean (n, D) of each image's `values` (B, R, D) under the `weights` (n, R) of its rows."""
    if use_kernels(values):
        return kernels.weighted_sum(weights, values, rows_per_image)
    return (weights[:, None].to(values.dtype) @ expand_to_rows(values, rows_per_image))[:, 0]


def expand_to_rows(images: Tensor, rows_per_image: Sequence[int]) -> Tensor:
    """(B, ...) to (n, ...): each image's tensor, repeated for each of its rows."""
    if len(set(rows_per_image)) == 1:
        return images.repeat_interleave(rows_per_image[0], 0)
    return images.repeat_interleave(torch.tensor(rows_per_image, device=images.device), 0)


def mean_region(att: Tensor, mask: Tensor) -> Tensor:
    """The mean (B, D) of the regions `att` (B, R, D) that are not masked; `mask` (B, R)."""
    weights = mask[:, None].to(att.dtype)
    return (weights @ att / weights.sum(2, keepdim=True))[:, 0]
