"""Pre-activation residual networks (He et al. 2016, arXiv 1603.05027), as in fb.resnet.torch.

In: float images (B, 3, H, W). Out: logits (B, classes), or the last feature map (B, D, h, w),
after the final BatchNorm and ReLU.
"""

from collections.abc import Sequence
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from prepro.encoders.families.residual import (
    EXPANSION,
    IMAGENET_BLOCKS,
    Block,
    ResidualNet,
    Stem,
    dilate,
    make_stages,
)
from prepro.encoders.shortcuts import Shortcut, conv, make_shortcut
from prepro.encoders.spec import EncoderSpec
from prepro.transform import CIFAR

Activation = Literal["none", "both", "branch"]


class PreBlock(nn.Module):
    """BatchNorm and ReLU before every convolution, nothing after the addition.

    activation: whether the first BatchNorm and ReLU apply to the "branch" alone, to "both" the
    branch and the shortcut (first block of a stage), or to "none", because the stem ends in them.
    """

    def __init__(
        self, inputs: int, planes: int, stride: int, shortcut: Shortcut,
        activation: Activation, block: Block,
    ) -> None:  # fmt: skip
        super().__init__()
        outputs = planes * EXPANSION[block]
        shapes = [(planes, 3, stride), (outputs, 3, 1)]
        if block == "bottleneck":
            shapes = [(planes, 1, 1), (planes, 3, stride), (outputs, 1, 1)]
        self.activation, self.depth, channels = activation, len(shapes), inputs
        for number, (width, kernel, step) in enumerate(shapes, start=1):
            if number > 1 or activation != "none":
                self.add_module(f"bn{number}", nn.BatchNorm2d(channels))
            self.add_module(f"conv{number}", conv(channels, width, kernel, step))
            channels = width
        self.downsample = make_shortcut(shortcut, inputs, outputs, stride, norm=False)

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.activation == "none" else F.relu_(self.bn1(x))
        shortcut = y if self.activation == "both" else x
        y = self.conv1(y)
        for number in range(2, self.depth + 1):
            norm, convolution = getattr(self, f"bn{number}"), getattr(self, f"conv{number}")
            y = convolution(F.relu_(norm(y)))
        return y if self.downsample is None else y + self.downsample(shortcut)


class PreactivationNet(ResidualNet):
    """A ResidualNet whose CIFAR stem has no BatchNorm, and whose last feature map has one."""

    def __init__(
        self, stem: Stem, width: int, stages: Sequence[nn.Sequential], dim: int, classes: int
    ) -> None:
        super().__init__(stem, width, stages, dim, classes)
        if stem == "cifar":
            del self.bn1
        self.norm = nn.BatchNorm2d(dim)

    def features(self, x: Tensor) -> Tensor:
        """Float images (B, 3, H, W) to the last feature map (B, D, h, w)."""
        x = self.conv1(x)
        if hasattr(self, "bn1"):
            x = F.relu_(self.bn1(x))
        if self.pool:
            x = F.max_pool2d(x, 3, 2, 1)
        for stage in self.stages():
            x = stage(x)
        return F.relu_(self.norm(x))


def preactivation(
    depth: int | Sequence[int],
    block: Block = "basic",
    shortcut: Shortcut = "B",
    width: int = 64,
    stem: Stem = "imagenet",
    classes: int = 1000,
    stride: int = 32,
) -> PreactivationNet:
    """Options as in `residual`; the projection shortcut has no BatchNorm."""

    def make(inputs: int, planes: int, step: int, early: bool, first: bool) -> PreBlock:
        after_stem: Activation = "none" if early and stem != "cifar" else "both"
        activation = after_stem if first else "branch"
        return PreBlock(inputs, planes, step, shortcut, activation, block)

    stages, dim = make_stages(depth, block, width, make)
    return dilate(PreactivationNet(stem, width, stages, dim, classes), stride)


def _specs() -> list[EncoderSpec]:
    specs = []
    for depth in IMAGENET_BLOCKS:
        options = {"depth": depth, "block": "bottleneck" if depth >= 50 else "basic"}
        specs.append(EncoderSpec(f"preresnet{depth}", preactivation, options))
    for depth in (8, 14, 20, 32, 44, 56, 110, 164):
        options = {"depth": depth, "stem": "cifar", "classes": 10, "width": 16, "shortcut": "A"}
        specs.append(EncoderSpec(f"preresnet{depth}", preactivation, options, CIFAR))
    return specs


ENCODERS = _specs()
