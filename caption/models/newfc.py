"""The FC model of self-critical training: a maxout LSTM whose first input is the image.

Rennie et al. 2017 (arXiv 1612.00563), section 2. It is `newfc` in self-critical.pytorch, which has
dropout on the LSTM's output only.
"""

from torch import Tensor

from caption.models.base import Decoder, DecoderOutput, Features, Shape, State
from caption.models.layers.linear import Linear
from caption.models.layers.packing import pack
from caption.models.layers.recurrence import maxout_cell, recurrent_gates


class NewFC(Decoder):
    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        self.project = Linear(shape.features, shape.embedding)
        self.from_input = Linear(shape.embedding, 5 * shape.hidden)
        self.from_hidden = Linear(shape.hidden, 5 * shape.hidden, bias=False)

    def begin(self, features: Features) -> State:
        gates = self.from_input(self.project(features.fc))[:, None]  # (B, 1, 5H); h is 0
        return State((), maxout_cell(gates, gates.new_zeros(gates.shape[0], 1, self.shape.hidden)))

    def decode_tokens(
        self, tokens: Tensor, state: State, token_mask: Tensor | None = None,
        need_attention: bool = False,
    ) -> DecoderOutput:  # fmt: skip
        packed = pack(tokens, token_mask)
        x = self.from_input(self.embed(packed.tokens))  # (P, 5H)
        gates = recurrent_gates(x, self.from_hidden, packed.counts)
        h, c = packed.initial_rows(state.rows)
        outputs = []
        for time_step in packed:
            h, c = time_step.select(h, c)
            h, c = maxout_cell(gates(h), c)
            outputs.append(h)
        rows = packed.final_rows((h, c))
        return DecoderOutput(packed.unpack(outputs), None, rows and State((), rows))
