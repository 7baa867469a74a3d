"""What every caption decoder is: the protocol that training and decoding speak.

    begin(features) -> State                         once an image
    step(words (B, K), state) -> Step                one word for K hypotheses of each image
    forward(features, words (B, K, T)) -> (B, K, T, V + 1)   all words at once, teacher forced

K hypotheses of one image stand side by side: the captions of a training batch, the samples of
self-critical training, the beams of a search. What depends on the image alone (attention keys,
encoded regions) is computed once and never copied per caption.

B batch, K hypotheses, R regions, D feature, E embedding, H hidden, T words, V vocabulary.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Features(NamedTuple):
    """What the encoder saw of B images."""

    fc: Tensor
    """(B, D), the pooled vector"""
    att: Tensor | None = None
    """(B, R, D), the grid row by row, or None"""
    mask: Tensor | None = None
    """(B, R) bool, False for a region that is padding; None where all are real"""


class State(NamedTuple):
    """Where decoding stands. `image` tensors are (B, ...), `rows` tensors (B, K, ...)."""

    image: tuple[Tensor, ...]
    rows: tuple[Tensor, ...]

    def expand(self, k: int) -> "State":
        """From one hypothesis an image to `k` equal ones."""
        return State(self.image, tuple(t.expand(-1, k, *t.shape[2:]) for t in self.rows))

    def follow(self, parents: Tensor) -> "State":
        """Row j of image b goes on from row parents[b, j]; `parents` (B, K) int64."""
        images = torch.arange(len(parents), device=parents.device)[:, None]
        return State(self.image, tuple(t[images, parents] for t in self.rows))

    def keep(self, images: Tensor) -> "State":
        """Only these images of the batch; (b,) int64 or (B,) bool."""
        return State(tuple(t[images] for t in self.image), tuple(t[images] for t in self.rows))


class Step(NamedTuple):
    log_probs: Tensor
    """(B, K, V + 1); class 0 ends the caption"""
    state: State
    attention: Tensor | None
    """(B, K, R), sums to 1 over the regions; None for decoders that look at no regions"""


@dataclass(frozen=True)
class Shape:
    """The sizes that a decoder is built from."""

    classes: int
    """V + 1: class 0 begins and ends a caption and pads it"""
    features: int
    """D, the channels of fc and att"""
    embedding: int = 512
    hidden: int = 512
    layers: int = 1
    heads: int = 8
    dropout: float = 0.5


class Decoder(nn.Module):
    """The parts that all decoders share: word embeddings in, word logits out."""

    needs_regions = False

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embed = nn.Embedding(shape.classes, shape.embedding)
        self.dropout = nn.Dropout(shape.dropout)
        self.classify = nn.Linear(shape.hidden, shape.classes)

    def begin(self, features: Features) -> State:
        """The state before the first word, with K = 1."""
        raise NotImplementedError

    def advance(self, words: Tensor, state: State) -> tuple[Tensor, State, Tensor | None]:
        """One step: `words` (B, K) to hidden (B, K, H), the next state, attention (B, K, R)."""
        raise NotImplementedError

    def hidden(self, features: Features, words: Tensor) -> Tensor:
        """Teacher forcing: `words` (B, K, T), BOS first, to hidden states (B, K, T, H).

        This is the plain way, a step at a time; a decoder that can do better overrides it.
        """
        state = self.begin(features).expand(words.shape[1])
        outputs = []
        for t in range(words.shape[2]):
            output, state, _ = self.advance(words[:, :, t], state)
            outputs.append(output)
        return torch.stack(outputs, 2)

    def logits(self, hidden: Tensor) -> Tensor:
        """(..., H) to (..., V + 1)."""
        return self.classify(self.dropout(hidden))

    def step(self, words: Tensor, state: State) -> Step:
        hidden, state, attention = self.advance(words, state)
        return Step(F.log_softmax(self.logits(hidden), -1), state, attention)

    def forward(self, features: Features, words: Tensor) -> Tensor:
        """Log-probabilities (B, K, T, V + 1) of the word after each of `words` (B, K, T)."""
        return F.log_softmax(self.logits(self.hidden(features, words)), -1)


def lstm_step(gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """Gates (..., 4H), before their nonlinearities, in nn.LSTM's order; to (h, c), each (..., H)."""
    i, f, g, o = gates.chunk(4, -1)
    cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
    return o.sigmoid() * cell.tanh(), cell
