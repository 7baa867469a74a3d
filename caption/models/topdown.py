"""Top-Down: an attention LSTM chooses regions, a language LSTM chooses words.

Anderson et al. 2018 (arXiv 1707.07998); "Up-Down" or "updown" in other repositories.
"""

import torch
from torch import Tensor, nn

from caption.models.base import Decoder, DecoderOutput, Features, Shape, State
from caption.models.layers.attention import AdditiveAttention
from caption.models.layers.linear import Linear
from caption.models.layers.packing import pack
from caption.models.layers.recurrence import lstm_cell, recurrent_gates


class TopDown(Decoder):
    needs_regions = True

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        e, h = shape.embedding, shape.hidden
        self.project_fc = Linear(shape.features, h)
        self.project_att = Linear(shape.features, h)
        self.attend = AdditiveAttention(h, h, shape.attention or h)
        # The inputs of the attention LSTM are summed, not concatenated: the products with the image
        # and the words are computed once, outside the loop over time.
        self.from_word = Linear(e, 4 * h)
        self.from_image = Linear(h, 4 * h, bias=False)
        self.from_hidden = Linear(2 * h, 4 * h, bias=False)
        self.language = Linear(3 * h, 4 * h)
        # Half-open gates pass a quarter of the signal, two LSTMs a sixteenth. With the initial
        # weights of nn.LSTM a word hardly changes the logits, and for an epoch the decoder learns
        # nothing but word frequencies.
        for linear in (self.from_word, self.from_image, self.from_hidden, self.language):
            nn.init.uniform_(linear.weight, -4 * h**-0.5, 4 * h**-0.5)

    def begin(self, features: Features) -> State:
        att, mask = self.regions(features)
        fc = self.dropout(self.project_fc(features.fc).relu())
        values = self.dropout(self.project_regions(self.project_att, att).relu())  # (B, R, H)
        image = (self.from_image(fc), values, self.attend.key(values), mask)
        zero = fc.new_zeros(fc.shape[0], 1, self.shape.hidden)
        return State(image, (zero, zero, zero, zero))

    def decode_tokens(
        self, tokens: Tensor, state: State, token_mask: Tensor | None = None,
        need_attention: bool = False,
    ) -> DecoderOutput:  # fmt: skip
        image, values, keys, mask = state.image
        packed = pack(tokens, token_mask)
        x = self.dropout(self.embed(packed.tokens).relu())
        x = self.from_word(x) + packed.expand_to_tokens(image)  # (P, 4H)
        attention_gates = recurrent_gates(x, self.from_hidden, packed.counts)
        bias = self.language.bias.expand(x.shape)
        language_gates = recurrent_gates(bias, self.language, packed.counts)
        rows = packed.initial_rows(state.rows)
        attend = self.attend.attend_steps(keys, values, mask, packed.counts)
        outputs, attention = [], []
        for time_step in packed:
            h1, c1, h2, c2 = time_step.select(*rows)  # 1: attention LSTM, 2: language LSTM
            h1, c1 = lstm_cell(attention_gates(torch.cat([h2, h1], -1)), c1)
            context, weights = attend(h1, time_step.rows_per_image)
            h2, c2 = lstm_cell(language_gates(torch.cat([context, h1, h2], -1)), c2)
            rows = h1, c1, h2, c2
            outputs.append(h2)
            attention.append(weights)
        rows = packed.final_rows(rows)
        state = rows and State(state.image, rows)
        return DecoderOutput(packed.unpack(outputs), packed.unpack(attention), state)
