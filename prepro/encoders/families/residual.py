"""Residual networks: plain or residual, basic or bottleneck, ResNeXt, wide, ImageNet and CIFAR.

In: float images (B, 3, H, W). Out: logits (B, classes), or the last feature map (B, D, h, w).
He et al. 2015 (arXiv 1512.03385), Xie et al. 2016 (1611.05431), Zagoruyko & Komodakis 2016
(1605.07146), as fb.resnet.torch builds them. Names, order and shapes of the state dict are
torchvision's, so that its weights load.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prepro.encoders.initialisation import initialise
from prepro.encoders.pretrained import torchvision_weights
from prepro.encoders.shortcuts import PadShortcut, Shortcut, check, conv, make_shortcut
from prepro.encoders.spec import EncoderSpec
from prepro.transform import CIFAR

Block = Literal["basic", "bottleneck"]
Stem = Literal["imagenet", "cifar", "small"]

IMAGENET_BLOCKS = {
    10: (1, 1, 1, 1),
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
    200: (3, 24, 36, 3),
}
EXPANSION = {"basic": 1, "bottleneck": 4}
STEMS = {"imagenet": (7, 2), "cifar": (3, 1), "small": (3, 2)}  # kernel and stride
IN_TORCHVISION = {  # torchvision publishes ImageNet weights for these
    "resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnext50_32x4d",
    "resnext101_32x8d", "resnext101_64x4d", "wide_resnet50_2", "wide_resnet101_2",
}  # fmt: skip


def stage_blocks(depth: int, block: Block) -> tuple[int, ...]:
    """Blocks of each stage: four from the ImageNet table, else three equal stages of a CIFAR net.

    A CIFAR net has depth 6n + 2 with basic blocks, 9n + 2 with bottlenecks.
    """
    if depth in IMAGENET_BLOCKS:
        return IMAGENET_BLOCKS[depth]
    layers = 6 if block == "basic" else 9
    n, rest = divmod(depth - 2, layers)
    if n < 1 or rest:
        known = ", ".join(map(str, IMAGENET_BLOCKS))
        raise ValueError(f"depth {depth}: neither of {known} nor {layers}n + 2 ({block} blocks)")
    return n, n, n


class Basic(nn.Module):
    """Two 3x3 convolutions of `planes` channels."""

    def __init__(self, inputs: int, planes: int, stride: int, shortcut: Shortcut) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv(inputs, planes, 3, stride), nn.BatchNorm2d(planes)
        self.conv2, self.bn2 = conv(planes, planes, 3), nn.BatchNorm2d(planes)
        self.downsample = make_shortcut(shortcut, inputs, planes, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu_(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.downsample is not None:
            y += self.downsample(x)  # never into the shortcut: backward may need the block's input
        return F.relu_(y)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions; the last has `planes * 4` channels.

    The 3x3 has `groups` groups of planes * group_width / 64 channels each (ResNeXt's cardinality
    and width). stride_on: the convolution that has the stride; "1x1" is the paper's and Caffe's,
    "3x3" fb.resnet.torch's and torchvision's.
    """

    def __init__(
        self,
        inputs: int,
        planes: int,
        stride: int,
        shortcut: Shortcut,
        groups: int = 1,
        group_width: int = 64,
        stride_on: Literal["3x3", "1x1"] = "3x3",
    ) -> None:
        super().__init__()
        check("stride_on", stride_on, ("3x3", "1x1"))
        first, second = (stride, 1) if stride_on == "1x1" else (1, stride)
        inner, outputs = planes * group_width // 64 * groups, planes * EXPANSION["bottleneck"]
        self.conv1, self.bn1 = conv(inputs, inner, 1, first), nn.BatchNorm2d(inner)
        self.conv2, self.bn2 = conv(inner, inner, 3, second, groups), nn.BatchNorm2d(inner)
        self.conv3, self.bn3 = conv(inner, outputs, 1), nn.BatchNorm2d(outputs)
        self.downsample = make_shortcut(shortcut, inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu_(self.bn1(self.conv1(x)))
        y = F.relu_(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        if self.downsample is not None:
            y += self.downsample(x)
        return F.relu_(y)


class ResidualNet(nn.Module):
    """Stem, stages `layer1` to `layer4` (three for CIFAR) and a linear classifier.

    The last feature map has `dim` channels and 1/32 of the input's size after the ImageNet stem and
    four stages, 1/16 after the small stem, 1/4 after CIFAR's three stages, unless `dilate` keeps it
    larger.
    """

    classifier = "fc"

    def __init__(
        self, stem: Stem, width: int, stages: Sequence[nn.Sequential], dim: int, classes: int
    ) -> None:
        super().__init__()
        check("stem", stem, STEMS)
        self.conv1, self.bn1 = conv(3, width, *STEMS[stem]), nn.BatchNorm2d(width)
        self.pool = stem == "imagenet"
        for number, stage in enumerate(stages, start=1):
            self.add_module(f"layer{number}", stage)
        self.fc = nn.Linear(dim, classes)
        self.dim = dim
        self.stem_stride = STEMS[stem][1] * (1 + self.pool)
        self.stride = self.stem_stride << len(stages) - 1
        initialise(self)

    def stages(self) -> list[nn.Sequential]:
        return [stage for name, stage in self.named_children() if name.startswith("layer")]

    def cell_positions(self, side: int) -> tuple[float, float]:
        """Strided layers pad both sides alike, so the first cell is centred on pixel 0."""
        return 0.0, float(self.stride)

    def features(self, x: Tensor) -> Tensor:
        """Float images (B, 3, H, W) to the last feature map (B, D, h, w)."""
        x = F.relu_(self.bn1(self.conv1(x)))
        if self.pool:
            x = F.max_pool2d(x, 3, 2, 1)
        for stage in self.stages():
            x = stage(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.flatten(F.adaptive_avg_pool2d(self.features(x), 1), 1))


def dilate(network: ResidualNet, stride: int) -> ResidualNet:
    """Limit the network's output stride to `stride`, in place, and return the network.

    Later stages dilate their convolutions instead of striding, so that the weights stay valid:
    torchvision's replace_stride_with_dilation, DeepLab's output stride (Chen et al. 2017, arXiv
    1706.05587). A stride above the network's changes nothing. Raises ValueError for one that is
    no power of two, or below the stem's.
    """
    reached, dilation = network.stem_stride, 1
    if reached > stride or stride & (stride - 1):
        raise ValueError(f"stride {stride}: give a power of two, {reached} or more")
    for stage in network.stages()[1:]:
        if reached < stride:
            reached *= 2
            continue
        previous, dilation = dilation, 2 * dilation
        for module in stage.modules():
            if isinstance(module, PadShortcut):
                module.stride = 1
            elif isinstance(module, nn.Conv2d):
                if module.kernel_size != (1, 1):  # the strided one keeps its input's dilation
                    size = dilation if module.stride == (1, 1) else previous
                    module.dilation = module.padding = size, size
                module.stride = 1, 1
    network.stride = reached
    return network


def make_stages(
    depth: int | Sequence[int],
    block: Block,
    width: int,
    make: Callable[[int, int, int, bool, bool], nn.Module],
) -> tuple[list[nn.Sequential], int]:
    """The stages, each with twice the planes of the stage before it, and the channels of the last.

    make(inputs, planes, stride, in_first_stage, first_of_its_stage) returns one block.
    """
    check("block", block, EXPANSION)
    counts = stage_blocks(depth, block) if isinstance(depth, int) else depth
    stages, inputs = [], width
    for number, count in enumerate(counts):
        planes, blocks = width << number, []
        for index in range(count):
            stride = 2 if number and not index else 1
            blocks.append(make(inputs, planes, stride, number == 0, index == 0))
            inputs = planes * EXPANSION[block]
        stages.append(nn.Sequential(*blocks))
    return stages, inputs


def residual(
    depth: int | Sequence[int],
    block: Block = "basic",
    shortcut: Shortcut = "B",
    width: int = 64,
    stem: Stem = "imagenet",
    classes: int = 1000,
    stride: int = 32,
    **bottleneck: int | str,
) -> ResidualNet:
    """Any network of the family.

    depth: number of layers, or the number of blocks of each stage. width: channels of the stem and
    planes of the first stage, doubled in each later one. classes: number of logits. stride: the
    output stride, see `dilate`. bottleneck: Bottleneck's groups, group_width, stride_on.
    Raises ValueError for options outside their choices.
    """

    def make(inputs: int, planes: int, step: int, *_: bool) -> nn.Module:
        kind = Basic if block == "basic" else Bottleneck
        return kind(inputs, planes, step, shortcut, **bottleneck)

    stages, dim = make_stages(depth, block, width, make)
    return dilate(ResidualNet(stem, width, stages, dim, classes), stride)


def _imagenet_specs() -> list[EncoderSpec]:
    rows = {}
    for depth in IMAGENET_BLOCKS:
        options = {"depth": depth, "block": "bottleneck" if depth >= 50 else "basic"}
        rows[f"resnet{depth}"] = options
        rows[f"plain{depth}"] = options | {"shortcut": "none"}
    for depth, groups, width in ((50, 32, 4), (101, 32, 4), (101, 32, 8), (101, 64, 4)):
        options = {"depth": depth, "block": "bottleneck", "groups": groups, "group_width": width}
        rows[f"resnext{depth}_{groups}x{width}d"] = options
    for depth in (50, 101):
        options = {"depth": depth, "block": "bottleneck", "group_width": 128}
        rows[f"wide_resnet{depth}_2"] = options
    return [
        EncoderSpec(
            name,
            residual,
            options,
            published=partial(torchvision_weights, name) if name in IN_TORCHVISION else None,
        )
        for name, options in rows.items()
    ]


def _cifar_specs() -> list[EncoderSpec]:
    rows = {}
    common = {"stem": "cifar", "classes": 10}
    for depth in (8, 14, 20, 32, 44, 56, 110, 164, 1202):
        options = common | {"depth": depth, "width": 16}
        rows[f"resnet{depth}"] = options | {"shortcut": "A"}
        if depth != 1202:
            rows[f"plain{depth}"] = options | {"shortcut": "none"}
    for groups in (8, 16):
        options = common | {"depth": 29, "block": "bottleneck", "groups": groups}
        rows[f"resnext29_{groups}x64d"] = options
    return [EncoderSpec(name, residual, options, CIFAR) for name, options in rows.items()]


ENCODERS = _imagenet_specs() + _cifar_specs()
