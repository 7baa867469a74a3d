"""Depthwise convolutions whose gradients on a CPU are in float32, for training in bfloat16.

In: a network that is to be trained. Out: the same network, with the same state dict. In bfloat16
oneDNN takes up to five times as long as in float32 for the gradient of a 5 x 5 depthwise weight,
and three times for that of the input of a strided one: python -m tests.bench.depthwise. It is fast
at 3 x 3 without a stride, so those convolutions stay.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def float32_depthwise_gradients(network: nn.Module) -> nn.Module:
    """In place: depthwise nn.Conv2d become DepthwiseConv2d, with the same parameters."""
    for name, conv in list(network.named_modules()):
        if type(conv) is nn.Conv2d and _is_depthwise(conv) and _is_slow(conv):
            network.set_submodule(name, DepthwiseConv2d(conv))
    return network


def _is_depthwise(conv: nn.Conv2d) -> bool:
    """Whether each channel has a group of its own, and nothing else is unusual."""
    plain = conv.padding_mode == "zeros" and isinstance(conv.padding, tuple)
    own_group = conv.groups == conv.in_channels == conv.out_channels > 1
    return own_group and plain and conv.bias is None and conv.dilation == (1, 1)


def _is_slow(conv: nn.Conv2d) -> bool:
    """Whether its gradients in bfloat16 are slower than in float32."""
    return max(conv.kernel_size) > 3 or max(conv.stride) > 1


class DepthwiseConv2d(nn.Conv2d):
    """The convolution of `conv`, whose weight it takes over."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__(
            conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding,
            groups=conv.groups, bias=False, device="meta",
        )  # fmt: skip
        self.weight = conv.weight

    def forward(self, x: Tensor) -> Tensor:
        """`x` (B, C, H, W) to (B, C, h, w)."""
        in_bfloat16 = x.device.type == "cpu" and torch.is_autocast_enabled("cpu")
        if not (in_bfloat16 and torch.is_grad_enabled()):
            return super().forward(x)
        dtype = torch.get_autocast_dtype("cpu")
        weight = self.weight.to(dtype)
        return Float32Gradients.apply(x.to(dtype), weight, self.stride, self.padding)


class Float32Gradients(torch.autograd.Function):
    """A depthwise convolution of `x` (B, C, H, W) with `weight` (C, 1, K, K), both of one dtype."""

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
