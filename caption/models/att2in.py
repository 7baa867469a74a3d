"""Att2in: what is attended to enters the LSTM's candidate only, never its gates.

Rennie et al. 2017 (arXiv 1612.00563), section 2.2, with the places of dropout and ReLU of
self-critical.pytorch.
"""

from torch import Tensor, nn

from caption.models.base import Decoder, DecoderOutput, Features, Shape, State
from caption.models.layers.attention import AdditiveAttention
from caption.models.layers.packing import PackedCaptions
from caption.models.layers.recurrence import DeferredWeightGrad, maxout_cell


class Att2in(Decoder):
    needs_regions = True

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        h = shape.hidden
        self.project = nn.Linear(shape.features, h)
        self.attend = AdditiveAttention(h, h, h)
        self.from_word = nn.Linear(shape.embedding, 5 * h)
        self.from_hidden = nn.Linear(h, 5 * h, bias=False)
        self.from_seen = nn.Linear(h, 2 * h)

    def begin(self, features: Features) -> State:
        att, mask = self.regions(features)
        values = self.dropout(self.project_regions(self.project, att).relu())  # (B, R, H)
        zero = values.new_zeros(len(values), 1, self.shape.hidden)
        return State((values, self.attend.key(values), mask), (zero, zero))

    def decode_tokens(
        self, words: Tensor, state: State, attention: bool = False, real: Tensor | None = None
    ) -> DecoderOutput:
        values, keys, mask = state.image
        lines = PackedCaptions(words, real)
        h, c = lines.rows(state.rows)
        x = self.from_word(self.dropout(self.embed(lines.words).relu()))
        gates = DeferredWeightGrad(x, self.from_hidden.weight, lines.counts)  # (P, 5H)
        bias = self.from_seen.bias.expand(len(x), -1)
        candidates = DeferredWeightGrad(bias, self.from_seen.weight, lines.counts)
        look = self.attend.over(keys, values, mask, lines.counts)
        outputs, looks = [], []
        for now in lines:
            h, c = now.keep(h, c)
            seen, weights = look(h, now.shares)
            h, c = maxout_cell(gates(h), c, candidates(seen))
            outputs.append(h)
            looks.append(weights)
        state = State(state.image, lines.grid((h, c)))
        return DecoderOutput(lines.told(outputs), state, lines.told(looks))
