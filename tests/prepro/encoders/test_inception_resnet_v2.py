"""Both Inception-ResNet-v2: published counts and shapes, and timm's where it is installed."""

import pytest
import torch
from torch import nn

from prepro.encoders import create_network
from prepro.encoders.__main__ import measure
from prepro.encoders.pretrained import torchvision
from prepro.encoders.weights import load_weights

SIDES = {
    "inception_resnet_v2": {
        "conv2d_1a": (32, 149), "conv2d_2a": (32, 147), "conv2d_2b": (64, 147),
        "maxpool_3a": (64, 73), "conv2d_3b": (80, 73), "conv2d_4a": (192, 71),
        "maxpool_5a": (192, 35), "mixed_5b": (320, 35), "mixed_6a": (1088, 17),
        "mixed_7a": (2080, 8), "conv2d_7b": (1536, 8),
    },
    "inception_resnet_v2_paper": {
        "stem_1": (32, 149), "stem_2": (32, 147), "stem_3": (64, 147), "stem_4": (160, 73),
        "stem_5": (192, 71), "stem_6": (384, 35), "reduction_a": (1152, 17),
        "blocks_a": (384, 35), "blocks_b": (1152, 17), "reduction_b": (2048, 8),
        "blocks_c": (2048, 8),
    },
}  # fmt: skip


def meta(name):
    with torch.device("meta"):
        return create_network(name).eval()


@pytest.mark.parametrize(
    ("name", "parameters", "headless", "macs"),
    [
        ("inception_resnet_v2", 55843464, 54306464, 13155794016),
        ("inception_resnet_v2_paper", 31574440, 29525440, 9190937184),
    ],
)
def test_counts_and_shapes_at_299(name, parameters, headless, macs):
    network, found = meta(name), {}
    for layer in network.names:
        module = network.get_submodule(layer)
        module.register_forward_hook(
            lambda m, i, output, layer=layer: found.update({layer: tuple(output.shape[1:3])})
        )
    assert sum(p.numel() for p in network.parameters()) == parameters
    assert parameters - sum(p.numel() for p in network.classif.parameters()) == headless
    assert measure(network, 299)[1] == macs
    assert {layer: found[layer] for layer in SIDES[name]} == SIDES[name]


def test_what_the_two_are_made_of():
    released, paper = meta("inception_resnet_v2"), meta("inception_resnet_v2_paper")
    assert [len(stage) for stage in released.stages()] == [10, 20, 9]
    assert [len(stage) for stage in paper.stages()] == [5, 10, 5]
    assert len(released.state_dict()) == 1306
    for kind, count in ((nn.Conv2d, 244), (nn.BatchNorm2d, 204)):
        assert sum(isinstance(module, kind) for module in released.modules()) == count
    for kind in (nn.Conv2d, nn.BatchNorm2d):
        assert sum(isinstance(module, kind) for module in paper.modules()) == 132
    convolutions = [module for module in paper.modules() if isinstance(module, nn.Conv2d)]
    assert all(convolution.bias is None for convolution in convolutions)


def test_neither_takes_the_others_weights():
    released, paper = meta("inception_resnet_v2"), meta("inception_resnet_v2_paper")
    for network, other in ((released, paper), (paper, released)):
        with pytest.raises(ValueError, match=r"other does not fit this network; .* missing: "):
            load_weights(network, other.state_dict(), "other")


@pytest.mark.parametrize(("size", "side"), [(224, 5), (299, 8), (331, 9), (448, 12)])
def test_sides_of_the_released_ones_last_map(size, side):
    assert measure(meta("inception_resnet_v2"), size)[0] == (1, 1536, side, side)


def test_gradients_explode_without_residual_scaling():
    """Norm of the first convolution's gradient at scale 1.0 over 0.1: 687 / 6.8 were seen."""
    norms = []
    for scale in (1.0, 0.1):
        torch.manual_seed(0)
        network = create_network("inception_resnet_v2_paper", scales=(scale,) * 3).train()
        logits = network(torch.randn(2, 3, 299, 299))
        nn.functional.cross_entropy(logits, torch.tensor([1, 2])).backward()
        norms.append(network.stem_1.conv.weight.grad.norm().item())
    assert norms[0] / norms[1] > 20


def test_the_last_block_is_neither_scaled_nor_rectified():
    network = meta("inception_resnet_v2")
    assert (network.block8.scale, network.block8.relu) == (1.0, False)
    assert [stage[0].scale for stage in network.stages()] == [0.17, 0.10, 0.20]
    assert all(block.relu for stage in network.stages() for block in stage)


def test_logits_are_timms():
    torchvision()
    timm = pytest.importorskip("timm")
    theirs = timm.create_model("inception_resnet_v2", num_classes=10).eval()
    ours = create_network("inception_resnet_v2", classes=10).eval()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict())
    pictures = torch.randn(1, 3, 160, 160)
    with torch.inference_mode():
        expected = theirs.forward_features(pictures)
        assert torch.allclose(ours.features(pictures), expected, atol=1e-6)
        assert torch.allclose(ours(pictures), theirs(pictures), atol=1e-6)


@pytest.mark.parametrize("name", ["inception_resnet_v2", "inception_resnet_v2_paper"])
def test_the_classifier_sees_the_mean_of_the_map(name):
    """A constant map gives the same logits whatever its size."""
    network = create_network(name, classes=7).eval()
    logits = []
    for side in (1, 5):
        network.features = lambda _, side=side: torch.full((1, network.dim, side, side), 0.5)
        logits.append(network(torch.zeros(1)))
    assert torch.allclose(*logits, atol=1e-5)
    assert torch.allclose(logits[0], network.classif(torch.full((1, network.dim), 0.5)), atol=1e-5)
