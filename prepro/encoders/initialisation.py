"""Initial weights: He's for convolutions, and a variance that stays bounded over many blocks."""

import math

from torch import nn


def initialise(network: nn.Module) -> None:
    """Initialise convolutions with He's normal (fan out) and biases of linear layers with 0.

    In place; torchvision and fb.resnet.torch do the same (He et al. 2015, arXiv 1502.01852).
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)


def scale_residual_branches(network: nn.Module) -> None:
    """Divide each of the L residual branches of an untrained ResNet by sqrt(L), in place.

    BatchNorm learns such a scale in the first training steps. Without it every addition doubles the
    variance, and the feature maps of a hundred layers exceed what float16 holds.
    """
    blocks = [block for stage in network.stages() for block in stage]
    for block in blocks:
        if block.downsample is not None:
            branch = [layer for name, layer in block.named_children() if name != "downsample"]
            branch[-1].weight.data.div_(math.sqrt(len(blocks)))
