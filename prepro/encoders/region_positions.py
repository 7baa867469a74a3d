"""Where the cells of an encoder's last map lie on its input.

A cell stands for the middle of its receptive field. A map is no even division of the picture: in a
ResNet, whose strided layers all pad both sides alike, cell i looks at pixel i * stride, half a cell
up and left of the i-th part of the picture; Inception's layers without padding leave an edge all
around. Attention that is drawn on even parts misses the things it looks at.
"""

from functools import cache, lru_cache
from typing import TYPE_CHECKING

from prepro.encoders.registry import construct, find

if TYPE_CHECKING:
    from torch import nn


@lru_cache(1000)
def map_extent(name: str, side: int) -> tuple[float, float]:
    """Where the map of `side` pixels begins, and its length, both in pixels.

    Each cell is a square as wide as the step to the next. timm's networks do not say where their
    cells lie: theirs are taken for even parts of the input.
    """
    import torch

    if name.startswith("timm:"):
        return 0.0, float(side)
    network = _shapes(name)
    with torch.no_grad():
        cells = network.features(torch.empty(1, 3, side, side, device="meta")).shape[-1]
    first, step = network.cells
    return first + (1 - step) / 2, float(step * cells)


@cache
def _shapes(name: str) -> "nn.Module":
    """The network without its numbers."""
    import torch

    with torch.device("meta"):
        return construct(find(name)).eval()
