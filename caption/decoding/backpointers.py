"""What a beam search remembers: back-pointers instead of histories.

Copying every beam's words and log-probabilities whenever beams are reordered costs more than the
search itself; here a step writes what each beam said and from which beam it went on, and captions
are read off backwards once, for the few that are returned.

B batch, K beams, R regions, T steps.
"""

import torch
from torch import Tensor

from caption.decoding.hypotheses import Hypotheses


class BackPointers:
    """T steps of K beams of B images."""

    def __init__(self, b: int, k: int, steps: int, like: Tensor) -> None:
        """Log-probabilities get the dtype of `like`, all the tensors its device."""
        self.words = like.new_zeros(steps, b, k, dtype=torch.int64)
        self.parents = torch.zeros_like(self.words)
        self.log_probs = like.new_zeros(steps, b, k)
        self.attention: Tensor | None = None

    def write(
        self, step: int, images: Tensor, words: Tensor, parents: Tensor, log_probs: Tensor
    ) -> None:
        """What the beams of these `images` (b,) said: each of the others (b, K)."""
        self.words[step, images] = words
        self.parents[step, images] = parents
        self.log_probs[step, images] = log_probs

    def look(self, step: int, images: Tensor, attention: Tensor) -> None:
        """`attention` (b, K, R) of the beams before they are reordered."""
        if self.attention is None:
            self.attention = attention.new_zeros(*self.words.shape, attention.shape[-1])
        self.attention[step, images] = attention

    def read(self, steps: Tensor, beams: Tensor, scores: Tensor) -> Hypotheses:
        """The captions whose last word is that of `beams` (B, n) at `steps` (B, n)."""
        words, log_probs, looked = [], [], []
        for step in reversed(range(len(self.words))):
            on = step <= steps
            words.append(self.words[step].gather(1, beams) * on)
            log_probs.append(self.log_probs[step].gather(1, beams).masked_fill(~on, 0))
            beams = torch.where(on, self.parents[step].gather(1, beams), beams)
            if self.attention is not None:
                at = beams[..., None].expand(-1, -1, self.attention.shape[-1])
                looked.append(self.attention[step].gather(1, at) * on[..., None])
        attention = torch.stack(looked[::-1], 2) if looked else None
        return Hypotheses(
            torch.stack(words[::-1], 2), torch.stack(log_probs[::-1], 2), scores, attention
        )
