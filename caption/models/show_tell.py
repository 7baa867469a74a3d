"""Show and Tell: the image is the first input of an LSTM, the words are the others.

Vinyals et al. 2015 (arXiv 1411.4555), as neuraltalk2 built it, but with the projection of the
image on the trained side, where it learns even when the encoder is frozen.
"""

import torch
from torch import Tensor, nn

from caption.models.decoder import Decoder, Features, Shape, State


class ShowTell(Decoder):
    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        self.project = nn.Linear(shape.features, shape.embedding)
        self.lstm = nn.LSTM(shape.embedding, shape.hidden, shape.layers, batch_first=True)

    def begin(self, features: Features) -> State:
        image = self.project(features.fc)  # (B, E)
        _, (h, c) = self.lstm(image[:, None])  # (layers, B, H)
        return State((), (h.transpose(0, 1)[:, None], c.transpose(0, 1)[:, None]))

    def advance(self, words: Tensor, state: State) -> tuple[Tensor, State, None]:
        b, k = words.shape
        h, c = (t.reshape(b * k, *t.shape[2:]).transpose(0, 1).contiguous() for t in state.rows)
        x = self.dropout(self.embed(words.reshape(b * k, 1)))
        output, (h, c) = self.lstm(x, (h, c))
        rows = tuple(t.transpose(0, 1).reshape(b, k, *t.shape[:1], -1) for t in (h, c))
        return output.reshape(b, k, -1), State((), rows), None

    def hidden(self, features: Features, words: Tensor) -> Tensor:
        b, k, t = words.shape
        image = self.project(features.fc)[:, None, None].expand(-1, k, -1, -1)  # (B, K, 1, E)
        x = torch.cat([image, self.dropout(self.embed(words))], 2)
        output, _ = self.lstm(x.flatten(0, 1))  # (B * K, 1 + T, H)
        return output[:, 1:].unflatten(0, (b, k))
