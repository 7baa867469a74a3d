"""Top-Down: one LSTM decides where to look, a second one what to say.

Anderson et al. 2018 (arXiv 1707.07998), "Up-Down" or "topdown" elsewhere.
"""

import torch
from torch import Tensor, nn

from caption.models.base import Decoder, DecoderOutput, Features, Shape, State
from caption.models.layers.attention import AdditiveAttention
from caption.models.layers.packing import PackedCaptions
from caption.models.layers.recurrence import DeferredWeightGrad, lstm_cell


class TopDown(Decoder):
    needs_regions = True

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        e, h = shape.embedding, shape.hidden
        self.project_fc = nn.Linear(shape.features, h)
        self.project_att = nn.Linear(shape.features, h)
        self.attend = AdditiveAttention(h, h, h)
        # the inputs of the attention LSTM are summed, not concatenated: what is known before the
        # first step (image, words) is multiplied once, outside the loop over time
        self.from_word = nn.Linear(e, 4 * h)
        self.from_image = nn.Linear(h, 4 * h, bias=False)
        self.from_hidden = nn.Linear(2 * h, 4 * h, bias=False)
        self.language = nn.Linear(3 * h, 4 * h)
        # gates half open pass a quarter on, two LSTMs a sixteenth: with nn.LSTM's first weights a
        # word hardly moves the logits, and learning waits for an epoch at the words' frequencies
        for linear in (self.from_word, self.from_image, self.from_hidden, self.language):
            nn.init.uniform_(linear.weight, -4 * h**-0.5, 4 * h**-0.5)

    def begin(self, features: Features) -> State:
        att, mask = self.regions(features)
        fc = self.dropout(self.project_fc(features.fc).relu())
        values = self.dropout(self.project_regions(self.project_att, att).relu())  # (B, R, H)
        image = (self.from_image(fc), values, self.attend.key(values), mask)
        zero = fc.new_zeros(len(fc), 1, self.shape.hidden)
        return State(image, (zero, zero, zero, zero))

    def decode_tokens(
        self, words: Tensor, state: State, attention: bool = False, real: Tensor | None = None
    ) -> DecoderOutput:
        image, values, keys, mask = state.image
        lines = PackedCaptions(words, real)
        x = self.dropout(self.embed(lines.words).relu())
        x = self.from_word(x) + lines.spread(image)  # (P, 4H)
        attend = DeferredWeightGrad(x, self.from_hidden.weight, lines.counts)
        bias = self.language.bias.expand(x.shape)
        speak = DeferredWeightGrad(bias, self.language.weight, lines.counts)
        rows = lines.rows(state.rows)
        look = self.attend.over(keys, values, mask, lines.counts)
        outputs, looks = [], []
        for now in lines:
            h1, c1, h2, c2 = now.keep(*rows)
            h1, c1 = lstm_cell(attend(torch.cat([h2, h1], -1)), c1)
            seen, weights = look(h1, now.shares)
            h2, c2 = lstm_cell(speak(torch.cat([seen, h1, h2], -1)), c2)
            rows = h1, c1, h2, c2
            outputs.append(h2)
            looks.append(weights)
        state = State(state.image, lines.grid(rows))
        return DecoderOutput(lines.told(outputs), state, lines.told(looks))
