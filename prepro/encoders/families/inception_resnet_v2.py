"""Inception-ResNet-v2 (Szegedy et al. 2016, arXiv 1602.07261): the two networks of that name.

In: float images (B, 3, H, W), 299 by default. Out: logits (B, classes), or the last feature map.
"released" is the network that Google published: 10/20/10 blocks, 320/1088/2080 channels. Its names
are timm's, so that timm's and Cadene's weights load. "paper" follows the paper's figures, as
torch-inception-resnet-v2 does: 5/10/5 blocks, 384/1152/2048 channels. It corrects two figures:
figure 17's last 1x1 has 1154 channels for an input of 1152, and figure 18's Reduction-B outputs
2144 where figure 19 takes 2048. Weights cannot be converted between the two networks.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from prepro.encoders.initialisation import initialise
from prepro.encoders.pretrained import PublishedWeights
from prepro.encoders.spec import EncoderSpec
from prepro.transform import Transform

RELEASED_299 = Transform("short", 333, 299, "bicubic", (0.5,) * 3, (0.5,) * 3)
PAPER_299 = Transform("short", 328, 299, "bicubic", rounding="ceil")
# timm published these before it moved to a hub; the tensors are the same
TIMM_RELEASE = "https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-weights"

# A branch is a list of steps: (channels, kernel (height, width), stride, padding), or a pooling.
Step = tuple[int, tuple[int, int], int, tuple[int, int]]
Branch = Sequence[Step | nn.Module]


def step(channels: int, kernel: int | tuple[int, int], stride: int = 1, same: bool = True) -> Step:
    """A convolution, padded to keep the size ("same") unless it strides, as in the figures."""
    height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
    padding = (height // 2, width // 2) if same and stride == 1 else (0, 0)
    return channels, (height, width), stride, padding


class ConvNorm(nn.Module):
    """Convolution without bias, BatchNorm, ReLU."""

    def __init__(self, inputs: int, spec: Step, eps: float) -> None:
        super().__init__()
        channels, kernel, stride, padding = spec
        self.conv = nn.Conv2d(inputs, channels, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(channels, eps)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu_(self.bn(self.conv(x)))


class Mixed(nn.Module):
    """Parallel branches whose outputs are concatenated to `outputs` channels."""

    def __init__(self, inputs: int, branches: Sequence[Branch], eps: float) -> None:
        super().__init__()
        self.names, self.outputs = [], 0
        for number, branch in enumerate(branches):
            layers, channels = [], inputs
            for spec in branch:
                if isinstance(spec, nn.Module):
                    layers.append(spec)
                else:
                    layers.append(ConvNorm(channels, spec, eps))
                    channels = spec[0]
            self.names.append(f"branch{number}")
            self.add_module(f"branch{number}", nn.Sequential(*layers) if layers[1:] else layers[0])
            self.outputs += channels

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.get_submodule(name)(x) for name in self.names], 1)


class Block(Mixed):
    """A residual block: branches and a 1x1 convolution, scaled down before the addition.

    Without scaling (scale 1) gradients explode in the first training steps. norm: the 1x1 has a
    BatchNorm instead of a bias.
    """

    def __init__(
        self, inputs: int, branches: Sequence[Branch], eps: float, scale: float,
        norm: bool = False, relu: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(inputs, branches, eps)
        self.scale, self.relu = scale, relu
        self.conv2d = nn.Conv2d(self.outputs, inputs, 1, bias=not norm)
        self.bn = nn.BatchNorm2d(inputs, eps) if norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        residual = self.bn(self.conv2d(super().forward(x)))
        y = torch.add(x, residual, alpha=self.scale)  # not into x: the branches' backward needs it
        return y.relu_() if self.relu else y


def max_pool() -> nn.Module:
    return nn.MaxPool2d(3, 2)


# Branches of the residual blocks; both networks share them but for the order of the long kernels
BLOCK35 = [[step(32, 1)], [step(32, 1), step(32, 3)], [step(32, 1), step(48, 3), step(64, 3)]]


def block17(first: tuple[int, int]) -> list[Branch]:
    return [[step(192, 1)], [step(128, 1), step(160, first), step(192, first[::-1])]]


def block8(first: tuple[int, int]) -> list[Branch]:
    return [[step(192, 1)], [step(192, 1), step(224, first), step(256, first[::-1])]]


class InceptionResNetV2(nn.Module):
    """Named layers in sequence, average pooling, dropout and a linear classifier."""

    classifier = "classif"

    def __init__(
        self, layers: dict[str, nn.Module], dim: int, dropout: float, classes: int
    ) -> None:
        super().__init__()
        self.names, self.dim, self.dropout = list(layers), dim, nn.Dropout(dropout)
        for name, layer in layers.items():
            self.add_module(name, layer)
        self.classif = nn.Linear(dim, classes)
        initialise(self)

    def stages(self) -> list[nn.Sequential]:
        layers = [self.get_submodule(name) for name in self.names]
        return [layer for layer in layers if isinstance(layer, nn.Sequential)]

    def cell_positions(self, side: int) -> tuple[float, float]:
        """Layers without padding leave a margin: the first cell is centred on pixel 37."""
        return 37.0, 32.0

    def features(self, x: Tensor) -> Tensor:
        """Float images (B, 3, H, W) to the last feature map (B, D, h, w)."""
        for name in self.names:
            x = self.get_submodule(name)(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        return self.classif(self.dropout(self.features(x).mean((2, 3))))


def inception_resnet_v2(
    variant: Literal["released", "paper"] = "released",
    scales: tuple[float, float, float] | None = None,
    classes: int = 1000,
) -> InceptionResNetV2:
    """scales: residual scales at 35x35, 17x17 and 8x8; 0.17, 0.10, 0.20 ("released") or 0.1.

    Raises ValueError for another variant.
    """
    if variant == "released":
        return _released(scales or (0.17, 0.10, 0.20), classes)
    if variant == "paper":
        return _paper(scales or (0.1, 0.1, 0.1), classes)
    raise ValueError(f"inception_resnet_v2: variant {variant!r}: released or paper")


def _released(scales: tuple[float, float, float], classes: int) -> InceptionResNetV2:
    eps = 1e-3
    pool = nn.AvgPool2d(3, 1, 1, count_include_pad=False)
    mixed_5b = [
        [step(96, 1)],
        [step(48, 1), step(64, 5)],
        [step(64, 1), step(96, 3), step(96, 3)],
        [pool, step(64, 1)],
    ]
    mixed_7a = [
        [step(256, 1), step(384, 3, 2)],
        [step(256, 1), step(288, 3, 2)],
        [step(256, 1), step(288, 3), step(320, 3, 2)],
        [max_pool()],
    ]
    wide17, wide8 = block17((1, 7)), block8((1, 3))
    layers = {
        "conv2d_1a": ConvNorm(3, step(32, 3, 2), eps),
        "conv2d_2a": ConvNorm(32, step(32, 3, same=False), eps),
        "conv2d_2b": ConvNorm(32, step(64, 3), eps),
        "maxpool_3a": max_pool(),
        "conv2d_3b": ConvNorm(64, step(80, 1), eps),
        "conv2d_4a": ConvNorm(80, step(192, 3, same=False), eps),
        "maxpool_5a": max_pool(),
        "mixed_5b": Mixed(192, mixed_5b, eps),
        "repeat": nn.Sequential(*(Block(320, BLOCK35, eps, scales[0]) for _ in range(10))),
        "mixed_6a": Mixed(320, _reduction_a(), eps),
        "repeat_1": nn.Sequential(*(Block(1088, wide17, eps, scales[1]) for _ in range(20))),
        "mixed_7a": Mixed(1088, mixed_7a, eps),
        "repeat_2": nn.Sequential(*(Block(2080, wide8, eps, scales[2]) for _ in range(9))),
        "block8": Block(2080, wide8, eps, 1.0, relu=False),
        "conv2d_7b": ConvNorm(2080, step(1536, 1), eps),
    }
    return InceptionResNetV2(layers, 1536, 0.0, classes)


def _reduction_a() -> list[Branch]:
    return [[step(384, 3, 2)], [step(256, 1), step(256, 3), step(384, 3, 2)], [max_pool()]]


def _paper(scales: tuple[float, float, float], classes: int) -> InceptionResNetV2:
    eps = 1e-5
    long = [step(64, 1), step(64, (1, 7)), step(64, (7, 1)), step(96, 3, same=False)]
    reduction_b = [
        [step(256, 1), step(384, 3, 2)],
        [step(256, 1), step(256, 3, 2)],
        [step(256, 1), step(256, 3), step(256, 3, 2)],
        [max_pool()],
    ]

    def blocks(count: int, inputs: int, branches: list[Branch], scale: float) -> nn.Sequential:
        return nn.Sequential(
            *(Block(inputs, branches, eps, scale, norm=True) for _ in range(count))
        )

    layers = {
        "stem_1": ConvNorm(3, step(32, 3, 2), eps),
        "stem_2": ConvNorm(32, step(32, 3, same=False), eps),
        "stem_3": ConvNorm(32, step(64, 3), eps),
        "stem_4": Mixed(64, [[max_pool()], [step(96, 3, 2)]], eps),
        "stem_5": Mixed(160, [[step(64, 1), step(96, 3, same=False)], long], eps),
        "stem_6": Mixed(192, [[step(192, 3, 2)], [max_pool()]], eps),
        "blocks_a": blocks(5, 384, BLOCK35, scales[0]),
        "reduction_a": Mixed(384, _reduction_a(), eps),
        "blocks_b": blocks(10, 1152, block17((7, 1)), scales[1]),
        "reduction_b": Mixed(1152, reduction_b, eps),
        "blocks_c": blocks(5, 2048, block8((3, 1)), scales[2]),
    }
    return InceptionResNetV2(layers, 2048, 0.2, classes)


def _released_weights() -> list[PublishedWeights]:
    files = {
        "TF_IN1K": "inception_resnet_v2-940b1cd6.pth",
        "TF_ENS_ADV_IN1K": "ens_adv_inception_resnet_v2-2592a550.pth",
    }
    return [
        PublishedWeights(name, RELEASED_299, url=f"{TIMM_RELEASE}/{file}")
        for name, file in files.items()
    ]


ENCODERS = [
    EncoderSpec(
        "inception_resnet_v2",
        inception_resnet_v2,
        {"variant": "released"},
        RELEASED_299,
        published=_released_weights,
    ),
    EncoderSpec("inception_resnet_v2_paper", inception_resnet_v2, {"variant": "paper"}, PAPER_299),
]
