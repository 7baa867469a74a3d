"""Show, Attend and Tell: before each word, look at the regions that the word needs.

Xu et al. 2015 (arXiv 1502.03044), the deterministic "soft" attention with the gate beta and the
deep output. The regions are first projected to H (the paper's had 512 channels already).

The doubly stochastic term of section 4.2.1 wants the attention of all words: `attended`.
"""

import torch
from torch import Tensor, nn

from caption.models.base import Decoder, DecoderOutput, Features, Shape, State
from caption.models.layers.attention import AdditiveAttention, mean_region
from caption.models.layers.packing import PackedCaptions
from caption.models.layers.recurrence import DeferredWeightGrad, lstm_cell


class ShowAttendTell(Decoder):
    needs_regions = True

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        e, h = shape.embedding, shape.hidden
        self.project = nn.Linear(shape.features, h)
        self.attend = AdditiveAttention(h, h, h)
        self.gate = nn.Linear(h, 1)  # f_beta
        self.first = nn.Linear(h, 2 * h)  # f_init of h and of c
        self.from_word = nn.Linear(e, 4 * h)
        self.recur = nn.Linear(2 * h, 4 * h, bias=False)  # from z and h
        self.deep = nn.Linear(e + 2 * h, h)

    def begin(self, features: Features) -> State:
        att, mask = self.regions(features)
        values = self.dropout(self.project_regions(self.project, att).relu())  # (B, R, H)
        h, c = self.first(mean_region(values, mask)).tanh()[:, None].chunk(2, -1)
        return State((self.attend.key(values), values, mask), (h, c))

    def decode_tokens(
        self, words: Tensor, state: State, attention: bool = False, real: Tensor | None = None
    ) -> DecoderOutput:
        keys, values, mask = state.image
        lines = PackedCaptions(words, real)
        h, c = lines.rows(state.rows)
        embedded = self.dropout(self.embed(lines.words))  # (P, E)
        gates = DeferredWeightGrad(self.from_word(embedded), self.recur.weight, lines.counts)
        look = self.attend.over(keys, values, mask, lines.counts)
        hiddens, contexts, looks = [], [], []
        for now in lines:
            h, c = now.keep(h, c)
            z, weights = look(h, now.shares)
            z = self.gate(h).sigmoid() * z
            h, c = lstm_cell(gates(torch.cat([z, h], -1)), c)
            hiddens.append(h)
            contexts.append(z)
            looks.append(weights)
        told = torch.cat([embedded, torch.cat(hiddens), torch.cat(contexts)], -1)
        state = State(state.image, lines.grid((h, c)))
        return DecoderOutput(lines.told(self.deep(told).tanh()), state, lines.told(looks))
