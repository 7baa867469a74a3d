"""Sampling, with a temperature, of the k most likely tokens or of the nucleus.

In: a decoder and the features of B images. Out: `Hypotheses`. All samples of all images of a batch
go through the decoder together; finished images leave the batch.

B batch, b unfinished images, K samples, R regions, T tokens, V vocabulary.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from caption.decoding.constraints import Filter
from caption.decoding.greedy import generate
from caption.decoding.hypotheses import Hypotheses
from caption.decoding.options import Sampling
from caption.decoding.rng import uniform
from caption.models import Decoder, Features

REJECTIONS = 32  # draws of nucleus sampling before it sorts
BLOCK = 256  # tokens in a block whose probabilities are summed first


@torch.no_grad()
def sample(
    model: Decoder,
    features: Features,
    n: int = 1,
    max_length: int = 20,
    how: Sampling | None = None,
    keys: Tensor | None = None,
    filters: Sequence[Filter] = (),
    need_attention: bool = False,
) -> Hypotheses:
    """Sample `n` captions of each image, independently, token by token.

    `keys` (B,) int64 are the random keys of the images (`caption.decoding.rng.image_keys`); without
    them torch's global generator draws some. The log-probabilities that are returned are those of
    the model, without temperature or truncation.
    """
    state = model.begin(features)
    if keys is None:
        keys = torch.randint(torch.iinfo(torch.int64).max, (len(state.rows[0]),))
    keys = keys.to(state.rows[0].device)

    def choose(log_probs: Tensor, images: Tensor, step: int) -> Tensor:
        batch_keys = keys[images]
        return draw_tokens(
            log_probs, how or Sampling(), lambda draw: uniform(batch_keys, n, step, draw)
        )

    return generate(model, state, n, max_length, choose, filters, need_attention)


def draw_tokens(log_probs: Tensor, how: Sampling, noise: Callable[[int], Tensor]) -> Tensor:
    """Sample tokens (b, K) from `log_probs` (b, K, V + 1); `noise(i)` returns the i-th uniform
    random numbers, (b, K) in [0, 1)."""
    scaled = log_probs if how.temperature == 1 else log_probs / how.temperature
    weights = scaled.softmax(-1)
    if how.top_k:
        least = weights.topk(min(how.top_k, weights.shape[-1])).values[..., -1:]
        weights = _masked(torch.ge, weights, least)
    tokens = _sample_categorical(weights, noise(0))
    return tokens if how.top_p == 1 else _sample_nucleus(weights, tokens, how.top_p, noise)


def _sample_nucleus(
    weights: Tensor, tokens: Tensor, top_p: float, noise: Callable[[int], Tensor]
) -> Tensor:
    """Nucleus sampling (Holtzman et al. 2020, arXiv 1904.09751) by rejection.

    A token outside the nucleus, where the more likely tokens already have probability `top_p`, is
    drawn again. That needs no sorting and on average at most 1 / top_p draws. What is left after
    REJECTIONS draws is sampled from the sorted nucleus.
    """
    rows, drawn = weights.flatten(0, 1), tokens.flatten()
    limit, pending, draw = top_p * rows.sum(1), torch.arange(len(rows), device=rows.device), 0
    while True:
        probability = rows.gather(1, drawn[pending][:, None])
        outside = _masked(torch.gt, rows, probability).sum(1) >= limit[pending]
        pending, rows, draw = pending[outside], rows[outside], draw + 1
        if not len(pending):
            return drawn.view_as(tokens)
        if draw == REJECTIONS:
            ordered, index = rows.sort(dim=1, descending=True, stable=True)
            before = ordered.cumsum(1) - ordered
            ordered = torch.where(before < limit[pending, None], ordered, 0)
            chosen = _sample_categorical(ordered, noise(draw).flatten()[pending])
            drawn[pending] = index.gather(1, chosen[:, None]).squeeze(1)
            return drawn.view_as(tokens)
        drawn[pending] = _sample_categorical(rows, noise(draw).flatten()[pending])


def _masked(compare: Callable, weights: Tensor, bound: Tensor) -> Tensor:
    """`weights` where `compare(weights, bound)` holds, else 0; faster than masked_fill."""
    return compare(weights, bound, out=torch.empty_like(weights)).mul_(weights)


def _sample_categorical(weights: Tensor, u: Tensor) -> Tensor:
    """Indices (...) with probabilities proportional to `weights` (..., w); `u` (...) is in [0, 1).

    Inverse transform sampling: the index where the cumulative sum exceeds u times the total. It is
    searched first over the sums of whole blocks and the weights after them, then within a block,
    since plain sums vectorise and cumulative sums do not.
    """
    count = weights.shape[-1] // BLOCK
    if count == 0:
        return _cumulative_search(weights, u)[0]
    whole = count * BLOCK
    sums = weights[..., :whole].unflatten(-1, (count, BLOCK)).sum(-1)
    position, fraction = _cumulative_search(torch.cat([sums, weights[..., whole:]], -1), u)
    first = BLOCK * position.clamp(max=count - 1)
    tokens = first[..., None] + torch.arange(BLOCK, device=first.device)
    within, _ = _cumulative_search(weights.gather(-1, tokens), fraction)
    return torch.where(position < count, first + within, whole + position - count)


def _cumulative_search(weights: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """The index (...) where the cumulative sum of `weights` (..., w) exceeds `u` (...) times the
    total, and the fraction of that index's weight that was needed, in [0, 1)."""
    total = weights.cumsum(-1)
    target = (u * total[..., -1])[..., None]  # below the total, since u is at most 1 - 2^-23
    position = torch.searchsorted(total, target, right=True)
    position = position.clamp_(max=weights.shape[-1] - 1)  # if all weights are 0
    excess = (target - total.gather(-1, position)) / weights.gather(-1, position)  # -1 to 0
    fraction = (1 + excess).clamp(0, 1 - 2.0**-23)
    return position.squeeze(-1), fraction.squeeze(-1)
