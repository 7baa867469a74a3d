"""The residual family against torchvision's own networks, and against the definitions."""

import pytest
import torch
from torch import nn

from prepro.encoders import create_encoder, create_network, encoder_table
from prepro.encoders.families.residual import (
    PadShortcut,
    residual,
    stage_blocks,
)
from prepro.encoders.initialisation import scale_residual_branches
from prepro.encoders.pretrained import torchvision

PUBLISHED = [
    name for name, spec in encoder_table().items() if spec.published and spec.network is residual
]


@pytest.fixture(scope="module")
def models():
    return torchvision().models


def randomise(network):
    """Statistics and affines that a wrong order or a forgotten BatchNorm would show."""
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight.data, module.bias.data, module.running_mean):
                tensor.normal_(1, 0.1, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
    return network.eval()


@pytest.mark.parametrize("name", PUBLISHED)
def test_names_order_and_shapes_are_torchvisions(name, models):
    with torch.device("meta"):
        ours, theirs = create_network(name), models.get_model(name)
    shapes = [[(k, t.shape) for k, t in net.state_dict().items()] for net in (ours, theirs)]
    assert shapes[0] == shapes[1]
    assert [n for n, _ in ours.named_parameters()] == [n for n, _ in theirs.named_parameters()]


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnext50_32x4d", "wide_resnet50_2"])
def test_logits_are_torchvisions_to_the_bit(name, models):
    theirs = randomise(models.get_model(name))
    ours = create_network(name).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    pictures = torch.randn(2, 3, 96, 128)
    with torch.inference_mode():
        assert torch.equal(ours(pictures), theirs(pictures))


@pytest.mark.parametrize(("stride", "dilated"), [(16, (0, 0, 1)), (8, (0, 1, 1))])
def test_dilated_stages_are_torchvisions(stride, dilated, models):
    theirs = randomise(models.resnet50(replace_stride_with_dilation=dilated))
    ours = create_network("resnet50", stride=stride).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    pictures = torch.randn(1, 3, 96, 128)
    with torch.inference_mode():
        assert torch.equal(ours(pictures), theirs(pictures))
        assert ours.features(pictures).shape == (1, 2048, 96 // stride, 128 // stride)


@pytest.mark.parametrize(
    ("name", "stride"),
    [("resnet18-s16", 16), ("preresnet18-s8", 8), ("resnet34-A-s8", 8), ("resnet50-1x1-s16", 16),
     ("resnet10-w8-s4", 4)],
)  # fmt: skip
def test_a_denser_map_has_the_coarser_one_in_it(name, stride):
    """Every other cell of a dilated stage sees what a cell of the strided stage sees."""
    dense, coarse = (create_encoder(n).network.double() for n in (name, name.rsplit("-s", 1)[0]))
    x = torch.randn(1, 3, 8 * 32, 8 * 32, dtype=torch.float64)
    with torch.inference_mode():
        many, few = dense.features(x), coarse.features(x)
    step = many.shape[-1] // few.shape[-1]
    assert many.shape[-1] == x.shape[-1] // stride
    assert torch.allclose(many[..., ::step, ::step], few, rtol=1e-9, atol=1e-9)


def test_gradients_are_torchvisions(models):
    theirs = randomise(models.resnet18(num_classes=7)).train()
    ours = create_network("resnet18", classes=7).train()
    ours.load_state_dict(theirs.state_dict())
    pictures = torch.randn(2, 3, 64, 64)
    for network in (ours, theirs):
        network(pictures).square().sum().backward()
    pairs = zip(ours.parameters(), theirs.parameters(), strict=True)
    assert all(torch.equal(a.grad, b.grad) for a, b in pairs)


@pytest.mark.parametrize("outputs", [8, 12, 32])
def test_shortcut_a_is_a_1x1_average_pool_and_zeros(outputs):
    x = torch.randn(2, 8, 7, 6)
    y = PadShortcut(8, outputs, 2)(x)
    assert torch.equal(y[:, :8], nn.functional.avg_pool2d(x, 1, 2))
    assert y.shape[1] == outputs and not y[:, 8:].any()


def test_a_plain_net_is_the_residual_one_without_additions():
    plain, shortcut = create_network("plain20").eval(), create_network("resnet20").eval()
    plain.load_state_dict(shortcut.state_dict())
    x = torch.rand(1, 16, 8, 8)
    ours, theirs = plain.layer1[0], shortcut.layer1[0]
    branch = theirs.bn2(theirs.conv2(theirs.bn1(theirs.conv1(x)).relu()))
    assert torch.equal(ours(x), branch.relu())
    assert torch.equal(theirs(x), (branch + x).relu())


def test_preactivation_serves_branch_and_shortcut_as_the_stage_demands():
    network = create_network("preresnet18").eval()
    first, second, later = network.layer1[0], network.layer1[1], network.layer2[0]
    assert not hasattr(first, "bn1") and hasattr(second, "bn1")
    x = torch.randn(1, 64, 8, 8)
    branch = first.conv2(first.bn2(first.conv1(x)).relu())
    assert torch.allclose(first(x), x + branch, atol=1e-6)
    active = second.bn1(x).relu()
    branch = second.conv2(second.bn2(second.conv1(active)).relu())
    assert torch.allclose(second(x), x + branch, atol=1e-6)
    active = later.bn1(x).relu()
    branch = later.conv2(later.bn2(later.conv1(active)).relu())
    assert torch.allclose(later(x), later.downsample(active) + branch, atol=1e-6)
    assert isinstance(later.downsample, nn.Conv2d)


def test_initial_weights_depend_on_the_seed_alone():
    torch.manual_seed(5)
    first = create_encoder("resnet10-w32-small", seed=3).sha256
    state = torch.get_rng_state()
    assert create_encoder("resnet10-w32-small", seed=3).sha256 == first
    assert torch.equal(torch.get_rng_state(), state)
    assert create_encoder("resnet10-w32-small", seed=4).sha256 != first


def test_initial_convolutions_are_hes():
    weight = create_encoder("resnet18").network.layer4[1].conv2.weight
    assert weight.std().item() == pytest.approx((2 / (9 * 512)) ** 0.5, rel=0.01)
    assert not create_encoder("resnet18").network.fc.bias.any()


def test_depths_that_do_not_exist():
    assert stage_blocks(56, "basic") == (9, 9, 9) and stage_blocks(29, "bottleneck") == (3, 3, 3)
    with pytest.raises(ValueError, match=r"depth 19: neither of 10, 18, .* nor 6n \+ 2"):
        residual(19)
    with pytest.raises(ValueError, match="no encoder is called 'resnet50-D'"):
        create_encoder("resnet50-D")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depht": 3}, "residual: .*unexpected keyword argument 'depht'"),
        ({"groups": 2}, "residual: .*unexpected keyword argument 'groups'"),
        ({"shortcut": "D"}, "shortcut 'D': choose one of A, B, C, none"),
        ({"block": "wide"}, "block 'wide': choose one of basic, bottleneck"),
        ({"stem": "tiny"}, "stem 'tiny': choose one of imagenet, cifar, small"),
        ({"stride": 2}, "stride 2: give a power of two, 4 or more"),
        ({"stride": 24}, "stride 24: give a power of two, 4 or more"),
        ({"block": "bottleneck", "stride_on": "2x2"}, "stride_on '2x2': choose one of 3x3, 1x1"),
    ],
)
def test_options_that_do_not_exist(options, message):
    with torch.device("meta"), pytest.raises(ValueError, match=message):
        create_network("resnet18", **options)


