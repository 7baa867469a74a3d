"""Adaptive attention: a visual sentinel to look at when the next word needs no image.

Lu et al. 2017 (arXiv 1612.01887). Here attention follows the LSTM and does not feed it, so that
teacher forcing runs the LSTM first and then looks for all words at once.

The attention that `read` returns is alpha, over the regions only, whatever the sentinel's share.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from caption.models.base import Decoder, DecoderOutput, Features, Shape, State
from caption.models.layers.attention import AdditiveAttention, mean_region, mixed
from caption.models.layers.packing import PackedCaptions
from caption.models.layers.recurrence import DeferredWeightGrad, lstm_cell


class Adaptive(Decoder):
    needs_regions = True

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        e, h = shape.embedding, shape.hidden
        self.project = nn.Linear(shape.features, h)  # W_a
        self.project_mean = nn.Linear(shape.features, e)  # W_b
        self.attend = AdditiveAttention(h, h, h)
        self.sentinel_key = nn.Linear(h, h)  # W_s
        # the LSTM's four gates and the sentinel's, which has the same inputs
        self.from_word = nn.Linear(e, 5 * h)
        self.from_image = nn.Linear(e, 5 * h, bias=False)
        self.from_hidden = nn.Linear(h, 5 * h, bias=False)

    def begin(self, features: Features) -> State:
        att, mask = self.regions(features)
        values = self.dropout(self.project_regions(self.project, att).relu())  # (B, R, H)
        whole = mean_region(att, mask)  # (B, D)
        if self.pos_embed is not None:
            whole = whole + mean_region(self.pos_embed.expand_as(att), mask)
        whole = self.dropout(self.project_mean(whole).relu())
        zero = values.new_zeros(len(values), 1, self.shape.hidden)
        image = (self.from_image(whole), values, self.attend.key(values), mask)
        return State(image, (zero, zero))

    def decode_tokens(
        self, words: Tensor, state: State, attention: bool = False, real: Tensor | None = None
    ) -> DecoderOutput:
        image, values, keys, mask = state.image
        lines = PackedCaptions(words, real)
        x = self.from_word(self.dropout(self.embed(lines.words))) + lines.spread(image)
        gates = DeferredWeightGrad(x, self.from_hidden.weight, lines.counts)  # (P, 5H)
        h, c = lines.rows(state.rows)
        hiddens, sentinels = [], []
        for now in lines:
            h, c = now.keep(h, c)
            lstm, open_ = gates(h).split([4 * c.shape[-1], c.shape[-1]], -1)
            h, c = lstm_cell(lstm, c)
            hiddens.append(h)
            sentinels.append(open_.sigmoid() * c.tanh())
        hidden, sentinel = lines.told(hiddens), lines.told(sentinels)
        context, alpha = self._look(hidden, sentinel, values, keys, mask, lines.totals)
        return DecoderOutput(context + hidden, State(state.image, lines.grid((h, c))), alpha)

    def _look(
        self, hidden: Tensor, sentinel: Tensor, values: Tensor, keys: Tensor, mask: Tensor,
        shares: Sequence[int],
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Context (..., H): beta of the sentinel, the rest of the regions; and alpha (..., R).

        `hidden` and `sentinel` (..., H), image by image, `shares` of each.
        """
        query = self.attend.query(hidden)
        flat = query.flatten(0, -2)
        regions = self.attend.scores(flat, keys, mask, shares).view(*query.shape[:-1], -1)
        own = self.attend.score((self.sentinel_key(sentinel) + query).tanh())  # (..., 1)
        beta = torch.cat([regions, own], -1).softmax(-1)[..., -1:]
        alpha = regions.softmax(-1)
        seen = mixed(alpha.flatten(0, -2), values, shares).view_as(sentinel)
        return beta * sentinel + (1 - beta) * seen, alpha
