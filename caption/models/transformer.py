"""Transformer: layers over the regions, then layers over the tokens that attend to the regions.

Vaswani et al. 2017 (arXiv 1706.03762), with the normalisation before each block (Xiong et al. 2020,
arXiv 2002.04745), as captioning has used it since Sharma et al. 2018. Dropout is where the paper
has it: on the sum of embedding and position, and on each block's output; none on attention weights.

Tokens get the paper's sinusoids, so a caption may be of any length. Regions of a grid get a
learned position embedding (Shape.regions > 0); the regions of a detector get none.

A step computes the newest token only: State.rows caches the keys and values of the tokens so far.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from caption.models.base import Decoder, DecoderOutput, Features, Shape, State
from caption.models.layers.dropout import Dropout
from caption.models.layers.linear import Linear


class Attention(nn.Module):
    """Scaled dot-product attention with several heads."""

    def __init__(self, size: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = Linear(size, size)
        self.memory = Linear(size, 2 * size)  # keys and values
        self.merge = Linear(size, size)  # the output projection

    def project_kv(self, x: Tensor) -> tuple[Tensor, ...]:
        """(..., L, H) to the keys and the values of L positions, each (..., L, H)."""
        return self.memory(x).chunk(2, -1)

    def forward(self, query: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
        """Attend with `query` (N, L, H) to `keys`, `values` (N, M, H); before the projection.

        `mask` (N or 1, L or 1, M) bool is False where attention is not allowed.
        """
        q, k, v = (self._split_heads(t) for t in (query, keys, values))
        if q.device.type == "cpu":  # PyTorch's kernel takes up to 13 times as long at these sizes
            out = _softmax_of_scores(q, k, mask) @ v
        else:
            out = F.scaled_dot_product_attention(q, k, v, mask[:, None])
        return out.transpose(1, 2).flatten(2)

    def weights(self, query: Tensor, keys: Tensor, mask: Tensor) -> Tensor:
        """The attention weights (N, L, M), averaged over the heads."""
        q, k = self._split_heads(query), self._split_heads(keys)
        return _softmax_of_scores(q, k, mask).mean(1)

    def _split_heads(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)  # (N, heads, L, H / heads)


def _softmax_of_scores(query: Tensor, keys: Tensor, mask: Tensor) -> Tensor:
    """Queries (N, heads, L, H / heads), keys (N, heads, M, H / heads), a mask (N or 1, L or 1, M)
    to (N, heads, L, M)."""
    scores = query * query.shape[-1] ** -0.5 @ keys.mT
    bias = torch.zeros(mask.shape, dtype=scores.dtype, device=mask.device)
    return scores.add_(bias.masked_fill_(~mask, -torch.inf)[:, None]).softmax(-1)


class EncoderLayer(nn.Module):
    """Self-attention over the regions."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.norms = nn.ModuleList(layer_norm(shape) for _ in range(2))
        self.regions = Attention(shape.hidden, shape.heads)
        self.feed = feed_forward(shape)
        self.dropout = Dropout(shape.dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """`x` (B, R, H), `mask` (B, 1, R)"""
        y = self.norms[0](x)
        attended = self.regions(self.regions.query(y), *self.regions.project_kv(y), mask)
        x = x + self.dropout(self.regions.merge(attended))
        return x + self.dropout(self.feed(self.norms[1](x)))


class DecoderLayer(nn.Module):
    """Causal self-attention over the tokens, then cross-attention to the regions."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.norms = nn.ModuleList(layer_norm(shape) for _ in range(3))
        self.words = Attention(shape.hidden, shape.heads)
        self.regions = Attention(shape.hidden, shape.heads)
        self.feed = feed_forward(shape)
        self.dropout = Dropout(shape.dropout)

    def self_attend(
        self, x: Tensor, keys: Tensor, values: Tensor, layout: "TokenLayout"
    ) -> tuple[Tensor, Tensor, Tensor]:
        """`x` (P, H) attends to the t cached tokens (B, K, t, H) and to the tokens up to itself.

        Returns x and the extended cache of keys and values.
        """
        y = self.norms[0](x)
        query, *new = (layout.unpack(t) for t in (self.words.query(y), *self.words.project_kv(y)))
        keys, values = torch.cat([keys, new[0]], 2), torch.cat([values, new[1]], 2)
        causal = x.new_ones(query.shape[2], keys.shape[2], dtype=torch.bool)  # (T, t + T)
        causal = causal.tril(keys.shape[2] - query.shape[2])[None]
        attended = self.words(*(t.flatten(0, 1) for t in (query, keys, values)), causal)
        return x + self.dropout(self.words.merge(layout.pack(attended))), keys, values

    def cross_attend(
        self, x: Tensor, keys: Tensor, values: Tensor, mask: Tensor, layout: "TokenLayout"
    ) -> Tensor:
        """`x` (P, H) attends to the regions: `keys`, `values` (B, R, H), `mask` (B, 1, R)."""
        query = layout.unpack(self.regions.query(self.norms[1](x)))
        attended = self.regions(query.flatten(1, 2), keys, values, mask)
        x = x + self.dropout(self.regions.merge(layout.pack(attended)))
        return x + self.dropout(self.feed(self.norms[2](x)))

    def cross_attention_weights(
        self, x: Tensor, keys: Tensor, mask: Tensor, layout: "TokenLayout"
    ) -> Tensor:
        """The weights (P, R) of `cross_attend` with the same arguments."""
        query = layout.unpack(self.regions.query(self.norms[1](x)))
        return layout.pack(self.regions.weights(query.flatten(1, 2), keys, mask))


class TokenLayout:
    """Where the P packed tokens stand in the batch (B, K, T). Only attention needs to know."""

    def __init__(self, tokens: Tensor, token_mask: Tensor | None) -> None:
        self.shape = tokens.shape
        self.index = None if token_mask is None else token_mask.flatten().nonzero()[:, 0]

    def unpack(self, x: Tensor) -> Tensor:
        """(P, H) to (B, K, T, H), 0 for padding."""
        if self.index is not None:
            x = x.new_zeros(self.shape.numel(), x.shape[1]).index_copy(0, self.index, x)
        return x.view(*self.shape, -1)

    def pack(self, x: Tensor) -> Tensor:
        """(..., H) of all B * K * T positions to (P, H)."""
        x = x.flatten(0, -2)
        return x if self.index is None else x.index_select(0, self.index)


class Transformer(Decoder):
    """`shape.layers` layers over the regions, and as many over the tokens by default."""

    needs_regions = True

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        size = shape.hidden
        if shape.embedding != size or size % (2 * shape.heads):
            raise ValueError(
                f"transformer: --embedding {shape.embedding} must equal --hidden {size}, which "
                f"must be a multiple of {2 * shape.heads} (twice the number of heads)"
            )
        self.project = Linear(shape.features, size)
        if shape.region_projection == "affine":
            self.region_scale = nn.Parameter(torch.ones(size))
            self.region_shift = nn.Parameter(torch.zeros(size))
        self.encoder = nn.ModuleList(EncoderLayer(shape) for _ in range(shape.layers))
        self.encoded = layer_norm(shape)
        depth = shape.decoder_layers or shape.layers
        self.decoder = nn.ModuleList(DecoderLayer(shape) for _ in range(depth))
        self.decoded = layer_norm(shape)
        for name, weight in self.named_parameters():
            if weight.dim() > 1 and name != "pos_embed":
                nn.init.xavier_uniform_(weight)
        nn.init.normal_(self.embed.weight, std=size**-0.5)  # times sqrt(size) below: variance 1

    def begin(self, features: Features) -> State:
        att, mask = self.regions(features)
        mask = mask[:, None]
        x = self.project_regions(self.project, att)  # (B, R, H)
        x = x.relu() if self.shape.region_projection in ("relu", "affine") else x
        x = self.dropout(x)
        if self.shape.region_projection == "affine":
            x = x * self.region_scale + self.region_shift
        for layer in self.encoder:
            x = layer(x, mask)
        x = self.encoded(x)
        image = [t for layer in self.decoder for t in layer.regions.project_kv(x)]
        empty = x.new_zeros(x.shape[0], 1, 0, self.shape.hidden)
        return State((mask, *image), (empty,) * len(image))

    def logits(self, hidden: Tensor) -> Tensor:
        return self.classify(hidden)  # the paper has no dropout here

    def decode_tokens(
        self, tokens: Tensor, state: State, token_mask: Tensor | None = None,
        need_attention: bool = False,
    ) -> DecoderOutput:  # fmt: skip
        mask, *image = state.image
        layout, size = TokenLayout(tokens, token_mask), self.shape.hidden
        x = self.embed(tokens) * math.sqrt(size)
        x = x + sinusoids(state.rows[0].shape[2], tokens.shape[2], size, x)
        x = self.dropout(layout.pack(x))  # (P, H)
        cache, weights = [], None
        for i, layer in enumerate(self.decoder):
            keys, values = image[2 * i : 2 * i + 2]
            x, *extended = layer.self_attend(x, *state.rows[2 * i : 2 * i + 2], layout)
            cache += extended
            if need_attention and i == len(self.decoder) - 1:
                weights = layer.cross_attention_weights(x, keys, mask, layout)
            x = layer.cross_attend(x, keys, values, mask, layout)
        state = State(state.image, tuple(cache)) if token_mask is None else None
        return DecoderOutput(self.decoded(x), weights, state)


def feed_forward(shape: Shape) -> nn.Module:
    size, width = shape.hidden, shape.feed_forward or 4 * shape.hidden
    return nn.Sequential(Linear(size, width), nn.ReLU(), Linear(width, size))


def layer_norm(shape: Shape) -> nn.Module:
    kind = DeviationNorm if shape.norm == "deviation" else nn.LayerNorm
    return kind(shape.hidden, shape.norm_eps)


class DeviationNorm(nn.LayerNorm):
    """LayerNorm that divides by the unbiased standard deviation plus epsilon."""

    def forward(self, x: Tensor) -> Tensor:
        scaled = (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + self.eps)
        return self.weight * scaled + self.bias


def sinusoids(start: int, count: int, size: int, like: Tensor) -> Tensor:
    """Section 3.5: `count` positions from `start` on, (count, size), with dtype and device of
    `like`."""
    positions = torch.arange(start, start + count, device=like.device, dtype=like.dtype)
    exponents = torch.arange(0, size, 2, device=like.device, dtype=like.dtype) / size
    angles = positions[:, None] / 10000**exponents
    return torch.stack([angles.sin(), angles.cos()], 2).flatten(1)
