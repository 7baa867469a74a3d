"""Att2in: the attended regions enter the LSTM's candidate only, never its gates.

Rennie et al. 2017 (arXiv 1612.00563), section 2.2. Dropout and ReLU are where
self-critical.pytorch has them in its att2in2. Its att2in, which attends to the regions as they are
and has no ReLU, is Shape.region_projection "none".
"""

from torch import Tensor

from caption.models.base import Decoder, DecoderOutput, Features, Shape, State
from caption.models.layers.attention import AdditiveAttention
from caption.models.layers.linear import Linear
from caption.models.layers.packing import pack
from caption.models.layers.recurrence import maxout_cell, recurrent_gates


class Att2in(Decoder):
    needs_regions = True

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        h = shape.hidden
        self.projects = shape.region_projection != "none"
        values = h if self.projects else shape.features
        self.project = Linear(shape.features, h) if self.projects else None
        self.attend = AdditiveAttention(values, h, shape.attention or h)
        self.from_word = Linear(shape.embedding, 5 * h)
        self.from_hidden = Linear(h, 5 * h, bias=False)
        self.from_seen = Linear(values, 2 * h)

    def begin(self, features: Features) -> State:
        att, mask = self.regions(features)
        if self.projects:
            values = self.dropout(self.project_regions(self.project, att).relu())  # (B, R, H)
        else:
            values = att if self.pos_embed is None else att + self.pos_embed  # (B, R, D)
        zero = values.new_zeros(values.shape[0], 1, self.shape.hidden)
        return State((values, self.attend.key(values), mask), (zero, zero))

    def decode_tokens(
        self, tokens: Tensor, state: State, token_mask: Tensor | None = None,
        need_attention: bool = False,
    ) -> DecoderOutput:  # fmt: skip
        values, keys, mask = state.image
        packed = pack(tokens, token_mask)
        h, c = packed.initial_rows(state.rows)
        x = self.embed(packed.tokens)
        x = self.from_word(self.dropout(x.relu() if self.projects else x))
        gates = recurrent_gates(x, self.from_hidden, packed.counts)  # (P, 5H)
        bias = self.from_seen.bias.expand(x.shape[0], -1)
        candidates = recurrent_gates(bias, self.from_seen, packed.counts)
        attend = self.attend.attend_steps(keys, values, mask, packed.counts)
        outputs, attention = [], []
        for time_step in packed:
            h, c = time_step.select(h, c)
            context, weights = attend(h, time_step.rows_per_image)
            h, c = maxout_cell(gates(h), c, candidates(context))
            outputs.append(h)
            attention.append(weights)
        rows = packed.final_rows((h, c))
        state = rows and State(state.image, rows)
        return DecoderOutput(packed.unpack(outputs), packed.unpack(attention), state)
