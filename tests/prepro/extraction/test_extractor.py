"""The extractor: what is fused, how batches are padded, when a traced network is trusted."""

from types import SimpleNamespace

import pytest
import torch
from torch import fx, nn
from torch.nn import functional as F

from prepro.encoders import create_encoder
from prepro.extraction.extractor import Extractor, _agrees
from prepro.extraction.fuse_activation import ActivatedConv, fuse_activations
from prepro.extraction.fuse_batchnorm import fuse_conv_bn

CPU = torch.device("cpu")


def fused_convs(network):
    return [module for module in network.modules() if isinstance(module, ActivatedConv)]


@pytest.mark.parametrize(
    ("precision", "fuses"), [("float32", True), ("bfloat16", True), ("float16", False)]
)
def test_activations_are_fused_on_a_cpu_but_not_in_float16(precision, fuses):
    extractor = Extractor(create_encoder("resnet10-w8"), CPU, 7, precision, fixed_size=True)
    assert bool(fused_convs(extractor.network)) == fuses
    assert not extractor.compiled  # that is for CUDA


@pytest.mark.parametrize(("compiled", "seen"), [(True, [3, 3, 3, 4, 4]), (False, [3, 2, 3, 4, 1])])
def test_smaller_batches_are_padded_where_the_network_is_compiled(compiled, seen):
    torch.manual_seed(0)
    extractor = Extractor(create_encoder("resnet10-w8"), CPU, 7)
    network, shapes = extractor.network, []

    def watched(x):
        shapes.append(tuple(x.shape))
        return network(x)

    plain = Extractor(create_encoder("resnet10-w8"), CPU, 7)
    plain.network = network
    extractor.network, extractor.compiled = watched, compiled
    for count in (3, 2, 3, 4, 1):
        pixels = torch.randint(256, (count, 3, 40, 48), dtype=torch.uint8)
        for found, expected in zip(extractor(pixels), plain(pixels), strict=True):
            assert torch.allclose(found.float(), expected.float(), rtol=2e-3, atol=1e-3)
            assert len(found) == count
    assert shapes == [(count, 3, 40, 48) for count in seen]


@pytest.mark.parametrize(
    ("factor", "agrees"), [(1, True), (1.0005, True), (1.002, False), (1.6, False), (-1, False)]
)
def test_a_traced_network_must_compute_the_same_map_of_an_image(factor, agrees):
    def features(x):
        assert x.shape == (1, 3, 8, 8)
        return 1000 * x

    encoder = SimpleNamespace(
        transform=SimpleNamespace(crop=8), network=SimpleNamespace(features=features)
    )
    assert _agrees(SimpleNamespace(forward=lambda x: features(x) * factor), encoder) is agrees


class Net(nn.Module):
    """What `forward` computes with two convolutions, which a BatchNorm may follow."""

    def __init__(self, forward, norm=None, **more):
        super().__init__()
        torch.manual_seed(1)
        self.a = nn.Conv2d(3, 3, 3, **{"padding": 1} | more)
        self.b = nn.Conv2d(3, 3, 3, padding=1)
        self.norm, self.compute = norm, forward

    def forward(self, x):
        return self.compute(self, x)

    features = forward


CASES = {  # name -> the network, and how many convolutions have an activation afterwards
    "relu": (Net(lambda n, x: F.relu(n.a(x))), 1),
    "relu6": (Net(lambda n, x: F.relu6(4 * n.b(F.relu6(n.a(9 * x))))), 1),
    "sum": (Net(lambda n, x: F.relu(n.a(x) + x)), 1),
    "sum from the left": (Net(lambda n, x: F.relu(x + n.a(x))), 1),
    "torch.add": (Net(lambda n, x: torch.relu(torch.add(x, n.a(x)))), 1),
    "sum in place": (Net(lambda n, x: torch.relu(n.a(x).__iadd__(x))), None),
    "sum of two": (Net(lambda n, x: F.relu(n.a(x) + n.b(x))), 1),
    "scaled sum": (Net(lambda n, x: torch.relu(torch.add(x, n.a(x), alpha=3))), 0),
    "constant": (Net(lambda n, x: F.relu(n.a(x) + 1)), 0),
    "relu6 of a sum": (Net(lambda n, x: F.relu6(n.a(9 * x) + x)), 0),
    "twice itself": (Net(lambda n, x: (lambda y: F.relu(y + y))(n.a(x))), 0),
    "difference": (Net(lambda n, x: F.relu(n.a(x) - x)), 0),
    "product": (Net(lambda n, x: F.relu(n.a(x) * x)), 0),
    "used again": (Net(lambda n, x: (lambda y: F.relu(y) + y)(n.a(x))), 0),
    "sum used again": (Net(lambda n, x: (lambda y: F.relu(y) * y)(n.a(x) + x)), 0),
    "its convolution used again": (
        Net(lambda n, x: (lambda y: F.relu(y + x) * y)(n.a(x))),
        0,
    ),
    "called twice": (Net(lambda n, x: F.relu(n.a(F.relu(n.a(x))))), 0),
    "padding same": (Net(lambda n, x: F.relu(n.a(x)), padding="same"), 0),
    "reflected": (Net(lambda n, x: F.relu(n.a(x)), padding_mode="reflect"), 0),
    "of a constant": (Net(lambda n, x: n.a(x) + F.relu(torch.ones(1))), 0),
    "of the input": (Net(lambda n, x: n.a(F.relu(x))), 0),
}


@pytest.mark.parametrize("name", CASES)
def test_activations_and_sums_are_fused_where_the_values_stay(name):
    network, activated = CASES[name]
    x = torch.randn(2, 3, 6, 5, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = network(x.clone())
        fused = fuse_activations(fx.symbolic_trace(network))
        assert torch.allclose(fused(x.clone()), expected, atol=1e-5)
    if activated is not None:
        assert sum(conv.name != "none" for conv in fused_convs(fused)) == activated


def normed(**more):
    norm = nn.BatchNorm2d(3, **more)
    torch.manual_seed(2)
    if norm.affine:
        nn.init.uniform_(norm.weight, 0.5, 1.5), nn.init.uniform_(norm.bias, -1, 1)
    if norm.track_running_stats:
        norm.running_mean.uniform_(-1, 1), norm.running_var.uniform_(0.5, 2)
    return norm


@pytest.mark.parametrize(
    ("network", "left"),
    [
        (Net(lambda n, x: n.norm(n.a(x)), normed()), 0),
        (Net(lambda n, x: n.norm(n.a(x)), normed(affine=False)), 0),
        (Net(lambda n, x: n.norm(n.a(x)), normed(track_running_stats=False)), 1),
        (Net(lambda n, x: (lambda y: n.norm(y) + y)(n.a(x)), normed()), 1),
        (Net(lambda n, x: n.a(n.norm(x)), normed()), 1),
        (Net(lambda n, x: n.norm(F.relu(n.a(x))), normed()), 1),
        (Net(lambda n, x: n.norm(n.a(x)), nn.GroupNorm(3, 3)), 0),
        (Net(lambda n, x: n.a(x)), 0),
    ],
)
def test_a_batchnorm_is_fused_only_into_a_convolution_of_its_own(network, left):
    x = torch.randn(2, 3, 6, 5, generator=torch.Generator().manual_seed(0))
    network.eval()
    with torch.inference_mode():
        expected = network(x)
        fused = fuse_conv_bn(network)
        assert torch.allclose(fused(x), expected, atol=1e-5)
    assert sum(isinstance(module, nn.BatchNorm2d) for module in fused.modules()) == left
