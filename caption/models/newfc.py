"""The FC model of self-critical training: a maxout LSTM whose first input is the image.

Rennie et al. 2017 (arXiv 1612.00563), section 2; `newfc` in self-critical.pytorch, with its
dropout: on the LSTM's output only.
"""

import torch
from torch import Tensor, nn

from caption.models.decoder import Decoder, Features, Reading, Shape, State
from caption.models.recurrent import Recurrence, maxout_cell


class NewFC(Decoder):
    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        self.project = nn.Linear(shape.features, shape.embedding)
        self.from_input = nn.Linear(shape.embedding, 5 * shape.hidden)
        self.from_hidden = nn.Linear(shape.hidden, 5 * shape.hidden, bias=False)

    def begin(self, features: Features) -> State:
        gates = self.from_input(self.project(features.fc))[:, None]  # (B, 1, 5H); W 0 is 0
        return State((), maxout_cell(gates, gates.new_zeros(len(gates), 1, self.shape.hidden)))

    def read(self, words: Tensor, state: State, attention: bool = False) -> Reading:
        x = self.from_input(self.embed(words.permute(2, 0, 1)))  # (T, B, K, 5H)
        gates = Recurrence(x, self.from_hidden.weight)
        h, c = state.rows
        outputs = []
        for _ in x:
            h, c = maxout_cell(gates(h), c)
            outputs.append(h)
        return Reading(torch.stack(outputs, 2), State((), (h, c)), None)
