"""One word after another, never going back: greedy decoding and sampling.

In: a decoder of the protocol and features of B images. Out: `Hypotheses`. A whole batch and all
samples of an image go through the decoder together; images that are finished leave the batch.

B batch, b images not finished, K samples, R regions, T words, V vocabulary.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from caption.constraints import Filter, forbid
from caption.decode_options import Sampling
from caption.hypotheses import SHRINK, Hypotheses
from caption.models import Decoder, Features, State
from caption.randomness import uniform

Choose = Callable[[Tensor, Tensor, int], Tensor]
"""log-probabilities (b, K, V + 1), the images (b,) they belong to, the step; to words (b, K)"""
NUCLEUS = 256  # words that usually hold the top p: finding these is cheaper than sorting all


@torch.no_grad()
def greedy(
    model: Decoder,
    features: Features,
    max_length: int = 20,
    filters: Sequence[Filter] = (),
    need_attention: bool = False,
) -> Hypotheses:
    """The likeliest word at each step; K = 1."""

    def choose(log_probs: Tensor, images: Tensor, step: int) -> Tensor:
        return log_probs.argmax(-1)

    return _roll(model, model.begin(features), 1, max_length, choose, filters, need_attention)


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
    """`n` captions an image, drawn word by word and independently.

    `keys` (B,) int64 are the images' own random seeds (`caption.randomness.image_keys`); without
    them torch's global generator draws some, so that a training run is reproducible as a whole.
    The log-probabilities are the model's own: no temperature, nothing cut off.
    """
    state = model.begin(features)
    if keys is None:
        keys = torch.randint(torch.iinfo(torch.int64).max, (len(state.rows[0]),))
    keys = keys.to(state.rows[0].device)

    def choose(log_probs: Tensor, images: Tensor, step: int) -> Tensor:
        return draw(log_probs, uniform(keys[images], n, step), how or Sampling())

    return _roll(model, state, n, max_length, choose, filters, need_attention)


def draw(log_probs: Tensor, u: Tensor, how: Sampling) -> Tensor:
    """Words (...) by inverting the distribution (..., V + 1) at `u` (...), each in [0, 1)."""
    weights = (log_probs / how.temperature).softmax(-1)
    if not how.top_k and how.top_p == 1:
        return _invert(weights, u)
    weights, words = _likeliest(weights, how)
    return words.gather(-1, _invert(weights, u)[..., None]).squeeze(-1)


def _likeliest(weights: Tensor, how: Sampling) -> tuple[Tensor, Tensor]:
    """The probabilities, falling, and the words among which `how` draws; 0 for those it cuts."""
    classes = weights.shape[-1]
    if how.top_k:
        best, words = weights.topk(min(how.top_k, classes))
        best = best / best.sum(-1, keepdim=True)
    else:
        best, words = weights.topk(min(NUCLEUS, classes))
        if (best.sum(-1) < how.top_p).any():
            best, words = weights.sort(descending=True)
    before = best.cumsum(-1) - best
    return best.masked_fill(before >= how.top_p, 0) if how.top_p < 1 else best, words


def _invert(weights: Tensor, u: Tensor) -> Tensor:
    """The place where the running sum of `weights` (..., w) passes the share `u` (...) of all."""
    total = weights.cumsum(-1)
    at = (u * total[..., -1])[..., None]  # below the whole sum, since u is at most 1 - 2^-23
    return torch.searchsorted(total, at, right=True).squeeze(-1)


def _roll(
    model: Decoder,
    state: State,
    n: int,
    max_length: int,
    choose: Choose,
    filters: Sequence[Filter],
    need_attention: bool,
) -> Hypotheses:
    b = len(state.rows[0])
    images = torch.arange(b, device=state.rows[0].device)
    words, said = images.new_zeros(b, 1), images.new_zeros(b, n, max_length)
    ended, gained, looked = torch.zeros_like(said[..., 0], dtype=torch.bool), None, None
    for step in range(max_length):
        log_probs, state, attention = model.step(words, state)
        if filters:
            forbid(filters, log_probs, said[images, : words.shape[1], :step])
        if step == 0:
            state, log_probs = state.expand(n), log_probs.expand(-1, n, -1)
            gained = log_probs.new_zeros(said.shape)
        words = choose(log_probs, images, step).masked_fill(ended, 0)
        said[images, :, step] = words
        log_prob = log_probs.gather(-1, words[..., None]).squeeze(-1)
        gained[images, :, step] = log_prob.masked_fill(ended, 0)
        if need_attention and attention is not None:
            if looked is None:
                looked = attention.new_zeros(*said.shape, attention.shape[-1])
            looked[images, :, step] = attention.masked_fill(ended[..., None], 0)
        ended = ended | (words == 0)
        going = ~ended.all(1)
        left = int(going.sum())
        if left == 0:
            break
        if left <= SHRINK * len(images):
            state, images = state.keep(going), images[going]
            words, ended = words[going], ended[going]
    return Hypotheses(said, gained, gained.sum(-1), looked)
