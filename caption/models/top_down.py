"""Top-Down: one LSTM decides where to look, a second one what to say.

Anderson et al. 2018 (arXiv 1707.07998), "Up-Down" or "topdown" elsewhere.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from caption.models.attention import AdditiveAttention
from caption.models.decoder import Decoder, Features, Shape, State, lstm_step


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

    def begin(self, features: Features) -> State:
        fc = self.dropout(self.project_fc(features.fc).relu())
        values = self.dropout(self.project_att(features.att).relu())  # (B, R, H)
        mask = features.mask
        if mask is None:
            mask = values.new_ones(values.shape[:2], dtype=torch.bool)
        image = (self.from_image(fc)[:, None], values, self.attend.key(values), mask)
        zero = fc.new_zeros(len(fc), 1, self.shape.hidden)
        return State(image, (zero, zero, zero, zero))

    def advance(self, words: Tensor, state: State) -> tuple[Tensor, State, Tensor]:
        return self._advance(self._embed(words), state)

    def hidden(self, features: Features, words: Tensor) -> Tensor:
        state = self.begin(features).expand(words.shape[1])
        outputs = []
        for x in self._embed(words).unbind(2):
            output, state, _ = self._advance(x, state)
            outputs.append(output)
        return torch.stack(outputs, 2)

    def _embed(self, words: Tensor) -> Tensor:
        """(...) word indices to their share of the attention LSTM's gates, (..., 4H)."""
        return self.from_word(self.dropout(F.relu(self.embed(words))))

    def _advance(self, x: Tensor, state: State) -> tuple[Tensor, State, Tensor]:
        image, values, keys, mask = state.image
        h1, c1, h2, c2 = state.rows
        gates = x + image + self.from_hidden(torch.cat([h2, h1], -1))
        h1, c1 = lstm_step(gates, c1)
        seen, weights = self.attend(h1, keys, values, mask)
        h2, c2 = lstm_step(self.language(torch.cat([seen, h1, h2], -1)), c2)
        return h2, State(state.image, (h1, c1, h2, c2)), weights
