"""Parameters, multiply-adds and map sizes of every network, against the published tables.

Networks live on torch's meta device: shapes without weights.
"""

import json

import pytest
import torch
from torch import nn

from prepro.encoders import create_network, encoder_table
from prepro.encoders.__main__ import Options, describe, main, measure
from prepro.encoders.families.residual import residual


def counted(name, size=224, **options):
    with torch.device("meta"):
        network = create_network(name, **options).eval()
    return sum(p.numel() for p in network.parameters()), measure(network, size)[1]


SHORTCUTS = {
    18: [(11515688, 1794805760), (11689512, 1814073344), (12043816, 1878298624)],
    34: [(21623848, 3644493824), (21797672, 3663761408), (22716840, 3830747136)],
    50: [(22780456, 3729522688), (25557032, 4089184256), (40128552, 6555435008)],
    101: [(41772584, 7441743872), (44549160, 7801405440), (76981288, 13761511424)],
    152: [(57416232, 11153965056), (60192808, 11513626624), (107335720, 20967587840)],
}


@pytest.mark.parametrize("depth", SHORTCUTS)
def test_imagenet_depths_and_shortcuts(depth):
    assert [counted(f"resnet{depth}-{kind}") for kind in "ABC"] == SHORTCUTS[depth]
    assert counted(f"plain{depth}") == SHORTCUTS[depth][0]


@pytest.mark.parametrize(
    ("depth", "convolutions", "keys", "headless", "running"),
    [
        (18, 20, 122, 11176512, 9600),
        (34, 36, 218, 21284672, 17024),
        (50, 53, 320, 23508032, 53120),
        (101, 104, 626, 42500160, 105344),
        (152, 155, 932, 58143808, 151424),
    ],
)
def test_what_is_in_a_state_dict(depth, convolutions, keys, headless, running):
    with torch.device("meta"):
        network = create_network(f"resnet{depth}")
    state = network.state_dict()
    assert sum(isinstance(module, nn.Conv2d) for module in network.modules()) == convolutions
    assert len(state) == keys
    assert sum(p.numel() for n, p in network.named_parameters() if n[:3] != "fc.") == headless
    assert sum(t.numel() for n, t in state.items() if "running_" in n) == running
    assert depth != 50 or sum("num_batches_tracked" not in name for name in state) == 267


@pytest.mark.parametrize(
    ("depth", "macs"), [(50, 3857973248), (101, 7570194432), (152, 11282415616)]
)
def test_stride_on_the_first_1x1(depth, macs):
    assert counted(f"resnet{depth}-1x1") == (SHORTCUTS[depth][1][0], macs)
    assert SHORTCUTS[depth][1][1] - macs == 231211008


def test_where_resnet50_strides():
    with torch.device("meta"):
        network = create_network("resnet50")
    strided = [
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d) and module.stride == (2, 2)
    ]
    later = [f"layer{k}.0.{name}" for k in (2, 3, 4) for name in ("conv2", "downsample.0")]
    assert strided == ["conv1", *later]


@pytest.mark.parametrize(
    ("name", "parameters", "macs"),
    [
        ("resnext50_32x4d", 25028904, 4230479872),
        ("resnext101_32x4d", 44177704, 7969996800),
        ("resnext101_32x8d", 88791336, 16414015488),
        ("resnext101_64x4d", 83455272, 15460270080),
        ("wide_resnet50_2", 68883240, 11398021120),
        ("wide_resnet101_2", 126886696, 22753050624),
        ("preresnet200", 64666152, 15007481856),
    ],
)
def test_resnext_wide_and_the_200_layers(name, parameters, macs):
    assert counted(name) == (parameters, macs)


@pytest.mark.parametrize(
    ("depth", "parameters"),
    [(18, 11687720), (34, 21795880), (50, 25549352), (101, 44541480), (152, 60185128)],
)
def test_preactivation(depth, parameters):
    assert counted(f"preresnet{depth}")[0] == parameters


@pytest.mark.parametrize(
    ("groups", "group_width", "parameters"),
    [(1, 64, 25557032), (2, 40, 25425000), (4, 24, 25292968), (8, 14, 25603016), (32, 4, 25028904)],
)
def test_resnexts_cardinality_at_one_complexity(groups, group_width, parameters):
    found = counted("resnet50", groups=groups, group_width=group_width)
    assert found[0] == parameters


