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

    def reorder(self, parents: Tensor) -> "State":
        """Row j of image b goes on from row parents[b, j]; `parents` (B, K) int64."""
        b, k = parents.shape
        first = torch.arange(b, device=parents.device)[:, None] * self.rows[0].shape[1]
        rows = (first + parents).flatten()  # index_select is five times as fast as t[images, rows]
        selected = (t.flatten(0, 1).index_select(0, rows) for t in self.rows)
        return State(self.image, tuple(t.unflatten(0, (b, k)) for t in selected))

    def select_images(self, images: Tensor) -> "State":
        """Only these images of the batch; (b,) int64 or (B,) bool."""
        return State(tuple(t[images] for t in self.image), tuple(t[images] for t in self.rows))


class Step(NamedTuple):
    log_probs: Tensor
    """(B, K, V + 1); class 0 ends the caption"""
    state: State
    attention: Tensor | None
    """(B, K, R), sums to 1 over the regions; None for decoders that look at no regions"""


class DecoderOutput(NamedTuple):
    hidden: Tensor
    """(B, K, T, H), or (P, H) where `read` was told which words are real"""
    state: State
    """after the last of the T words"""
    attention: Tensor | None
    """(B, K, T, R) or (P, R), or None"""


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
    regions: int = 0
    """R where the regions are a grid whose places mean something; 0 where they are a set"""
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
        self.pos_embed = None
        if self.needs_regions and shape.regions:
            self.pos_embed = nn.Parameter(0.5 * torch.randn(shape.regions, shape.features))

    def begin(self, features: Features) -> State:
        """The state before the first word, with K = 1."""
        raise NotImplementedError

    def decode_tokens(
        self, words: Tensor, state: State, attention: bool = False, real: Tensor | None = None
    ) -> DecoderOutput:
        """`words` (B, K, T) one after the other from `state` on; one word or all of a caption.

        Decoders for which attention costs extra return it only where `attention` asks. With
        `real` (B, K, T) bool, in each caption some words from the first on, the rest is not read:
        hidden (P, H) and attention (P, R) are those of words[real], and there is no state.
        """
        raise NotImplementedError

    def hidden(self, features: Features, words: Tensor) -> Tensor:
        """Teacher forcing: `words` (B, K, T), BOS first, to hidden states (B, K, T, H)."""
        return self.decode_tokens(words, self.begin(features).expand(words.shape[1])).hidden

    def hidden_and_attention(
        self, features: Features, words: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """`hidden` that also tells where it looked: (B, K, T, H) and attention (B, K, T, R)."""
        state = self.begin(features).expand(words.shape[1])
        hidden, _, attention = self.decode_tokens(words, state, attention=True)
        return hidden, attention

    def packed_hidden(
        self, features: Features, words: Tensor, real: Tensor, attention: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Hidden states (P, H) and, where asked for, attention (P, R) of words[real].

        A third of a batch of COCO's captions is padding. A CPU does not compute it; elsewhere it
        costs less than the bookkeeping.
        """
        state = self.begin(features).expand(words.shape[1])
        if words.device.type == "cpu" and bool(real[..., 0].all()):
            hidden, _, looked = self.decode_tokens(words, state, attention, real)
            return hidden, looked
        hidden, _, looked = self.decode_tokens(words, state, attention)
        return hidden[real], None if looked is None else looked[real]

    def regions(self, features: Features) -> tuple[Tensor, Tensor]:
        """The regions (B, R, D) and their mask (B, R). ValueError if there are none."""
        if features.att is None:
            raise ValueError(
                f"{type(self).__name__} looks at regions, but the features are fc only; "
                "extract them with --regions, or choose show_tell or newfc"
            )
        att, mask = features.att, features.mask
        if mask is None:
            mask = att.new_ones(att.shape[:2], dtype=torch.bool)
        if self.pos_embed is not None and len(self.pos_embed) != att.shape[1]:
            raise ValueError(
                f"built for a grid of {len(self.pos_embed)} regions, the features have "
                f"{att.shape[1]}; extract features of the grid that it was trained on"
            )
        return att, mask

    def project_regions(self, project: nn.Linear, att: Tensor) -> Tensor:
        """The projections (B, R, H) of regions that know their places in the grid.

        A learned vector is added to each region, W (att + place): what is left of what could not
        be told from the features of a set. W place is one product for all images.
        """
        x = project(att)
        return x if self.pos_embed is None else x + F.linear(self.pos_embed, project.weight)

    def logits(self, hidden: Tensor) -> Tensor:
        """(..., H) to (..., V + 1)."""
        return self.classify(self.dropout(hidden))

    def step(self, words: Tensor, state: State) -> Step:
        """The word after `words` (B, K)."""
        hidden, state, attention = self.decode_tokens(words[:, :, None], state, attention=True)
        log_probs = F.log_softmax(self.logits(hidden[:, :, 0]), -1)
        return Step(log_probs, state, None if attention is None else attention[:, :, 0])

    def forward(self, features: Features, words: Tensor) -> Tensor:
        """Log-probabilities (B, K, T, V + 1) of the word after each of `words` (B, K, T)."""
        return F.log_softmax(self.logits(self.hidden(features, words)), -1)
