"""Packs captions of different lengths so that a loop over time skips padding.

Like torch.nn.utils.rnn.pack_padded_sequence, but captions stay in the order of their images. In:
tokens (B, K, T) and a mask. Out: the rows (n, ...) of each time step, and the way back.

B images, K captions an image, T time steps, N = B K captions, n captions at a step, P tokens.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class TimeStep(NamedTuple):
    """One step of the loop over time."""

    rows_per_image: Sequence[int]
    """captions of each image that have a token at this step"""
    active: Tensor | None
    """rows of the previous step that continue, (n,) int64; None if all do"""

    def select(self, *rows: Tensor) -> tuple[Tensor, ...]:
        """Drop the rows of the previous step whose captions have ended."""
        return rows if self.active is None else tuple(t.index_select(0, self.active) for t in rows)


class PackedCaptions:
    """Tokens in time-major order; iterating yields a TimeStep for each step.

    tokens (P,): the first token of every caption, then the second of every caption that has one...
    counts: captions at each step. tokens_per_image: tokens of each image.
    """

    def __init__(self, tokens: Tensor, token_mask: Tensor | None = None) -> None:
        """`tokens` and `token_mask` (B, K, T), as Decoder.decode_tokens takes them."""
        b, k, t = tokens.shape
        self.size, self.mask = (b, k, t), None
        self.tokens = tokens.permute(2, 0, 1).flatten()
        self.rows_per_image: list[Sequence[int]] = [[k] * b] * t
        self.tokens_per_image = [k * t] * b
        if token_mask is not None:
            self.mask = token_mask.permute(2, 0, 1).contiguous()  # (T, B, K)
            self.tokens = self.tokens[self.mask.flatten()]
            self.rows_per_image = [step for step in self.mask.sum(2).tolist() if any(step)]
            self.tokens_per_image = token_mask.sum((1, 2)).tolist()
        self.counts = [sum(step) for step in self.rows_per_image]

    def __iter__(self) -> Iterator[TimeStep]:
        counts = [self.counts[0], *self.counts]
        for t, rows_per_image in enumerate(self.rows_per_image):
            active = None
            if counts[t + 1] < counts[t]:
                previous, current = self.mask[t - 1].flatten(), self.mask[t].flatten()
                active = current[previous].nonzero()[:, 0]
            yield TimeStep(rows_per_image, active)

    def initial_rows(self, state: Sequence[Tensor]) -> list[Tensor]:
        """Tensors (B, K, ...) of the state as rows (N, ...) of the first step."""
        return [t.flatten(0, 1) for t in state]

    def final_rows(self, rows: Sequence[Tensor]) -> tuple[Tensor, ...] | None:
        """Rows of the last step as (B, K, ...); None with a mask: captions differ in length."""
        return None if self.mask is not None else tuple(t.unflatten(0, self.size[:2]) for t in rows)

    def expand_to_tokens(self, images: Tensor) -> Tensor:
        """(B, ...) of each image to (P, ...), repeated for each of its tokens."""
        b, k, t = self.size
        index = torch.arange(b, device=images.device).repeat_interleave(k).repeat(t)
        index = index if self.mask is None else index[self.mask.flatten()]
        return images.index_select(0, index)

    def unpack(self, steps: Sequence[Tensor] | Tensor) -> Tensor:
        """From time-major to caption-major order, (P, ...).

        `steps` are the outputs of the steps, (n, ...) each, or all of them as (P, ...).
        """
        packed = steps if isinstance(steps, Tensor) else torch.cat(list(steps))
        b, k, t = self.size
        if self.mask is None:
            steps_first = packed.view(t, b, k, *packed.shape[1:])
            return steps_first.permute(1, 2, 0, *range(3, packed.dim() + 2)).flatten(0, 2)
        index = torch.empty(t, b, k, dtype=torch.long)
        index[self.mask] = torch.arange(len(packed))
        return packed.index_select(0, index.permute(1, 2, 0)[self.mask.permute(1, 2, 0)])


class OneToken:
    """One token (N, 1, 1) of each of N hypotheses, with the interface of PackedCaptions.

    It keeps no list of N numbers, so that an exported graph holds for every N.
    """

    counts = rows_per_image = tokens_per_image = (1,)

    def __init__(self, tokens: Tensor) -> None:
        self.tokens = tokens.flatten()

    def __iter__(self) -> Iterator[TimeStep]:
        yield TimeStep(self.rows_per_image, None)

    def initial_rows(self, state: Sequence[Tensor]) -> list[Tensor]:
        return [t.flatten(0, 1) for t in state]

    def final_rows(self, rows: Sequence[Tensor]) -> tuple[Tensor, ...]:
        return tuple(t[:, None] for t in rows)

    def expand_to_tokens(self, images: Tensor) -> Tensor:
        return images

    def unpack(self, steps: Sequence[Tensor] | Tensor) -> Tensor:
        return steps if isinstance(steps, Tensor) else steps[0]


def pack(tokens: Tensor, token_mask: Tensor | None = None) -> PackedCaptions | OneToken:
    """Pack the tokens (B, K, T) of decode_tokens; in an exported graph, K = T = 1."""
    if torch.compiler.is_exporting():
        return OneToken(tokens)
    return PackedCaptions(tokens, token_mask)
