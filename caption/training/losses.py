"""Losses of a decoder: cross entropy over the tokens that are not padding, divided by their number.

B images, K captions an image, T tokens, P tokens that are not padding, V vocabulary.
"""

from torch import Tensor

from caption.data.batches import Batch
from caption.models import Decoder
from caption.training.scheduled_sampling import scheduled_sampling
from caption.training.token_losses import token_losses


def cross_entropy(
    model: Decoder, batch: Batch, num_tokens: float | Tensor, label_smoothing: float = 0.0,
    sampling_prob: float = 0.0, doubly_stochastic_weight: float = 0.0,
) -> Tensor:  # fmt: skip
    """Sum of -log p(token) over the batch's tokens (the ends included), divided by `num_tokens`.

    `num_tokens` counts the tokens of the whole step: of all accumulated batches and of all
    processes. A mean per batch or per process would give another gradient if lengths differ.
    `sampling_prob` is the probability of scheduled sampling (Bengio et al. 2015, arXiv 1506.03099).
    Padding reaches neither the classifier nor the loss.
    """
    mask, alpha = batch.token_mask, doubly_stochastic_weight
    if sampling_prob:
        hidden, attention = scheduled_sampling(model, batch, sampling_prob)  # (P, H), (P, R)
    else:
        hidden, attention, _ = model.teacher_force(batch.features, batch.inputs, mask, alpha > 0)
    logits, targets = model.logits(hidden), batch.targets[mask]  # (P, V + 1), (P,)
    total = token_losses(logits, targets, label_smoothing).sum()
    if alpha and attention is not None:
        padded = attention.new_zeros(*mask.shape, attention.shape[1])  # (B, K, T, R)
        padded[mask] = attention
        total = total + alpha * doubly_stochastic(padded, mask, batch.features.mask)
    return total / num_tokens


def doubly_stochastic(
    attention: Tensor, token_mask: Tensor, region_mask: Tensor | None = None
) -> Tensor:
    """Sum over captions and regions of (1 - the region's attention over the whole caption)^2.

    Show, Attend and Tell, section 4.2.1: a caption should attend to every region once in total.
    `attention` (B, K, T, R), `token_mask` (B, K, T) bool, `region_mask` (B, R) bool, False for a
    padded region.
    """
    totals = (attention * token_mask[..., None]).sum(2)  # (B, K, R)
    penalty = (1 - totals).square() * token_mask.any(2)[..., None]
    return (penalty if region_mask is None else penalty * region_mask[:, None]).sum()
