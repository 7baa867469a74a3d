"""Losses of a decoder: cross entropy over real words, normalised by their number.

B images, K captions an image, T words, V vocabulary.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from caption.data.batches import Batch
from caption.models import Decoder


def cross_entropy(
    model: Decoder, batch: Batch, tokens: float | Tensor, smoothing: float = 0.0,
    feed: float = 0.0, alpha: float = 0.0,
) -> Tensor:  # fmt: skip
    """Sum of -log p(word) over the batch's real words (and ends), divided by `tokens`.

    `tokens` is the number of real words of the whole step: of all accumulated batches and all
    processes. A mean per batch or per process would be another gradient when lengths differ.
    `feed` is the chance of scheduled sampling (Bengio et al. 2015, arXiv 1506.03099), `alpha` the
    weight of `doubly_stochastic`. Padding reaches neither the classifier nor the loss.
    """
    real = batch.real
    if feed:
        hidden, attention = scheduled(model, batch, feed)  # (P, H), (P, R): P real words
    else:
        hidden, attention = model.packed_hidden(
            batch.features, batch.words, real, attention=alpha > 0
        )
    logits, targets = model.logits(hidden), batch.targets[real]  # (P, V + 1), (P,)
    total = F.cross_entropy(logits.float(), targets, reduction="sum", label_smoothing=smoothing)
    if alpha and attention is not None:
        table = attention.new_zeros(*real.shape, attention.shape[1])  # (B, K, T, R)
        table[real] = attention
        total = total + alpha * doubly_stochastic(table, real, batch.features.mask)
    return total / tokens


def doubly_stochastic(attention: Tensor, real: Tensor, mask: Tensor | None = None) -> Tensor:
    """Sum over captions and regions of (1 - what the region got in all of the caption)^2.

    Show, Attend and Tell's section 4.2.1: over a caption every region should be looked at once.
    `attention` (B, K, T, R), `real` (B, K, T) bool; `mask` (B, R) bool, False for a padded region.
    """
    got = (attention * real[..., None]).sum(2)  # (B, K, R)
    miss = (1 - got).square() * real.any(2)[..., None]
    return (miss if mask is None else miss * mask[:, None]).sum()


def scheduled(model: Decoder, batch: Batch, feed: float) -> tuple[Tensor, Tensor | None]:
    """Teacher forcing in which each word is, with chance `feed`, the model's own sample.

    Hidden states (P, H) and attention (P, R) or None, those of words[real].
    """
    state = model.begin(batch.features).expand(batch.words.shape[1])
    words, hiddens, looks = batch.words[:, :, 0], [], []
    for t in range(batch.words.shape[2]):
        hidden, state, attention = model.decode_tokens(words[:, :, None], state, attention=True)
        hiddens.append(hidden)
        looks.append(attention)
        if t + 1 < batch.words.shape[2]:
            words = _fed(model, hidden[:, :, 0], batch.words[:, :, t + 1], feed)
    attention = None if looks[0] is None else torch.cat(looks, 2)[batch.real]
    return torch.cat(hiddens, 2)[batch.real], attention


@torch.no_grad()
def _fed(model: Decoder, hidden: Tensor, truth: Tensor, feed: float) -> Tensor:
    """`truth` (B, K), or with chance `feed` a sample of what `hidden` (B, K, H) says next."""
    chances = model.logits(hidden).float().softmax(-1)
    if not chances.isfinite().all():
        return truth  # the loss is not finite either, and says so with the images' ids
    own = chances.flatten(0, 1).multinomial(1).view_as(truth)
    return torch.where(torch.rand(truth.shape, device=truth.device) < feed, own, truth)
