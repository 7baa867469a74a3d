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


def wide(channels: int = 6, kernel: int | tuple[int, int] = 5, **options: object) -> nn.Conv2d:
    options = {"groups": channels, "bias": False} | options
    return nn.Conv2d(channels, channels, kernel, **options)


@pytest.mark.parametrize(
    "conv",
    [wide(groups=3), wide(groups=1), wide(channels=1), wide(bias=True), wide(dilation=2),
     wide(dilation=(1, 2)), wide(dilation=(2, 1)), wide(padding="same"),
     wide(padding=2, padding_mode="reflect"), nn.Conv2d(6, 12, 5, groups=6, bias=False),
     wide(kernel=(3, 3)), wide(kernel=(1, 3))],
)  # fmt: skip
def test_what_is_not_depthwise_or_not_slow_stays(conv):
    assert type(float32_depthwise_gradients(nn.Sequential(conv))[0]) is nn.Conv2d


@pytest.mark.parametrize(
    "conv",
    [wide(), wide(channels=2), wide(kernel=(5, 3)), wide(kernel=(3, 4)), wide(kernel=3, stride=2),
     wide(kernel=1, stride=(1, 2)), wide(stride=2, padding=(2, 1))],
)  # fmt: skip
def test_one_long_side_or_stride_is_enough(conv):
    torch.manual_seed(0)
    (changed,) = float32_depthwise_gradients(nn.Sequential(conv))
    assert type(changed) is DepthwiseConv2d and changed.weight is conv.weight
    x = torch.randn(2, conv.in_channels, 9, 7)
    with torch.autocast("cpu", torch.bfloat16):
        found = changed(x)
        found.float().sum().backward()
        assert found.dtype == torch.bfloat16
        with torch.no_grad():
            assert torch.equal(changed(x), conv(x))
    assert torch.allclose(found.float(), conv(x), atol=0.05)
    ours, conv.weight.grad = conv.weight.grad, None
    conv(x).sum().backward()
    assert torch.allclose(ours, conv.weight.grad, rtol=0.02, atol=0.2)
