"""The positions of an encoder's regions, the cells of its last feature map, on the input image.

A cell is drawn around the centre of its receptive field. The cells do not divide the image evenly:
in a ResNet, whose strided layers pad both sides alike, cell i is centred on pixel i * stride, half
a cell up and left of the even division; Inception's layers without padding leave a margin. An
attention overlay on an even grid would be shifted against the objects.
"""

from functools import cache, lru_cache
from typing import TYPE_CHECKING

from prepro.encoders.registry import find_spec

if TYPE_CHECKING:
    from torch import nn


@lru_cache(1000)
def map_extent(name: str, side: int) -> tuple[float, float]:
    """The start and the length, in pixels, of the feature map along an input side of `side` pixels.

    Each cell is as wide as the distance to the next. timm does not give the positions of its
    networks' cells: they divide the input evenly here.
    """
    import torch

    if name.startswith("timm:"):
        return 0.0, float(side)
    network = _meta_network(name)
    with torch.no_grad():
        cells = network.features(torch.empty(1, 3, side, side, device="meta")).shape[-1]
    first, step = network.cell_positions(side)
    return first + (1 - step) / 2, float(step * cells)


@cache
def _meta_network(name: str) -> "nn.Module":
    """The network on the meta device: shapes without weights."""
    from prepro.runtime.meta_device import meta_device

    with meta_device():
        return find_spec(name).create().eval()
