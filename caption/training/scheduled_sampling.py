"""Scheduled sampling: some inputs of teacher forcing are the model's own tokens.

Bengio et al. 2015, arXiv 1506.03099. B images, K captions an image, P tokens that are not padding,
H hidden, R regions.
"""

import torch
from torch import Tensor

from caption.data.batches import Batch
from caption.models import Decoder


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
