"""A depthwise convolution whose gradients on a CPU are computed in float32.

In: x (B, C, H, W). Out: (B, C, h, w). In bfloat16 oneDNN takes up to five times as long as in
float32 for the gradient of a 5 x 5 depthwise weight, and three times for that of the input of a
strided one: python -m tests.bench.depthwise
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class DepthwiseConv2d(nn.Conv2d):
    """nn.Conv2d with a group for each channel, without bias."""

    def __init__(self, channels: int, kernel: int, stride: int, padding: int) -> None:
        super().__init__(channels, channels, kernel, stride, padding, groups=channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if not (x.device.type == "cpu" and torch.is_autocast_enabled("cpu")):
            return super().forward(x)
        if not torch.is_grad_enabled():
            return super().forward(x)
        dtype = torch.get_autocast_dtype("cpu")
        weight = self.weight.to(dtype)
        return _Float32Gradients.apply(x.to(dtype), weight, self.stride, self.padding)


class _Float32Gradients(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, stride, padding) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return F.conv2d(x, weight, None, stride, padding, groups=len(weight))

    @staticmethod
    def backward(ctx, gradient: Tensor):
        x, weight = ctx.saved_tensors
        wanted = [*ctx.needs_input_grad[:2], False]
        found = torch.ops.aten.convolution_backward(
            gradient.float(), x.float(), weight.float(), None, ctx.stride, ctx.padding, (1, 1),
            False, (0, 0), len(weight), wanted,
        )  # fmt: skip
        return *(None if t is None else t.to(x.dtype) for t in found[:2]), None, None
