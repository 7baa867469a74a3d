"""Depthwise convolution: gradients in float32 under bfloat16, against those in float64."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from prepro import encoders
from prepro.encoders.depthwise import DepthwiseConv2d, float32_depthwise_gradients


def depthwise(kernel: int, stride: int = 1, padding: int = 0) -> nn.Conv2d:
    return nn.Conv2d(6, 6, kernel, stride, padding, groups=6, bias=False)


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(3, 1, 1), (5, 1, 2), (5, 2, 0)])
def test_gradients_are_those_of_float64_rounded_once(kernel, stride, padding):
    torch.manual_seed(0)
    conv = DepthwiseConv2d(depthwise(kernel, stride, padding))
    x = torch.randn(2, 6, 11, 9).bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        y = conv(x)
    gradient = torch.randn_like(y)
    y.backward(gradient)

    exact, weight = (t.detach().bfloat16().double().requires_grad_() for t in (x, conv.weight))
    expected = F.conv2d(exact, weight, None, stride, padding, groups=6)
    expected.backward(gradient.double())
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.double(), expected, rtol=2**-7, atol=1e-3)
    for found, reference in ((x.grad, exact.grad), (conv.weight.grad, weight.grad)):
        torch.testing.assert_close(found.double(), reference, rtol=2**-8, atol=1e-5)


def test_a_network_keeps_its_parameters_and_its_values():
    network = encoders.create_encoder("efficientnet_lite0", "none").network.eval()
    changed = float32_depthwise_gradients(copy.deepcopy(network))
    assert sum(isinstance(m, DepthwiseConv2d) for m in changed.modules()) == 11  # of 16
    changed.load_state_dict(network.state_dict())
    x = torch.randn(1, 3, 64, 64)
    assert torch.equal(changed.features(x), network.features(x))


@pytest.mark.parametrize(
    "conv",
    [nn.Conv2d(6, 12, 3, groups=6), nn.Conv2d(6, 6, 3, groups=3), nn.Conv2d(6, 6, 1),
     nn.Conv2d(6, 6, 3, groups=6, dilation=2, bias=False), nn.Conv2d(6, 6, 3, groups=6),
     nn.Conv2d(6, 6, 3, groups=6, bias=False)],
)  # fmt: skip
def test_other_convolutions_stay(conv):
    assert type(float32_depthwise_gradients(nn.Sequential(conv))[0]) is nn.Conv2d