@pytest.mark.parametrize("name", ["resnet101", "preresnet101", "plain34"])
def test_scaled_residual_branches_stay_within_float16(name):
    """The maps of 33 additions double their variance 33 times; the limit of float16 is 65,504."""
    network, x = create_encoder(name).network, torch.randn(1, 3, 64, 64)
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    scale_residual_branches(network)
    with torch.inference_mode():
        assert network.features(x).abs().max() < 100
    changed = {key for key, t in network.state_dict().items() if not torch.equal(t, before[key])}
    kind = {"resnet101": "bn3.weight", "preresnet101": "conv3.weight"}.get(name)
    assert changed == {key for key in before if kind and key.endswith(kind)}


def test_grouped_convolutions_are_resnexts_split_branches():
    """Forms B (a branch for each group) and C (grouped): the same numbers and parameters."""
    grouped = nn.Conv2d(8, 8, 3, padding=1, groups=4, bias=False)
    branches = [nn.Conv2d(2, 2, 3, padding=1, bias=False) for _ in range(4)]
    for branch, weight in zip(branches, grouped.weight.split(2), strict=True):
        branch.weight.data = weight.data
    x = torch.randn(2, 8, 5, 5)
    split = torch.cat([f(part) for f, part in zip(branches, x.split(2, 1), strict=True)], 1)
    assert torch.allclose(split, grouped(x), atol=1e-6)
    assert sum(branch.weight.numel() for branch in branches) == grouped.weight.numel()
