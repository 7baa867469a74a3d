"""Depthwise convolution: gradients in float32 under bfloat16, against those in float64."""

import pytest
import torch
from torch.nn import functional as F

from prepro.encoders.depthwise import DepthwiseConv2d


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(3, 1, 1), (5, 1, 2), (5, 2, 0)])
def test_gradients_are_those_of_float64_rounded_once(kernel, stride, padding):
    torch.manual_seed(0)
    conv = DepthwiseConv2d(6, kernel, stride, padding)
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


def test_without_autocast_it_is_a_convolution():
    torch.manual_seed(0)
    conv, x = DepthwiseConv2d(4, 3, 1, 1), torch.randn(2, 4, 5, 5)
    plain = torch.nn.Conv2d(4, 4, 3, 1, 1, groups=4, bias=False)
    plain.load_state_dict(conv.state_dict())
    assert torch.equal(conv(x), plain(x))
