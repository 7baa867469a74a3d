"""Positions of feature map cells, against the input gradient of a network that averages."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from prepro.encoders import create_network
from prepro.encoders.region_positions import map_extent


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("resnet10-w8", 448), ("resnet10-small-w8", 448), ("resnet20", 64),
        ("preresnet18-w8", 448), ("resnet50-w8", 448), ("resnet10-w8", 200),
        ("resnet18-w8-s16", 448), ("resnet50-w8-s8", 448),
        ("inception_resnet_v2", 1200), ("inception_resnet_v2_paper", 1200),
    ],
)  # fmt: skip
def test_a_cell_is_drawn_around_the_middle_of_its_receptive_field(name, side, monkeypatch):
    average = lambda x, size, stride, padding=0, *_, **__: F.avg_pool2d(x, size, stride, padding)  # noqa: E731
    monkeypatch.setattr(F, "max_pool2d", average)
    first, length = map_extent(name, side)
    network = create_network(name).eval()
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.constant_(module.weight, 1 / module.weight[0].numel())
    x = torch.ones(1, 3, 1, side, requires_grad=True)
    rows = network.features(x.expand(1, 3, 107 if "inc" in name else 65, side)).mean((0, 1, 2))
    middle = len(rows) // 2
    for cell in (middle - 1, middle):
        (gradient,) = torch.autograd.grad(rows[cell], x, retain_graph=True)
        share = gradient.double().sum((0, 1, 2))
        centre = (share * (torch.arange(side) + 0.5)).sum() / share.sum()
        assert centre.item() == pytest.approx(first + length * (cell + 0.5) / len(rows), abs=0.5)


def test_timm_cells_divide_the_image_evenly():
    assert map_extent("timm:anything", 224) == (0, 224)
