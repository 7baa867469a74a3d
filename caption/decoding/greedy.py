"""Greedy decoding, and the loop that it shares with sampling: token by token, without a beam.

In: a decoder and the features of B images. Out: `Hypotheses`. All captions of all images of a batch
go through the decoder together; finished images leave the batch.

B batch, b unfinished images, K captions an image, R regions, T tokens, V vocabulary.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from caption.decoding.constraints import Filter, forbid
from caption.decoding.hypotheses import SHRINK, Hypotheses
from caption.models import Decoder, Features, State

Choose = Callable[[Tensor, Tensor, int], Tensor]
"""maps log-probabilities (b, K, V + 1), the images (b,) and the step to tokens (b, K)"""


@torch.no_grad()
def greedy(
    model: Decoder,
    features: Features,
    max_length: int = 20,
    filters: Sequence[Filter] = (),
    need_attention: bool = False,
) -> Hypotheses:
    """The most likely token at each step; K = 1."""

    def choose(log_probs: Tensor, images: Tensor, step: int) -> Tensor:
        if log_probs.device.type == "cpu":  # NumPy's argmax is five times as fast as PyTorch's
            return torch.from_numpy(log_probs.numpy().argmax(-1))
        return log_probs.argmax(-1)

    return generate(model, model.begin(features), 1, max_length, choose, filters, need_attention)


def generate(
    model: Decoder, state: State, n: int, max_length: int, choose: Choose,
    filters: Sequence[Filter], need_attention: bool,
) -> Hypotheses:  # fmt: skip
    """Choose tokens step by step until all n captions of all images have ended."""
    b = len(state.rows[0])
    images = torch.arange(b, device=state.rows[0].device)
    tokens, history = images.new_zeros(b, 1), images.new_zeros(b, n, max_length)
    ended = torch.zeros_like(history[..., 0], dtype=torch.bool)
    all_log_probs, all_weights = None, None
    for step in range(max_length):
        log_probs, state, attention = model.step(tokens, state)
        if filters:
            forbid(filters, log_probs, history[images, : tokens.shape[1], :step])
        if step == 0:
            state, log_probs = state.expand(n), log_probs.expand(-1, n, -1)
            all_log_probs = log_probs.new_zeros(history.shape)
        tokens = choose(log_probs, images, step).masked_fill(ended, 0)
        history[images, :, step] = tokens
        log_prob = log_probs.gather(-1, tokens[..., None]).squeeze(-1)
        all_log_probs[images, :, step] = log_prob.masked_fill(ended, 0)
        if need_attention and attention is not None:
            if all_weights is None:
                all_weights = attention.new_zeros(*history.shape, attention.shape[-1])
            all_weights[images, :, step] = attention.masked_fill(ended[..., None], 0)
        ended = ended | (tokens == 0)
        unfinished = ~ended.all(1)
        remaining = int(unfinished.sum())
        if remaining == 0:
            break
        if remaining <= SHRINK * len(images):
            state, images = state.select_images(unfinished), images[unfinished]
            tokens, ended = tokens[unfinished], ended[unfinished]
    return Hypotheses(history, all_log_probs, all_log_probs.sum(-1), all_weights)
