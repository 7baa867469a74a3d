"""Batches of pixels through a frozen encoder: `fc` and `att` of each image in one pass.

BatchNorm is fused into the convolutions, on a CPU also activations and sums. The network computes
in channels_last; in half precision and compiled on a GPU, in float32 elsewhere unless bfloat16 is
asked for. Pixels are uint8 until they are on the device, which normalises them.
"""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from prepro.encoders import TIMM, Encoder
from prepro.encoders.memory import channels_last
from prepro.encoders.pooling import pool
from prepro.extraction.fuse_activation import fuse_activations
from prepro.extraction.fuse_batchnorm import FeatureMap, fuse_conv_bn

PRECISIONS = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


class Extractor:
    """A frozen encoder on a device.

    regions: side of the grid of `att`, 0 for none. fixed_size: all batches have the same shape, so
    that on CUDA the network is compiled and replayed as a CUDA graph.
    """

    def __init__(
        self,
        encoder: Encoder,
        device: torch.device,
        regions: int,
        precision: str = "float32",
        fixed_size: bool = False,
    ) -> None:
        self.device, self.regions, self.normalise = device, regions, encoder.transform.normalise
        self.dtype = PRECISIONS[precision]
        on_cpu = device.type == "cpu" and self.dtype is not torch.float16
        network = _inference_network(encoder, on_cpu).to(device, self.dtype)
        self.network: Callable[[Tensor], Tensor] = channels_last(network)
        self.batch_size = 0  # of the largest batch so far, to which smaller ones are padded
        self.compiled = fixed_size and device.type == "cuda"
        if self.compiled:
            self.network = torch.compile(network, mode="reduce-overhead")

    @torch.inference_mode()
    def __call__(self, pixels: Tensor) -> tuple[Tensor, Tensor | None]:
        """uint8 (B, 3, H, W) to fc (B, D) and att (B, R, D) or None, float16 on the device.

        fc is the mean of the last feature map; att is the map, pooled to the grid, row by row.
        """
        count = len(pixels)
        if self.compiled and count < self.batch_size:
            pixels = F.pad(pixels, (0, 0, 0, 0, 0, 0, 0, self.batch_size - count))
        self.batch_size = max(self.batch_size, count)
        pixels = pixels.to(self.device, non_blocking=True)
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        grid = self.network(self.normalise(pixels).to(self.dtype))[:count].float()
        return pool(grid, self.regions)  # copies to float16: a replayed graph reuses `grid`


def _inference_network(encoder: Encoder, fuses_activations: bool) -> nn.Module:
    """A copy from images to the last map, with BatchNorm fused where torch.fx can trace it.

    A fifth of timm's networks decide by the sizes of their input, which it cannot.
    """
    is_timm = encoder.name.startswith(TIMM)
    if is_timm:
        encoder.network.require_map()
    try:
        fused = fuse_conv_bn(encoder.network)
        fused = fuse_activations(fused) if fuses_activations else fused
        if not is_timm or _agrees(fused, encoder):
            return fused
    except Exception:  # torch.fx raises a dozen kinds, also when the graph runs
        if not is_timm:
            raise
    return FeatureMap(copy.deepcopy(encoder.network)).eval()


@torch.inference_mode()
def _agrees(fused: fx.GraphModule, encoder: Encoder) -> bool:
    """Whether the graph computes the network's map of an image."""
    side = encoder.transform.crop
    x = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    expected = encoder.network.features(x)
    error = (fused.forward(x) - expected).abs().max()
    return bool(error <= 1e-3 * expected.abs().max())
