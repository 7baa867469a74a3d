"""The interface of every caption decoder; training and decoding know nothing else of a decoder.

    begin(features) -> State                                    once an image
    step(tokens (B, K), state) -> Step                          the next token of K hypotheses
    teacher_force(features, tokens (B, K, T)) -> DecoderOutput  all tokens of a caption at once

An image has K hypotheses: the captions of a training batch, the samples of self-critical training,
or the beams of a search. What depends on the image alone (attention keys, encoded regions) is
computed once an image and never copied for each hypothesis.

B batch, K hypotheses, R regions, D feature, E embedding, H hidden, T tokens, P packed tokens,
V vocabulary.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from caption.models.layers.dropout import Dropout
from caption.models.layers.linear import Linear


class Features(NamedTuple):
    """The encoder's output for B images."""

    fc: Tensor
    """(B, D), the mean of the last feature map"""
    att: Tensor | None = None
    """(B, R, D), the regions of the last feature map, row by row; None if not extracted"""
    mask: Tensor | None = None
    """(B, R) bool, False for a region that is padding; None if no region is padding"""


class State(NamedTuple):
    """The state of decoding between two tokens."""

    image: tuple[Tensor, ...]
    """tensors (B, ...) that depend on the image alone"""
    rows: tuple[Tensor, ...]
    """tensors (B, K, ...) of each hypothesis"""

    def expand(self, k: int) -> "State":
        """From one hypothesis an image to `k` equal ones."""
        return State(self.image, tuple(t.expand(-1, k, *t.shape[2:]) for t in self.rows))

    def reorder(self, parents: Tensor) -> "State":
        """Hypothesis j of image b continues hypothesis parents[b, j]; `parents` (B, K) int64."""
        b, k = parents.shape
        first = torch.arange(b, device=parents.device)[:, None] * self.rows[0].shape[1]
        rows = (first + parents).flatten()  # index_select is five times as fast as t[images, rows]
        selected = (t.flatten(0, 1).index_select(0, rows) for t in self.rows)
        return State(self.image, tuple(t.unflatten(0, (b, k)) for t in selected))

    def select_images(self, images: Tensor) -> "State":
        """The state of some images of the batch; `images` is (b,) int64 or (B,) bool."""
        return State(tuple(t[images] for t in self.image), tuple(t[images] for t in self.rows))


class Step(NamedTuple):
    """The output of one step for K hypotheses of each image."""

    log_probs: Tensor
    """(B, K, V + 1) of the next token; class 0 ends the caption"""
    state: State
    attention: Tensor | None
    """(B, K, R), sums to 1 over the regions; None for decoders without attention"""


class DecoderOutput(NamedTuple):
    """The output for the P tokens of a batch, image by image, caption by caption."""

    hidden: Tensor
    """(P, H)"""
    attention: Tensor | None
    """(P, R) when each token was read; None for decoders without attention"""
    state: State | None
    """after the last token; None if a token mask was given, since captions then end at different
    steps"""


@dataclass(frozen=True)
class Shape:
    """The sizes of a decoder, its dropout and its initialisation."""

    classes: int
    """V + 1: class 0 begins, ends and pads a caption"""
    features: int
    """D, the channels of fc and att"""
    embedding: int = 512
    hidden: int = 512
    layers: int = 1
    heads: int = 8
    regions: int = 0
    """R if the regions are the cells of a grid, whose positions are learned; 0 for a detector's"""
    dropout: float = 0.5
    position_std: float = 0.05
    """initial standard deviation of the position embedding"""
    attention: int = 0
    """A, the size of additive attention; 0: hidden"""
    decoder_layers: int = 0
    """layers over the tokens of a transformer; 0: as many as over the regions"""
    feed_forward: int = 0
    """width of a transformer's feed-forward layers; 0: 4 * hidden"""
    norm_eps: float = 1e-5
    """epsilon of a transformer's LayerNorm"""
    norm: str = "variance"
    """what a transformer's LayerNorm adds epsilon to: the "variance", or the unbiased standard
    "deviation", as self-critical.pytorch does"""
    region_projection: str = ""
    """after the linear layer of the regions: "relu", or "affine", a ReLU with a scale and a shift;
    "none" for regions without such a layer; "" for what the decoder's paper has"""
    sentinel_layers: bool = False
    """whether adaptive attention has self-critical.pytorch's layers on the sentinel, on the hidden
    state and after the attention, and reads fc instead of the mean region"""


