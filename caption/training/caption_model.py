"""What is trained: the decoder and, while it is fine-tuned, the encoder before it.

In: a loss and a batch of features or of pixels. Out: the loss of that batch.

B images, D channels, R regions.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from caption.data.batches import Batch
from caption.models import Decoder, Features
from prepro.encoders import Encoder
from prepro.encoders.memory import freeze_norms
from prepro.encoders.pooling import pool

Loss = Callable[..., Tensor | tuple]


class FinetunedEncoder(nn.Module):
    """An encoder whose last stages learn."""

    def __init__(self, encoder: Encoder, side: int, layers: int, learned: bool) -> None:
        """`side` of the grid of regions, 0 for none; `layers` stages learn, counted from the end.

        BatchNorm of `learned` weights is frozen: batches of a few images say too little. Random
        weights have no statistics yet, so theirs are learned.
        """
        super().__init__()
        self.encoder, self.side, network = encoder, side, encoder.network
        parts = network.stages()
        self.learning = parts[-layers:] if layers else []
        everything = layers >= len(parts)
        for parameter in network.parameters():
            parameter.requires_grad_(everything)
        for part in self.learning:
            part.requires_grad_(True)
        network.get_submodule(network.classifier).requires_grad_(False)
        if learned:
            freeze_norms(network)
        self.everything = everything
        self.network = network.to(memory_format=torch.channels_last)
        self.train()

    def train(self, mode: bool = True) -> "FinetunedEncoder":
        """Stages that do not learn stay in evaluation mode: their statistics do not drift."""
        super().train(mode and self.everything)
        for part in self.learning:
            part.train(mode)
        return self

    def forward(self, pixels: Tensor) -> Features:
        """`pixels` (B, 3, H, W), uint8 or floats on the scale of 0 to 1."""
        x = self.encoder.transform.normalise(pixels)
        grid = self.network.features(x.contiguous(memory_format=torch.channels_last)).float()
        return Features(*pool(grid, self.side, grid.dtype))


class CaptionModel(nn.Module):
    """forward(loss, batch, ...) is loss(decoder, batch with its features, ...)."""

    def __init__(self, decoder: Decoder, encoder: FinetunedEncoder | None = None) -> None:
        super().__init__()
        self.decoder, self.encoder = decoder, encoder

    def forward(self, loss: Loss, batch: Batch, *more: object) -> Tensor | tuple:
        if batch.pixels is not None:
            batch = batch._replace(features=self.encoder(batch.pixels))
        return loss(self.decoder, batch, *more)
