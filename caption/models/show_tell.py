"""Show and Tell: the image is the first input of an LSTM, the tokens are the others.

Vinyals et al. 2015 (arXiv 1411.4555), as neuraltalk2 implemented it. The projection of the image is
part of the decoder, so that it is trained even if the encoder is frozen.
"""

from torch import Tensor, nn

from caption.models.base import Decoder, DecoderOutput, Features, Shape, State
from caption.models.layers.linear import Linear


class ShowTell(Decoder):
    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        self.project = Linear(shape.features, shape.embedding)
        self.lstm = nn.LSTM(shape.embedding, shape.hidden, shape.layers, batch_first=True)

    def begin(self, features: Features) -> State:
        image = self.project(features.fc)  # (B, E)
        _, (h, c) = self.lstm(image[:, None])  # (layers, B, H)
        return State((), (h.transpose(0, 1)[:, None], c.transpose(0, 1)[:, None]))

    def decode_tokens(
        self, tokens: Tensor, state: State, token_mask: Tensor | None = None,
        need_attention: bool = False,
    ) -> DecoderOutput:  # fmt: skip
        h, c = (t.flatten(0, 1).transpose(0, 1).contiguous() for t in state.rows)
        x = self.dropout(self.embed(tokens)).flatten(0, 1)  # (B * K, T, E)
        output, (h, c) = self.lstm(x, (h, c))  # h and c are (layers, B * K, H)
        if token_mask is not None:
            return DecoderOutput(output[token_mask.flatten(0, 1)], None, None)
        rows = (t.transpose(0, 1).unflatten(0, tokens.shape[:2]) for t in (h, c))
        return DecoderOutput(output.flatten(0, 1), None, State((), tuple(rows)))
