"""Show and Tell: the image is the first input of an LSTM, the words are the others.

Vinyals et al. 2015 (arXiv 1411.4555), as neuraltalk2 built it, but with the projection of the
image on the trained side, where it learns even when the encoder is frozen.
"""

from torch import Tensor, nn

from caption.models.base import Decoder, DecoderOutput, Features, Shape, State


class ShowTell(Decoder):
    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        self.project = nn.Linear(shape.features, shape.embedding)
        self.lstm = nn.LSTM(shape.embedding, shape.hidden, shape.layers, batch_first=True)

    def begin(self, features: Features) -> State:
        image = self.project(features.fc)  # (B, E)
        _, (h, c) = self.lstm(image[:, None])  # (layers, B, H)
        return State((), (h.transpose(0, 1)[:, None], c.transpose(0, 1)[:, None]))

    def decode_tokens(
        self, words: Tensor, state: State, attention: bool = False, real: Tensor | None = None
    ) -> DecoderOutput:
        h, c = (t.flatten(0, 1).transpose(0, 1).contiguous() for t in state.rows)
        x = self.dropout(self.embed(words))
        output, (h, c) = self.lstm(x.flatten(0, 1), (h, c))  # rows (B * K), layers first in h, c
        output = output.unflatten(0, words.shape[:2])
        rows = (t.transpose(0, 1).unflatten(0, words.shape[:2]) for t in (h, c))
        return DecoderOutput(output if real is None else output[real], State((), tuple(rows)), None)
