"""Transformer: layers over the regions, then layers over the words that look at them.

Vaswani et al. 2017 (arXiv 1706.03762), with the norm before each block (Xiong et al. 2020, arXiv
2002.04745), as captioners use it since Sharma et al. 2018. Dropout where the paper has it: on the
sum of embedding and position, and on each block's output; none on attention weights.

Words get the paper's sinusoids, so a caption may be of any length. The regions of a grid get a
learned position (Shape.regions > 0); the regions of a detector are a set and get none.

A step works on the newest word only: State.rows holds the keys and values of the words so far.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from caption.models.base import Decoder, DecoderOutput, Features, Shape, State


class Attention(nn.Module):
    """Scaled dot-product attention of several heads."""

    def __init__(self, size: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(size, size)
        self.memory = nn.Linear(size, 2 * size)
        self.merge = nn.Linear(size, size)

    def remember(self, x: Tensor) -> tuple[Tensor, ...]:
        """(..., L, H) to the keys and the values of L places, each (..., L, H)."""
        return self.memory(x).chunk(2, -1)

    def forward(self, query: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
        """`query` (N, L, H) looks at `keys`, `values` (N, M, H) where `mask` (N or 1, L or 1, M).

        Before `merge`.
        """
        q, k, v = (self._split(t) for t in (query, keys, values))
        out = F.scaled_dot_product_attention(q, k, v, mask[:, None])
        return out.transpose(1, 2).flatten(2)

    def weights(self, query: Tensor, keys: Tensor, mask: Tensor) -> Tensor:
        """How `query` (N, L, H) looks at `keys` (N, M, H): the mean of the heads, (N, L, M)."""
        q, k = self._split(query), self._split(keys)
        scores = q @ k.transpose(2, 3) / math.sqrt(q.shape[3])
        return scores.masked_fill(~mask[:, None], -torch.inf).softmax(-1).mean(1)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)  # (N, heads, L, H / heads)


class EncoderLayer(nn.Module):
    """Regions look at regions."""

    def __init__(self, size: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(size) for _ in range(2))
        self.regions = Attention(size, heads)
        self.feed = feed_forward(size)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """`x` (B, R, H), `mask` (B, 1, R)"""
        y = self.norms[0](x)
        seen = self.regions(self.regions.query(y), *self.regions.remember(y), mask)
        x = x + self.dropout(self.regions.merge(seen))
        return x + self.dropout(self.feed(self.norms[1](x)))


class DecoderLayer(nn.Module):
    """Words look at the words before them, then at the regions."""

    def __init__(self, size: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(size) for _ in range(3))
        self.words = Attention(size, heads)
        self.regions = Attention(size, heads)
        self.feed = feed_forward(size)
        self.dropout = nn.Dropout(dropout)

    def listen(
        self, x: Tensor, keys: Tensor, values: Tensor, places: "Places"
    ) -> tuple[Tensor, Tensor, Tensor]:
        """`x` (P, H) looks at the t words of the cache (B, K, t, H) and at itself.

        Returns x and the longer cache.
        """
        y = self.norms[0](x)
        query, *new = (places.spread(t) for t in (self.words.query(y), *self.words.remember(y)))
        keys, values = torch.cat([keys, new[0]], 2), torch.cat([values, new[1]], 2)
        order = x.new_ones(query.shape[2], keys.shape[2], dtype=torch.bool)  # (T, t + T)
        order = order.tril(keys.shape[2] - query.shape[2])[None]
        seen = self.words(*(t.flatten(0, 1) for t in (query, keys, values)), order)
        return x + self.dropout(self.words.merge(places.gather(seen))), keys, values

    def look(
        self, x: Tensor, keys: Tensor, values: Tensor, mask: Tensor, places: "Places"
    ) -> Tensor:
        """`x` (P, H) looks at the regions: `keys`, `values` (B, R, H), `mask` (B, 1, R)."""
        query = places.spread(self.regions.query(self.norms[1](x)))
        seen = self.regions(query.flatten(1, 2), keys, values, mask)  # an image's captions share
        x = x + self.dropout(self.regions.merge(places.gather(seen)))
        return x + self.dropout(self.feed(self.norms[2](x)))

    def gaze(self, x: Tensor, keys: Tensor, mask: Tensor, places: "Places") -> Tensor:
        """The weights (B, K, T, R) that `look` gives the regions, from the same arguments."""
        query = places.spread(self.regions.query(self.norms[1](x)))
        return self.regions.weights(query.flatten(1, 2), keys, mask).view(*query.shape[:3], -1)


class Places:
    """Where P words stand in the batch (B, K, T): only attention needs to know."""

    def __init__(self, words: Tensor, real: Tensor | None) -> None:
        self.shape = words.shape
        self.where = None if real is None else real.flatten().nonzero()[:, 0]

    def spread(self, x: Tensor) -> Tensor:
        """(P, H) to (B, K, T, H), 0 where there is no word."""
        if self.where is not None:
            x = x.new_zeros(self.shape.numel(), x.shape[1]).index_copy(0, self.where, x)
        return x.view(*self.shape, -1)

    def gather(self, x: Tensor) -> Tensor:
        """(..., H) of all of the batch to (P, H)."""
        x = x.flatten(0, -2)
        return x if self.where is None else x.index_select(0, self.where)


class Transformer(Decoder):
    """`shape.layers` layers over the regions and as many over the words."""

    needs_regions = True

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        size, sizes = shape.hidden, (shape.hidden, shape.heads, shape.dropout)
        if shape.embedding != size or size % (2 * shape.heads):
            raise ValueError(
                f"transformer: embedding {shape.embedding} must equal hidden {size}, "
                f"an even multiple of heads {shape.heads}"
            )
        self.project = nn.Linear(shape.features, size)
        self.encoder = nn.ModuleList(EncoderLayer(*sizes) for _ in range(shape.layers))
        self.encoded = nn.LayerNorm(size)
        self.decoder = nn.ModuleList(DecoderLayer(*sizes) for _ in range(shape.layers))
        self.decoded = nn.LayerNorm(size)
        for name, weight in self.named_parameters():
            if weight.dim() > 1 and name != "pos_embed":
                nn.init.xavier_uniform_(weight)
        nn.init.normal_(self.embed.weight, std=size**-0.5)  # times sqrt(size) below: variance 1

    def begin(self, features: Features) -> State:
        att, mask = self.regions(features)
        mask = mask[:, None]
        x = self.dropout(self.project_regions(self.project, att))  # (B, R, H)
        for layer in self.encoder:
            x = layer(x, mask)
        x = self.encoded(x)
        image = [t for layer in self.decoder for t in layer.regions.remember(x)]
        nothing = x.new_zeros(len(x), 1, 0, self.shape.hidden)
        return State((mask, *image), (nothing,) * len(image))

    def logits(self, hidden: Tensor) -> Tensor:
        return self.classify(hidden)  # the paper drops nothing here

    def decode_tokens(
        self, words: Tensor, state: State, attention: bool = False, real: Tensor | None = None
    ) -> DecoderOutput:
        mask, *image = state.image
        places, size = Places(words, real), self.shape.hidden
        x = self.embed(words) * math.sqrt(size)
        x = x + sinusoids(state.rows[0].shape[2], words.shape[2], size, x)
        x = self.dropout(places.gather(x))  # (P, H)
        rows = []
        for i, layer in enumerate(self.decoder):
            keys, values = image[2 * i : 2 * i + 2]
            x, *cache = layer.listen(x, *state.rows[2 * i : 2 * i + 2], places)
            rows += cache
            last = attention and i == len(self.decoder) - 1
            gaze = layer.gaze(x, keys, mask, places) if last else None
            x = layer.look(x, keys, values, mask, places)
        x = self.decoded(x)
        if real is None:
            return DecoderOutput(places.spread(x), State(state.image, tuple(rows)), gaze)
        return DecoderOutput(x, State((), ()), None if gaze is None else gaze[real])


def feed_forward(size: int) -> nn.Module:
    return nn.Sequential(nn.Linear(size, 4 * size), nn.ReLU(), nn.Linear(4 * size, size))


def sinusoids(start: int, count: int, size: int, like: Tensor) -> Tensor:
    """Positions `start` and on, (count, size), of the dtype and device of `like`: section 3.5."""
    where = torch.arange(start, start + count, device=like.device, dtype=like.dtype)
    exponents = torch.arange(0, size, 2, device=like.device, dtype=like.dtype) / size
    angles = where[:, None] / 10000**exponents
    return torch.stack([angles.sin(), angles.cos()], 2).flatten(1)
