"""The network that is trained: a decoder and, while it is fine-tuned, the encoder before it.

In: a loss and a batch of features or of pixels. Out: the loss of that batch.

B images, D channels, R regions.
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from caption.data.batches import Batch
from caption.models import Decoder, Features
from prepro.encoders import Encoder
from prepro.encoders.depthwise import float32_depthwise_gradients
from prepro.encoders.memory import channels_last, freeze_norms
from prepro.encoders.pooling import pool

Loss = Callable[..., Tensor | tuple]


class FinetunedEncoder(nn.Module):
    """An encoder whose last stages are trained."""

    def __init__(self, encoder: Encoder, side: int, layers: int, pretrained: bool) -> None:
        """`side` of the grid of regions, 0 for none; the last `layers` stages are trained.

        The BatchNorms of a `pretrained` network are frozen, since batches of a few images estimate
        the statistics badly. A network with random weights has no statistics yet, so its BatchNorms
        are trained.
        """
        super().__init__()
        self.encoder, self.side, network = encoder, side, encoder.network
        stages = network.stages()
        self.trained_stages = stages[-layers:] if layers else []
        self.train_all = layers >= len(stages)
        for parameter in network.parameters():
            parameter.requires_grad_(self.train_all)
        for stage in self.trained_stages:
            stage.requires_grad_(True)
        for parameter in _head_parameters(network):
            parameter.requires_grad_(False)
        if pretrained:
            freeze_norms(network)
        self.network = float32_depthwise_gradients(channels_last(network))
        self.train()

    def train(self, mode: bool = True) -> "FinetunedEncoder":
        """Frozen stages stay in evaluation mode, so that their BatchNorm statistics stay fixed."""
        super().train(mode and self.train_all)
        for stage in self.trained_stages:
            stage.train(mode)
        return self

    def forward(self, pixels: Tensor) -> Features:
        """`pixels` (B, 3, H, W), uint8 or floats from 0 to 1."""
        x = self.encoder.transform.normalise(pixels)
        grid = self.network.features(x.contiguous(memory_format=torch.channels_last)).float()
        return Features(*pool(grid, self.side, grid.dtype))


def _head_parameters(network: nn.Module) -> Iterable[nn.Parameter]:
    """What follows the last map, which captions do not train."""
    if hasattr(network, "head_parameters"):  # timm's heads have more than a classifier
        return network.head_parameters()
    return network.get_submodule(network.classifier).parameters()


class CaptionModel(nn.Module):
    """forward(loss, batch, ...) returns loss(decoder, batch with features, ...)."""

    def __init__(self, decoder: Decoder, encoder: FinetunedEncoder | None = None) -> None:
        super().__init__()
        self.decoder, self.encoder = decoder, encoder

    def forward(self, loss: Loss, batch: Batch, *arguments: object) -> Tensor | tuple:
        if batch.pixels is not None:
            batch = batch._replace(features=self.encoder(batch.pixels))
        return loss(self.decoder, batch, *arguments)