class Decoder(nn.Module):
    """A word embedding, a recurrent or attention model, and a classifier over the vocabulary.

    A subclass defines `begin` and `decode_tokens`.
    """

    needs_regions: ClassVar[bool] = False
    doubly_stochastic_weight: ClassVar[float] = 0.0
    """of the attention regulariser of Show, Attend and Tell (section 4.2.1) in cross entropy"""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embed = nn.Embedding(shape.classes, shape.embedding)
        self.dropout = Dropout(shape.dropout)
        self.classify = Linear(shape.hidden, shape.classes)
        self.pos_embed = None
        if self.needs_regions and shape.regions:
            self.pos_embed = nn.Parameter(torch.empty(shape.regions, shape.features))
            nn.init.normal_(self.pos_embed, std=shape.position_std)

    def begin(self, features: Features) -> State:
        """The state before the first token, with K = 1."""
        raise NotImplementedError

    def decode_tokens(
        self, tokens: Tensor, state: State, token_mask: Tensor | None = None,
        need_attention: bool = False,
    ) -> DecoderOutput:  # fmt: skip
        """Read `tokens` (B, K, T) int64 after `state`: a single token, or all of a caption.

        `token_mask` (B, K, T) bool is True for the tokens to read, which come first in each
        caption; the output is that of tokens[token_mask], or of all tokens without a mask.
        Decoders for which attention weights cost extra return them only if `need_attention`.
        """
        raise NotImplementedError

    def teacher_force(
        self, features: Features, tokens: Tensor, token_mask: Tensor | None = None,
        need_attention: bool = False,
    ) -> DecoderOutput:  # fmt: skip
        """Read whole captions: `tokens` (B, K, T), the start token first.

        Returns hidden states (P, H) and attention (P, R) of tokens[token_mask]. A third of a batch
        of COCO captions is padding. A CPU does not compute it; on other devices computing it costs
        less than leaving it out.
        """
        state = self.begin(features).expand(tokens.shape[1])
        if token_mask is None:
            return self.decode_tokens(tokens, state, None, need_attention)
        if tokens.device.type == "cpu" and bool(token_mask[..., 0].all()):
            return self.decode_tokens(tokens, state, token_mask, need_attention)
        hidden, attention, _ = self.decode_tokens(tokens, state, None, need_attention)
        chosen = token_mask.flatten()
        return DecoderOutput(hidden[chosen], None if attention is None else attention[chosen], None)

    def regions(self, features: Features) -> tuple[Tensor, Tensor]:
        """The regions (B, R, D) and their mask (B, R). ValueError if there are no regions."""
        if features.att is None:
            raise ValueError(
                f"{type(self).__name__} attends to regions, but the features have none; "
                "extract them with --regions 7, or choose the decoder show_tell or newfc"
            )
        att, mask = features.att, features.mask
        if mask is None:
            mask = att.new_ones(att.shape[:2], dtype=torch.bool)
        if self.pos_embed is not None and len(self.pos_embed) != att.shape[1]:
            raise ValueError(
                f"this decoder was trained on a grid of {len(self.pos_embed)} regions, the features"
                f" have {att.shape[1]}; extract features with the same --regions"
            )
        return att, mask

    def project_regions(self, project: Linear, att: Tensor) -> Tensor:
        """Project regions (B, R, D) to (B, R, H), with a learned position embedding added.

        W (att + pos_embed) is computed as W att + W pos_embed, since the second product is the same
        for all images.
        """
        x = project(att)
        return x if self.pos_embed is None else x + F.linear(self.pos_embed, project.weight)

    def logits(self, hidden: Tensor) -> Tensor:
        """(..., H) to (..., V + 1)."""
        return self.classify(self.dropout(hidden))

    def step(self, tokens: Tensor, state: State) -> Step:
        """The distribution of the token after `tokens` (B, K)."""
        hidden, attention, state = self.decode_tokens(tokens[:, :, None], state, None, True)
        with torch.autocast(tokens.device.type, enabled=False):  # logits in bfloat16 would be equal
            logits = self.logits(hidden.to(self.classify.weight.dtype))
        log_probs = _log_softmax(logits).view(*tokens.shape, -1)
        attention = None if attention is None else attention.view(*tokens.shape, -1)
        return Step(log_probs, state, attention)

    def forward(self, features: Features, tokens: Tensor) -> Tensor:
        """Log-probabilities (B, K, T, V + 1) of the token after each of `tokens` (B, K, T)."""
        hidden = self.teacher_force(features, tokens).hidden
        return F.log_softmax(self.logits(hidden), -1).view(*tokens.shape, -1)


def _log_softmax(logits: Tensor) -> Tensor:
    """In place where nothing else needs the logits: less memory passes through the caches."""
    if torch.is_grad_enabled() or logits.device.type != "cpu" or torch.compiler.is_exporting():
        return F.log_softmax(logits, -1)
    return torch.log_softmax(logits, -1, out=logits)
