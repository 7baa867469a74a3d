"""Back-pointers of a beam search, instead of copied histories.

To copy the tokens and log-probabilities of every beam whenever beams are reordered would cost more
than the search. Here a step stores the token of each beam and the beam that it continues, and the
captions that are returned are read backwards once.

B batch, K beams, R regions, T steps.
"""

import torch
from torch import Tensor

from caption.decoding.hypotheses import Hypotheses


class BackPointers:
    """T steps of K beams of B images."""

    def __init__(self, b: int, k: int, steps: int, like: Tensor) -> None:
        """Log-probabilities get the dtype of `like`, all tensors its device."""
        self.tokens = like.new_zeros(steps, b, k, dtype=torch.int64)
        self.parents = torch.zeros_like(self.tokens)
        self.log_probs = like.new_zeros(steps, b, k)
        self.attention: Tensor | None = None

    def write(
        self, step: int, images: Tensor, tokens: Tensor, parents: Tensor, log_probs: Tensor
    ) -> None:
        """Store a step of the beams of `images` (b,); the other tensors are (b, K)."""
        self.tokens[step, images] = tokens
        self.parents[step, images] = parents
        self.log_probs[step, images] = log_probs

    def write_attention(self, step: int, images: Tensor, attention: Tensor) -> None:
        """`attention` (b, K, R) of the beams before they are reordered."""
        if self.attention is None:
            self.attention = attention.new_zeros(*self.tokens.shape, attention.shape[-1])
        self.attention[step, images] = attention

    def read(self, steps: Tensor, beams: Tensor, scores: Tensor) -> Hypotheses:
        """The captions whose last token is that of `beams` (B, n) at `steps` (B, n)."""
        tokens, log_probs, attention = [], [], []
        for step in reversed(range(len(self.tokens))):
            active = step <= steps
            tokens.append(self.tokens[step].gather(1, beams) * active)
            log_probs.append(self.log_probs[step].gather(1, beams).masked_fill(~active, 0))
            beams = torch.where(active, self.parents[step].gather(1, beams), beams)
            if self.attention is not None:
                index = beams[..., None].expand(-1, -1, self.attention.shape[-1])
                attention.append(self.attention[step].gather(1, index) * active[..., None])
        weights = torch.stack(attention[::-1], 2) if attention else None
        return Hypotheses(
            torch.stack(tokens[::-1], 2), torch.stack(log_probs[::-1], 2), scores, weights
        )
