"""The residual family: plain or residual, basic or bottleneck, ResNeXt, wide, ImageNet and CIFAR.

In: float pictures (B, 3, H, W). Out: logits (B, classes), or the last feature map (B, D, h, w).
He et al. 2015 (arXiv 1512.03385), Xie et al. 2016 (1611.05431), Zagoruyko & Komodakis 2016
(1605.07146), as fb.resnet.torch built them; names, order and shapes of the state dict are
torchvision's, so that its weights load.
"""

import math
from collections.abc import Callable, Collection, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Block = Literal["basic", "bottleneck"]
Shortcut = Literal["A", "B", "C", "none"]
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


def check(what: str, value: object, known: Collection) -> None:
    """ValueError for an option that is none of those known."""
    if value not in known:
        raise ValueError(f"{what} {value!r}: one of {', '.join(map(str, known))}")


def stage_blocks(depth: int, block: Block) -> tuple[int, ...]:
    """Blocks of each stage: four of the ImageNet table, else three equal stages of a CIFAR net.

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


def conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """A convolution that keeps the size at stride 1, without bias: a BatchNorm follows."""
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)


class PadShortcut(nn.Module):
    """Shortcut A: every stride-th pixel, zeros for the new channels; no parameters.

    fb.resnet.torch's doubles the channels, whatever is asked, so that it cannot begin a
    bottleneck's first stage (64 to 256); this one pads to any width.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.stride, self.extra = stride, outputs - inputs

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.extra))


def make_shortcut(
    kind: Shortcut, inputs: int, outputs: int, stride: int, norm: bool = True
) -> nn.Module | None:
    """The path around a block: identity where it fits, else A (zeros) or B (projection).

    C projects in every block; "none" is the plain counterpart, with no path around at all.
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
    """1x1, 3x3, 1x1 convolutions, of which the last has `planes * 4` channels.

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

    dim: channels of the last map, D. Map sizes: the input's over 32 after the ImageNet stem and
    four stages, over 16 after the small one, over 4 for CIFAR's three stages, unless `dilate` keeps
    them larger.
    cells: the pixel in the middle of the first cell's receptive field, and pixels between cells.
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
        self.cells = 0, self.stem_stride << len(stages) - 1
        initialise(self)

    def stages(self) -> list[nn.Sequential]:
        return [stage for name, stage in self.named_children() if name.startswith("layer")]

    def features(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) to the last feature map (B, D, h, w)."""
        x = F.relu_(self.bn1(self.conv1(x)))
        if self.pool:
            x = F.max_pool2d(x, 3, 2, 1)
        for stage in self.stages():
            x = stage(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.flatten(F.adaptive_avg_pool2d(self.features(x), 1), 1))


def initialise(network: nn.Module) -> None:
    """He's normal for convolutions (fan out), as both systems; biases of classifiers start at 0."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)


def scale_residual_branches(network: ResidualNet) -> None:
    """Divide each of the L residual branches of an untrained network by the root of L, in place.

    Training's first steps teach BatchNorm to do so. Without it every addition doubles the variance,
    and the maps of a hundred layers are beyond what float16 holds.
    """
    blocks = [block for stage in network.stages() for block in stage]
    for block in blocks:
        if block.downsample is not None:
            branch = [part for name, part in block.named_children() if name != "downsample"]
            branch[-1].weight.data.div_(math.sqrt(len(blocks)))


def dilate(network: ResidualNet, stride: int) -> ResidualNet:
    """Keep the maps at the input's size over `stride`, in place; the network.

    Stages that would halve them further look at pixels further apart instead, so that the weights
    mean what they meant: torchvision's replace_stride_with_dilation, DeepLab's output stride (Chen
    et al. 2017, arXiv 1706.05587). A stride beyond the network's own changes nothing. ValueError
    for one that is no power of two, or less than the stem's.
    """
    reached, apart = network.stem_stride, 1
    if reached > stride or stride & (stride - 1):
        raise ValueError(f"stride {stride}: a power of two, and {reached} or more")
    for stage in network.stages()[1:]:
        if reached < stride:
            reached *= 2
            continue
        before, apart = apart, 2 * apart
        for module in stage.modules():
            if isinstance(module, PadShortcut):
                module.stride = 1
            elif isinstance(module, nn.Conv2d):
                if module.kernel_size != (1, 1):  # the one that strode sees what it saw
                    between = apart if module.stride == (1, 1) else before
                    module.dilation = module.padding = between, between
                module.stride = 1, 1
    network.cells = 0, reached
    return network


def make_stages(
    depth: int | Sequence[int],
    block: Block,
    width: int,
    make: Callable[[int, int, int, bool, bool], nn.Module],
) -> tuple[list[nn.Sequential], int]:
    """Stages of blocks, each stage of twice the planes of the one before, and the last width.

    make: (inputs, planes, stride, whether it is of the first stage, and the first of its stage).
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
    """Any member of the family.

    depth: of the net, or the blocks of each stage. width: channels of the stem and planes of the
    first stage, doubled in each later one. stride: as `dilate`'s.
    bottleneck: Bottleneck's groups, group_width, stride_on.
    """

    def make(inputs: int, planes: int, step: int, *_: bool) -> nn.Module:
        kind = Basic if block == "basic" else Bottleneck
        return kind(inputs, planes, step, shortcut, **bottleneck)

    stages, dim = make_stages(depth, block, width, make)
    return dilate(ResidualNet(stem, width, stages, dim, classes), stride)
