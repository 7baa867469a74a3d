"""One word after another, never going back: greedy decoding and sampling.

In: a decoder of the protocol and features of B images. Out: `Hypotheses`. A whole batch and all
samples of an image go through the decoder together; images that are finished leave the batch.

B batch, K samples, R regions, T words, V vocabulary.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from caption.decode_options import Sampling
from caption.hypotheses import Hypotheses
from caption.models import Decoder, Features
from caption.randomness import uniform

Choose = Callable[[Tensor, Tensor, int], Tensor]
"""log-probabilities (b, K, V + 1), the images (b,) they belong to, the step; to words (b, K)"""


def greedy(
    model: Decoder, features: Features, max_length: int = 20, need_attention: bool = False
) -> Hypotheses:
    """The likeliest word at each step; K = 1."""
    return _roll(
        model, features, 1, max_length, lambda log_probs, *_: log_probs.argmax(-1), need_attention
    )


def sample(
    model: Decoder,
    features: Features,
    n: int = 1,
    max_length: int = 20,
    how: Sampling | None = None,
    keys: Tensor | None = None,
    need_attention: bool = False,
) -> Hypotheses:
    """`n` captions an image, drawn word by word.

    `keys` (B,) int64 are the images' own random seeds (`caption.randomness.image_keys`); without
    them torch's generator draws some, so that a training run stays reproducible as a whole.
    The log-probabilities are the model's own: no temperature, nothing cut off.
    """
    how = how or Sampling()
    if keys is None:
        low, high = torch.iinfo(torch.int64).min, torch.iinfo(torch.int64).max
        keys = torch.randint(low, high, features.fc.shape[:1])
    keys = keys.to(features.fc.device)

    def choose(log_probs: Tensor, images: Tensor, step: int) -> Tensor:
        return draw(log_probs, uniform(keys[images], n, step), how)

    return _roll(model, features, n, max_length, choose, need_attention)


def draw(log_probs: Tensor, u: Tensor, how: Sampling) -> Tensor:
    """Words (...) by inverting the distribution (..., V + 1) at `u` (...), each in [0, 1)."""
    if how.top_k or how.top_p < 1:
        width = how.top_k or log_probs.shape[-1]
        log_probs, words = log_probs.topk(min(width, log_probs.shape[-1]))
    weights = (log_probs / how.temperature).softmax(-1)
    if how.top_p < 1:
        before = weights.cumsum(-1) - weights
        weights = weights.masked_fill(before >= how.top_p, 0)
    total = weights.cumsum(-1)
    at = torch.searchsorted(total, (u * total[..., -1])[..., None], right=True)
    return (words.gather(-1, at) if how.top_k or how.top_p < 1 else at).squeeze(-1)


@torch.no_grad()
def _roll(
    model: Decoder,
    features: Features,
    n: int,
    max_length: int,
    choose: Choose,
    need_attention: bool,
) -> Hypotheses:
    state = model.begin(features)
    b, device = len(state.rows[0]), state.rows[0].device
    images = torch.arange(b, device=device)
    words = torch.zeros(b, 1, dtype=torch.int64, device=device)
    said = words.new_zeros(b, n, max_length)
    gained, looked = None, []
    ended = torch.zeros(b, n, dtype=torch.bool, device=device)
    for step in range(max_length):
        log_probs, state, attention = model.step(words, state)
        if step == 0:
            state, log_probs = state.expand(n), log_probs.expand(-1, n, -1)
            gained = log_probs.new_zeros(b, n, max_length)
        words = choose(log_probs, images, step).masked_fill(ended, 0)
        log_prob = log_probs.gather(-1, words[..., None]).squeeze(-1)
        said[images, :, step] = words
        gained[images, :, step] = log_prob.masked_fill(ended, 0)
        if need_attention and attention is not None:
            looked.append(attention.new_zeros(b, n, attention.shape[-1]))
            looked[-1][images] = attention.masked_fill(ended[..., None], 0)
        ended = ended | (words == 0)
        going = ~ended.all(1)
        left = int(going.sum())
        if left == 0:
            break
        if left <= 0.75 * len(images):
            state, images = state.keep(going), images[going]
            words, ended = words[going], ended[going]
    return Hypotheses(said, gained, gained.sum(-1), _stack(looked, max_length))


def _stack(looked: list[Tensor], max_length: int) -> Tensor | None:
    """(B, K, T, R) from the steps that there were."""
    if not looked:
        return None
    rest = [torch.zeros_like(looked[0])] * (max_length - len(looked))
    return torch.stack(looked + rest, 2)
