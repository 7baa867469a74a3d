"""Fused convolutions against the network itself, and against PyTorch's plain operations."""

import pytest
import torch
from torch import fx, nn
from torch.nn import functional as F

from prepro.encoders import create_encoder
from prepro.extraction.fuse_activation import ActivatedConv, fuse_activations
from prepro.extraction.fuse_batchnorm import fuse_conv_bn
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
        count = sum(isinstance(module, ActivatedConv) for module in fused.modules())
        assert count == activations


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
