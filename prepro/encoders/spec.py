"""What an encoder family says about each of its networks.

A family is one file in prepro/encoders/families/ with a list ENCODERS of EncoderSpec. Its networks
are nn.Modules that map float images (B, 3, H, W), normalised, to logits (B, classes), and have

    features(x)           the last feature map, (B, dim, h, w)
    dim                   its channels
    classifier            the name of the final nn.Linear, such as "fc"
    cell_positions(side)  for an input of `side` pixels: the centre of the first cell's receptive
                          field and the distance from one cell to the next, both in pixels
    stages()              lists of residual blocks; only for gradient checkpointing
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from prepro.transform import IMAGENET, Transform

if TYPE_CHECKING:
    from torch import nn

    from prepro.encoders.pretrained import PublishedWeights


@dataclass(frozen=True)
class EncoderSpec:
    """One row of the table: a name and how to create its network."""

    name: str
    network: "Callable[..., nn.Module]"
    """network(**options) returns it untrained, initialised from torch's global generator; it has at
    least the option `classes`, the number of logits"""
    options: Mapping[str, object] = field(default_factory=dict)
    transform: Transform = IMAGENET
    """how images become pixels when no published weights say otherwise"""
    published: "Callable[[], Sequence[PublishedWeights]] | None" = None
    """returns the published weights, the default first; None when there are none"""

    def create(self, **options: object) -> "nn.Module":
        """The network. `options` override the row's; ValueError for one that it does not have."""
        try:
            return self.network(**{**self.options, **options})
        except TypeError as error:
            raise ValueError(f"{self.network.__name__}: {error}") from None
