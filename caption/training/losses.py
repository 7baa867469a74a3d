"""Losses of a decoder: cross entropy over the tokens that are not padding, divided by their number.

B images, K captions an image, T tokens, P tokens that are not padding, V vocabulary.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from caption.data.batches import Batch
from caption.models import Decoder


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
    total = F.cross_entropy(
        logits.float(), targets, reduction="sum", label_smoothing=label_smoothing
    )
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


def scheduled_sampling(
    model: Decoder, batch: Batch, probability: float
) -> tuple[Tensor, Tensor | None]:
    """Teacher forcing in which each input is, with `probability`, sampled from the model.

    Returns hidden states (P, H) and attention (P, R) or None, of the tokens that are not padding.
    """
    state = model.begin(batch.features).expand(batch.inputs.shape[1])
    tokens, hiddens, attentions = batch.inputs[:, :, 0], [], []
    for t in range(batch.inputs.shape[2]):
        hidden, attention, state = model.decode_tokens(tokens[:, :, None], state, None, True)
        hiddens.append(hidden.view(*tokens.shape, -1))
        if attention is not None:
            attentions.append(attention.view(*tokens.shape, -1))
        if t + 1 < batch.inputs.shape[2]:
            tokens = _next_inputs(model, hiddens[-1], batch.inputs[:, :, t + 1], probability)
    attention = torch.stack(attentions, 2)[batch.token_mask] if attentions else None
    return torch.stack(hiddens, 2)[batch.token_mask], attention


@torch.no_grad()
def _next_inputs(model: Decoder, hidden: Tensor, truth: Tensor, probability: float) -> Tensor:
    """`truth` (B, K), or with `probability` a sample of the model's distribution given `hidden`."""
    probabilities = model.logits(hidden).float().softmax(-1)
    if not probabilities.isfinite().all():
        return truth  # the loss is not finite either, and its error names the images
    samples = probabilities.flatten(0, 1).multinomial(1).view_as(truth)
    use_samples = torch.rand(truth.shape, device=truth.device) < probability
    return torch.where(use_samples, samples, truth)
