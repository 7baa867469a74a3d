"""One word after another, never going back: greedy decoding and sampling.

In: a decoder of the protocol and features of B images. Out: `Hypotheses`. A whole batch and all
samples of an image go through the decoder together; images that are finished leave the batch.

B batch, b images not finished, K samples, R regions, T words, V vocabulary.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from caption.decoding.constraints import Filter, forbid
from caption.decoding.hypotheses import SHRINK, Hypotheses
from caption.decoding.options import Sampling
from caption.decoding.rng import uniform
from caption.models import Decoder, Features, State

BLOCK = 16  # words that are summed before a word is drawn

Choose = Callable[[Tensor, Tensor, int], Tensor]
"""log-probabilities (b, K, V + 1), the images (b,) they belong to, the step; to words (b, K)"""


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

    `keys` (B,) int64 are the images' own random seeds (`caption.decoding.rng.image_keys`);
    without them torch's global generator draws some, so that training is reproducible as a whole.
    The log-probabilities are the model's own: no temperature, nothing cut off.
    """
    state = model.begin(features)
    if keys is None:
        keys = torch.randint(torch.iinfo(torch.int64).max, (len(state.rows[0]),))
    keys = keys.to(state.rows[0].device)

    def choose(log_probs: Tensor, images: Tensor, step: int) -> Tensor:
        own = keys[images]
        return draw(log_probs, how or Sampling(), lambda turn: uniform(own, n, step, turn))

    return _roll(model, state, n, max_length, choose, filters, need_attention)


def draw(log_probs: Tensor, how: Sampling, noise: Callable[[int], Tensor]) -> Tensor:
    """Words (b, K) from `log_probs` (b, K, V + 1); `noise(i)` is the i-th of a row of uniform
    random numbers, (b, K) in [0, 1)."""
    scaled = log_probs if how.temperature == 1 else log_probs / how.temperature
    weights = scaled.softmax(-1)
    if how.top_k:
        least = weights.topk(min(how.top_k, weights.shape[-1])).values[..., -1:]
        weights = _kept(torch.ge, weights, least)
    words = _invert(weights, noise(0))
    return words if how.top_p == 1 else _in_nucleus(weights, words, how.top_p, noise)


def _in_nucleus(
    weights: Tensor, words: Tensor, top_p: float, noise: Callable[[int], Tensor]
) -> Tensor:
    """The `words`, drawn again where the likelier words have a share of `top_p` without them.

    That is the nucleus of Holtzman et al. 2020 (arXiv 1904.09751) by rejection: no sorting, and
    on average no more than 1 / top_p draws.
    """
    rows, drawn = weights.flatten(0, 1), words.flatten()
    limit, left, turn = top_p * rows.sum(1), torch.arange(len(rows), device=rows.device), 0
    while True:
        own = rows.gather(1, drawn[left][:, None])
        outside = _kept(torch.gt, rows, own).sum(1) >= limit[left]
        left, rows, turn = left[outside], rows[outside], turn + 1
        if not len(left):
            return drawn.view_as(words)
        drawn[left] = _invert(rows, noise(turn).flatten()[left])


def _kept(compare: Callable, weights: Tensor, bound: Tensor) -> Tensor:
    """`weights` where they compare so with `bound`, else 0; five times as fast as masked_fill."""
    return compare(weights, bound, out=torch.empty_like(weights)).mul_(weights)


def _invert(weights: Tensor, u: Tensor) -> Tensor:
    """Words as likely as their `weights` (..., w), from random numbers `u` (...) in [0, 1).

    The position where a running sum passes a share u of all: first over sums of every stride-th word,
    then over the words of that sum, since running sums do not vectorise and plain ones do.
    """
    stride = weights.shape[-1] // BLOCK
    if stride == 0:
        return _pass(weights, u)[0]
    blocks, rest = weights[..., : stride * BLOCK], weights[..., stride * BLOCK :]
    sums = torch.cat([blocks.unflatten(-1, (BLOCK, stride)).sum(-2), rest], -1)
    position, share = _pass(sums, u)
    first = position.clamp(max=stride - 1)[..., None]
    words = first + torch.arange(0, stride * BLOCK, stride, device=position.device)
    among, _ = _pass(weights.gather(-1, words), share)
    among = torch.where(position < stride, among, BLOCK - 1)  # a word of the rest is its own sum
    return position + among * stride


def _pass(weights: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """The position (...) where the running sum of `weights` (..., w) passes the share `u` (...) of
    all, and which share of that position's own weight was needed, in [0, 1)."""
    total = weights.cumsum(-1)
    sought = (u * total[..., -1])[..., None]  # below the whole sum, since u is at most 1 - 2^-23
    position = torch.searchsorted(total, sought, right=True)
    position = position.clamp_(max=weights.shape[-1] - 1)  # where nothing weighs anything
    left = (sought - total.gather(-1, position)) / weights.gather(-1, position)  # -1 to 0
    share = (1 + left).clamp(0, 1 - 2.0**-23)
    return position.squeeze(-1), share.squeeze(-1)


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
            state, images = state.select_images(going), images[going]
            words, ended = words[going], ended[going]
    return Hypotheses(said, gained, gained.sum(-1), looked)
