"""Show, Attend and Tell: before each word, the decoder attends to regions.

Xu et al. 2015 (arXiv 1502.03044), the deterministic "soft" attention with the gate beta and the
deep output. The regions are first projected to H; the paper's had 512 channels already.
"""

import torch
from torch import Tensor

from caption.models.base import Decoder, DecoderOutput, Features, Shape, State
from caption.models.layers.attention import AdditiveAttention, mean_region
from caption.models.layers.linear import Linear
from caption.models.layers.packing import pack
from caption.models.layers.recurrence import lstm_cell, recurrent_gates


class ShowAttendTell(Decoder):
    needs_regions = True
    doubly_stochastic_weight = 1.0  # as in the code of the paper

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        e, h = shape.embedding, shape.hidden
        self.project = Linear(shape.features, h)
        self.attend = AdditiveAttention(h, h, shape.attention or h)
        self.gate = Linear(h, 1)  # f_beta
        self.first = Linear(h, 2 * h)  # f_init of h and of c
        self.from_word = Linear(e, 4 * h)
        self.recur = Linear(2 * h, 4 * h, bias=False)  # from the context z and h
        self.deep = Linear(e + 2 * h, h)

    def begin(self, features: Features) -> State:
        att, mask = self.regions(features)
        values = self.dropout(self.project_regions(self.project, att).relu())  # (B, R, H)
        h, c = self.first(mean_region(values, mask)).tanh()[:, None].chunk(2, -1)
        return State((self.attend.key(values), values, mask), (h, c))

    def decode_tokens(
        self, tokens: Tensor, state: State, token_mask: Tensor | None = None,
        need_attention: bool = False,
    ) -> DecoderOutput:  # fmt: skip
        keys, values, mask = state.image
        packed = pack(tokens, token_mask)
        h, c = packed.initial_rows(state.rows)
        embedded = self.dropout(self.embed(packed.tokens))  # (P, E)
        gates = recurrent_gates(self.from_word(embedded), self.recur, packed.counts)
        attend = self.attend.attend_steps(keys, values, mask, packed.counts)
        hiddens, contexts, attention = [], [], []
        for time_step in packed:
            h, c = time_step.select(h, c)
            z, weights = attend(h, time_step.rows_per_image)
            z = self.gate(h).sigmoid() * z
            h, c = lstm_cell(gates(torch.cat([z, h], -1)), c)
            hiddens.append(h)
            contexts.append(z)
            attention.append(weights)
        deep = torch.cat([embedded, torch.cat(hiddens), torch.cat(contexts)], -1)
        hidden = packed.unpack(self.deep(deep).tanh())
        rows = packed.final_rows((h, c))
        state = rows and State(state.image, rows)
        return DecoderOutput(hidden, packed.unpack(attention), state)
