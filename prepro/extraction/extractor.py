"""Batches of pixels through a frozen encoder: `fc` and `att` of each picture in one pass.

The network has its BatchNorms fuse_conv_bn, computes in channels_last, in half precision and compiled on
a GPU, and in float32 elsewhere (bfloat16 on a CPU without the instructions for it is many times
slower). Pixels travel as uint8 and are normalised on the device.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from prepro.encoders import Encoder
from prepro.encoders.pooling import pool
from prepro.extraction.fuse_batchnorm import fuse_conv_bn

PRECISIONS = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


class Extractor:
    """A frozen encoder on a device.

    regions: side of the grid of `att`, 0 for none. fixed: all batches have one shape, so that the
    network may be compiled and its kernels replayed as one graph (on CUDA).
    """

    def __init__(
        self,
        encoder: Encoder,
        device: torch.device,
        regions: int,
        precision: str = "float32",
        fixed: bool = False,
    ) -> None:
        self.device, self.regions, self.normalise = device, regions, encoder.transform.normalise
        self.dtype = PRECISIONS[precision]
        network: nn.Module = fuse_conv_bn(encoder.network).to(device, self.dtype)
        self.network: Callable[[Tensor], Tensor] = network.to(memory_format=torch.channels_last)
        self.slots = 0  # of the largest batch so far: a compiled network has one shape
        self.fixed = fixed and device.type == "cuda"
        if self.fixed:
            self.network = torch.compile(network, mode="reduce-overhead")

    @torch.inference_mode()
    def __call__(self, pixels: Tensor) -> tuple[Tensor, Tensor | None]:
        """uint8 (B, 3, H, W) to fc (B, D) and att (B, R, D) or None, float16 on the device.

        fc is the mean of the last map; att its cells row by row, pooled to the grid adaptively.
        """
        count = len(pixels)
        if self.fixed and count < self.slots:
            pixels = F.pad(pixels, (0, 0, 0, 0, 0, 0, 0, self.slots - count))
        self.slots = max(self.slots, count)
        pixels = pixels.to(self.device, non_blocking=True)
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        grid = self.network(self.normalise(pixels).to(self.dtype))[:count].float()
        return pool(grid, self.regions)  # copies, in half: a replayed graph reuses `grid`