CIFAR = {
    20: (269722, 272474, 283962, 40551040),
    32: (464154, 466906, 489594, 68862592),
    44: (658586, 661338, 695226, 97174144),
    56: (853018, 855770, 900858, 125485696),
    110: (1727962, 1730714, 1826202, 252887680),
}


@pytest.mark.parametrize("depth", CIFAR)
def test_cifar_nets(depth):
    *parameters, macs = CIFAR[depth]
    assert [counted(f"resnet{depth}-{kind}", 32)[0] for kind in "ABC"] == parameters
    assert counted(f"resnet{depth}", 32)[1] == macs
    assert counted(f"plain{depth}", 32) == (parameters[0], macs)
    assert counted(f"preresnet{depth}", 32)[0] == parameters[0]


def test_the_other_cifar_nets():
    assert counted("resnet1202", 32) == (19421274, 2829238912)
    assert counted("preresnet164", 32)[0] == 2602906
    assert counted("resnet110", 32, classes=100)[0] == 1727962 + 5850 == 1733812
    assert counted("resnext29_16x64d", 32)[0] == 68155210
    assert counted("resnext29_8x64d", 32)[0] == 34426698


@pytest.mark.parametrize(
    ("size", "side"),
    [(224, 7), (256, 8), (288, 9), (299, 10), (320, 10), (384, 12), (448, 14), (512, 16)],
)
def test_sides_of_the_last_map(size, side):
    for name, width in (("resnet18", 512), ("resnet50", 2048)):
        with torch.device("meta"):
            network = create_network(name).eval()
        assert measure(network, size)[0] == (1, width, side, side)


SMALL = ("resnet18", "resnet34")
LARGE = ("resnet50", "resnet101", "resnet152", "resnext50_32x4d", "wide_resnet101_2")


@pytest.mark.parametrize("name", [*SMALL, *LARGE])
def test_maps_of_every_stage(name):
    with torch.device("meta"):
        network = create_network(name).eval()
        x, sides = torch.empty(1, 3, 224, 224), []
        for module in (network.conv1, *network.stages()):
            module.register_forward_hook(lambda m, i, o: sides.append((o.shape[1], o.shape[2])))
        network(x)
    expansion = 1 if name in SMALL else 4
    stages = [(64 * expansion << k, 56 >> k) for k in range(4)]
    assert sides == [(64, 112), *stages]


@pytest.mark.parametrize(
    ("name", "sides"),
    [("resnet10-w32-small", (256, 4)), ("resnet18-cifar", (512, 8)), ("resnet10-w32", (256, 2))],
)
def test_stems_and_widths_in_a_name(name, sides):
    with torch.device("meta"):
        network = create_network(name).eval()
    assert measure(network, 64)[0] == (1, sides[0], sides[1], sides[1])


def test_the_list_of_encoders(capsys):
    main(Options(("resnet50", "inception_resnet_v2"), json=True))
    fifty, inception = json.loads(capsys.readouterr().out)
    assert fifty["weights"] == ["IMAGENET1K_V2", "IMAGENET1K_V1"]  # the default first
    assert (fifty["width"], fifty["regions"], fifty["size"]) == (2048, 49, 224)
    assert (inception["width"], inception["regions"]) == (1536, 64)
    main(Options(("resnet20",)))
    assert "269,722" in capsys.readouterr().out
    with pytest.raises(ValueError, match="nearest: resnet18"):
        describe("resnet19")
    assert describe("resnet50-s16")["weights"] == describe("resnet50")["weights"]
    assert describe("resnet50-s16")["regions"] == 196 and not describe("resnet50-A")["weights"]


def test_torchvisions_own_record_of_its_weights():
    from prepro.encoders.pretrained import torchvision

    models = torchvision().models
    for name, spec in encoder_table().items():
        if spec.published and spec.network is residual:
            meta = models.get_model_weights(name).DEFAULT.meta
            parameters, macs = counted(name)
            assert parameters == meta["num_params"]
            assert macs / 1e9 == pytest.approx(meta["_ops"], abs=6e-4)
