"""The FC model of self-critical training: a maxout LSTM whose first input is the image.

Rennie et al. 2017 (arXiv 1612.00563), section 2; `newfc` in self-critical.pytorch, with its
dropout: on the LSTM's output only.
"""

from torch import Tensor, nn

from caption.models.base import Decoder, DecoderOutput, Features, Shape, State
from caption.models.layers.packing import PackedCaptions
from caption.models.layers.recurrence import DeferredWeightGrad, maxout_cell


class NewFC(Decoder):
    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        self.project = nn.Linear(shape.features, shape.embedding)
        self.from_input = nn.Linear(shape.embedding, 5 * shape.hidden)
        self.from_hidden = nn.Linear(shape.hidden, 5 * shape.hidden, bias=False)

    def begin(self, features: Features) -> State:
        gates = self.from_input(self.project(features.fc))[:, None]  # (B, 1, 5H); W 0 is 0
        return State((), maxout_cell(gates, gates.new_zeros(len(gates), 1, self.shape.hidden)))

    def decode_tokens(
        self, words: Tensor, state: State, attention: bool = False, real: Tensor | None = None
    ) -> DecoderOutput:
        lines = PackedCaptions(words, real)
        x = self.from_input(self.embed(lines.words))  # (P, 5H)
        gates = DeferredWeightGrad(x, self.from_hidden.weight, lines.counts)
        h, c = lines.rows(state.rows)
        outputs = []
        for now in lines:
            h, c = now.keep(h, c)
            h, c = maxout_cell(gates(h), c)
            outputs.append(h)
        return DecoderOutput(lines.told(outputs), State((), lines.grid((h, c))), None)
