"""Convolutions and shortcuts of residual blocks (He et al. 2015, arXiv 1512.03385, section 3.3)."""

from collections.abc import Collection
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

Shortcut = Literal["A", "B", "C", "none"]


def check(option: str, value: object, known: Collection) -> None:
    """Raise ValueError for a value that the option does not have."""
    if value not in known:
        raise ValueError(f"{option} {value!r}: choose one of {', '.join(map(str, known))}")


def conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """A convolution that keeps the size at stride 1, without bias: a BatchNorm follows."""
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)


class PadShortcut(nn.Module):
    """Shortcut A: every stride-th pixel, zeros for the new channels; no parameters.

    fb.resnet.torch's version always doubles the channels, so it does not fit a bottleneck's first
    stage (64 to 256); this one pads to any width.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.stride, self.extra = stride, outputs - inputs

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.extra))


def make_shortcut(
    kind: Shortcut, inputs: int, outputs: int, stride: int, norm: bool = True
) -> nn.Module | None:
    """The shortcut of a block: the identity where shapes match, else A (zeros) or B (projection).

    C projects in every block. "none" returns None: a plain network has no shortcuts.
    """
    check("shortcut", kind, ("A", "B", "C", "none"))
    if kind == "none":
        return None
    if kind != "C" and inputs == outputs and stride == 1:
        return nn.Identity()
    if kind == "A":
        return PadShortcut(inputs, outputs, stride)
    projection = conv(inputs, outputs, 1, stride)
    return nn.Sequential(projection, nn.BatchNorm2d(outputs)) if norm else projection
