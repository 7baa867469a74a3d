"""Fused convolutions against the network itself, and against PyTorch's plain operations."""

import pytest
import torch
from torch import fx, nn
from torch.nn import functional as F

from prepro.encoders import create_encoder
from prepro.extraction.extractor import Extractor
from prepro.extraction.fuse_activation import ActivatedConv, fuse_activations
from prepro.extraction.fuse_batchnorm import fuse_conv_bn
from prepro.runtime.precision import reduced_precision
from tests.prepro.encoders.test_memory import trained


@pytest.mark.parametrize(
    "name, activations",
    [("resnet10-w16", 9), ("resnet14-C", None), ("preresnet14", None), ("efficientnet_lite0", 33)],
)
def test_the_features_stay_the_same(name, activations):
    network = create_encoder(name).network
    trained(network.train())  # statistics that are not 0 and 1
    fused = fuse_activations(fuse_conv_bn(network.eval())).to(memory_format=torch.channels_last)
    x = torch.randn(2, 3, 64, 64).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        expected, found = network.features(x), fused(x)
    assert torch.allclose(found, expected, atol=1e-4 * float(expected.abs().max()))
    assert F.cosine_similarity(found.flatten(1), expected.flatten(1)).min() > 0.9999
    if activations:
        convs = [module for module in fused.modules() if isinstance(module, ActivatedConv)]
        assert sum(conv.name != "none" for conv in convs) == activations


def test_batches_of_other_sizes_than_the_first():
    """The weights are in the order that suits the first batch."""
    network = create_encoder("resnet10-w16").network
    trained(network.train())
    fused = fuse_activations(fuse_conv_bn(network.eval())).to(memory_format=torch.channels_last)
    for shape in [(2, 3, 64, 64), (1, 3, 33, 70), (5, 3, 96, 32)]:
        x = torch.randn(shape).contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            expected, found = network.features(x), fused(x)
        assert torch.allclose(found, expected, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.skipif(
    reduced_precision(torch.device("cpu")) is None, reason="a CPU without bfloat16 instructions"
)
def test_features_in_bfloat16_are_near():
    encoder = create_encoder("resnet50")
    x = torch.randint(256, (2, 3, 64, 64), dtype=torch.uint8)
    device = torch.device("cpu")
    exact, near = (Extractor(encoder, device, 7, p)(x) for p in ("float32", "bfloat16"))
    for a, b in zip(exact, near, strict=True):
        assert F.cosine_similarity(a.float(), b.float(), -1).min() > 0.999


@pytest.mark.parametrize("name", ["relu", "relu6"])
def test_an_activated_convolution(name):
    torch.manual_seed(0)
    conv = nn.Conv2d(6, 12, 3, stride=2, padding=1, groups=2)
    x, other = 9 * torch.randn(2, 6, 9, 9), torch.randn(2, 12, 5, 5)
    fused, activation = ActivatedConv(conv, name), getattr(F, name)
    with torch.inference_mode():
        assert torch.allclose(fused(x), activation(conv(x)), atol=1e-5)
        if name == "relu":
            assert torch.allclose(fused(x, other), F.relu(conv(x) + other), atol=1e-5)


class Shared(nn.Module):
    """A convolution that is called twice, and one whose output has two uses."""

    def __init__(self):
        super().__init__()
        self.conv, self.twice = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)

    def forward(self, x):
        y = self.conv(x)
        return self.twice(self.twice(y).relu() + y.clamp(0) + torch.relu(y)).relu()


def test_what_has_other_uses_stays():
    network = Shared()
    fused = fuse_activations(fx.symbolic_trace(network))
    x = torch.randn(1, 3, 4, 4)
    assert not any(isinstance(module, ActivatedConv) for module in fused.modules())
    assert torch.equal(fused(x), network(x))
