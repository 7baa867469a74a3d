"""Adaptive attention: a visual sentinel is attended to when the next word needs no image.

Lu et al. 2017 (arXiv 1612.01887). Attention follows the LSTM and is no input of it, so that teacher
forcing runs the LSTM first and then attends for all tokens at once.

The attention that `decode_tokens` returns is alpha, over the regions only, whatever the weight of
the sentinel.

With Shape.sentinel_layers it is the adaatt of self-critical.pytorch: the sentinel and the hidden
state pass a layer each before they are attended to and added, a layer follows, and the LSTM reads
fc instead of the mean region.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from caption.models.base import Decoder, DecoderOutput, Features, Shape, State
from caption.models.layers.attention import AdditiveAttention, mean_region, weighted_sum
from caption.models.layers.linear import Linear
from caption.models.layers.packing import pack
from caption.models.layers.recurrence import lstm_cell, recurrent_gates


class Adaptive(Decoder):
    needs_regions = True

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        e, h = shape.embedding, shape.hidden
        self.project = Linear(shape.features, h)  # W_a
        self.project_mean = Linear(shape.features, e)  # W_b
        self.attend = AdditiveAttention(h, h, shape.attention or h)
        self.sentinel_key = Linear(h, h)  # W_s
        # the four gates of the LSTM and that of the sentinel, which has the same inputs
        self.from_word = Linear(e, 5 * h)
        self.from_image = Linear(e, 5 * h, bias=False)
        self.from_hidden = Linear(h, 5 * h, bias=False)
        if shape.sentinel_layers:
            self.sentinel_layer, self.hidden_layer, self.merge = (Linear(h, h) for _ in range(3))
        if shape.region_projection == "affine":
            self.region_scale = nn.Parameter(torch.ones(h))
            self.region_shift = nn.Parameter(torch.zeros(h))

    def begin(self, features: Features) -> State:
        att, mask = self.regions(features)
        values = self.dropout(self.project_regions(self.project, att).relu())  # (B, R, H)
        if self.shape.region_projection == "affine":
            values = values * self.region_scale + self.region_shift
        mean = features.fc if self.shape.sentinel_layers else self._mean(att, mask)  # (B, D)
        mean = self.dropout(self.project_mean(mean).relu())
        zero = values.new_zeros(values.shape[0], 1, self.shape.hidden)
        image = (self.from_image(mean), values, self.attend.key(values), mask)
        return State(image, (zero, zero))

    def _mean(self, att: Tensor, mask: Tensor) -> Tensor:
        mean = mean_region(att, mask)
        if self.pos_embed is None:
            return mean
        return mean + mean_region(self.pos_embed.expand_as(att), mask)

    def decode_tokens(
        self, tokens: Tensor, state: State, token_mask: Tensor | None = None,
        need_attention: bool = False,
    ) -> DecoderOutput:  # fmt: skip
        image, values, keys, mask = state.image
        packed = pack(tokens, token_mask)
        x = self.from_word(self.dropout(self.embed(packed.tokens)))
        x = x + packed.expand_to_tokens(image)
        gates = recurrent_gates(x, self.from_hidden, packed.counts)  # (P, 5H)
        h, c = packed.initial_rows(state.rows)
        hiddens, sentinels = [], []
        for time_step in packed:
            h, c = time_step.select(h, c)
            lstm_gates, sentinel_gate = gates(h).split([4 * c.shape[-1], c.shape[-1]], -1)
            h, c = lstm_cell(lstm_gates, c)
            hiddens.append(h)
            sentinels.append(sentinel_gate.sigmoid() * c.tanh())
        hidden, sentinel = packed.unpack(hiddens), packed.unpack(sentinels)  # (P, H)
        if self.shape.sentinel_layers:
            sentinel = self.dropout(self.sentinel_layer(self.dropout(sentinel)).relu())
            hidden = self.dropout(self.hidden_layer(self.dropout(hidden)).tanh())
        context, alpha = self._attend(hidden, sentinel, values, keys, mask, packed.tokens_per_image)
        found = context + hidden
        if self.shape.sentinel_layers:
            found = self.merge(found).tanh()
        rows = packed.final_rows((h, c))
        return DecoderOutput(found, alpha, rows and State(state.image, rows))

    def _attend(
        self, hidden: Tensor, sentinel: Tensor, values: Tensor, keys: Tensor, mask: Tensor,
        rows_per_image: Sequence[int],
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Context (P, H), beta of it the sentinel's, and alpha (P, R)."""
        query = self.attend.query(hidden)
        regions = self.attend.scores(query, keys, mask, rows_per_image)
        own = self.attend.score((self.sentinel_key(sentinel) + query).tanh())  # (P, 1)
        beta = torch.cat([regions, own], -1).softmax(-1)[..., -1:]
        alpha = regions.softmax(-1)
        context = weighted_sum(alpha, values, rows_per_image)
        return beta * sentinel + (1 - beta) * context, alpha
