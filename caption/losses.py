"""Losses of a decoder: cross entropy over real words, normalised by their number.

B images, K captions an image, T words, V vocabulary.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from caption.data import Batch
from caption.models import Decoder


def cross_entropy(
    model: Decoder, batch: Batch, tokens: int | Tensor, smoothing: float = 0.0, feed: float = 0.0
) -> Tensor:
    """Sum of -log p(word) over the batch's real words (and ends), divided by `tokens`.

    `tokens` is the number of real words of the whole step: of all accumulated batches and all
    processes. A mean per batch or per process would be another gradient when lengths differ.
    `feed` is the chance of scheduled sampling (Bengio et al. 2015, arXiv 1506.03099).
    Padding reaches neither the classifier nor the loss.
    """
    if feed:
        hidden = scheduled(model, batch, feed)
    else:
        hidden = model.hidden(batch.features, batch.words)  # (B, K, T, H)
    logits = model.logits(hidden[batch.real])  # (words, V + 1)
    targets = batch.targets[batch.real]
    total = F.cross_entropy(logits, targets, reduction="sum", label_smoothing=smoothing)
    return total / tokens


def scheduled(model: Decoder, batch: Batch, feed: float) -> Tensor:
    """Hidden states (B, K, T, H) when each word is, with chance `feed`, the model's own sample."""
    k = batch.words.shape[1]
    state = model.begin(batch.features).expand(k)
    words, outputs = batch.words[:, :, 0], []
    for t in range(batch.words.shape[2]):
        hidden, state, _ = model.read(words[:, :, None], state)
        outputs.append(hidden)
        if t + 1 < batch.words.shape[2]:
            with torch.no_grad():
                own = model.logits(hidden).softmax(-1).flatten(0, 1).multinomial(1).view_as(words)
                use = torch.rand(words.shape, device=words.device) < feed
                words = torch.where(use, own, batch.words[:, :, t + 1])
    return torch.stack(outputs, 2)
