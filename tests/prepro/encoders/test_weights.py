"""Weight files: formats, names of other systems, and messages for weights that do not fit."""

import json
import pickle
import re

import pytest
import torch
from safetensors import safe_open
from torch import nn

from prepro.encoders import (
    create_encoder,
    create_network,
    from_state_dict,
    load,
    reset_classifier,
    save,
)
from prepro.encoders.pretrained import choose_weights, torchvision, torchvision_weights
from prepro.encoders.weights import load_weights, read, rename_tensors
from prepro.transform import Transform

SMALL = "resnet10-w8"
BASIC = {"layer_type": "basic", "depths": [2, 2, 2, 2], "hidden_sizes": [64, 128, 256, 512]}


def small_state(classes=1000):
    torch.manual_seed(2)
    network = create_network(SMALL, classes=classes)
    for name, tensor in network.state_dict().items():
        if "running" in name:
            tensor.uniform_(0.5, 1.5)
    return network.eval()


def test_saved_encoder_loads_identically(tmp_path):
    transform = Transform("square", 80, 64, "bicubic", (0.5,) * 3, (0.25,) * 3, "ceil")
    encoder = reset_classifier(create_encoder(SMALL, seed=1), ("a", "b", "c"))
    encoder.network.bn1.running_mean.fill_(3)
    object.__setattr__(encoder, "transform", transform)
    save(encoder, tmp_path / "e.safetensors", {"note": {"top1": 20.5}})
    again = create_encoder(SMALL, str(tmp_path / "e.safetensors"), seed=9)
    assert again.sha256 == encoder.sha256 and again.transform == transform
    assert (again.weights, again.classes, again.published) == (
        "e.safetensors",
        ("a", "b", "c"),
        False,
    )
    with safe_open(tmp_path / "e.safetensors", "pt") as file:
        header = file.metadata()
    assert header["encoder"] and json.loads(header["note"]) == {"top1": 20.5}
    assert json.loads(header["transform"]) == transform.to_dict()
    assert load(tmp_path / "e.safetensors").sha256 == encoder.sha256
    assert (
        from_state_dict(encoder.metadata(), encoder.network.state_dict()).sha256 == encoder.sha256
    )


def test_hash_covers_every_tensor():
    encoder = create_encoder(SMALL)
    before = encoder.sha256
    encoder.network.layer4[0].bn2.num_batches_tracked += 1
    assert encoder.sha256 != before


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"state_dict": s, "epoch": 3}])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_pth_files_of_the_usual_kinds(tmp_path, wrap, prefix):
    network = small_state(classes=5)
    state = {prefix + k: t for k, t in network.state_dict().items() if "num_batches" not in k}
    torch.save(wrap(state), tmp_path / "w.pth")
    encoder = create_encoder(SMALL, str(tmp_path / "w.pth"))
    x = torch.randn(1, 3, 64, 64)
    assert torch.equal(encoder.network(x), network(x)) and encoder.weights == "w.pth"


class Payload:
    def __reduce__(self):
        return (open, ("evil", "w"))


def test_pickle_runs_no_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w.pth").write_bytes(pickle.dumps({"fc.weight": Payload()}))
    torch.save({"fc.weight": Payload()}, tmp_path / "z.pth")
    for name in ("w.pth", "z.pth"):
        with pytest.raises(ValueError, match="without running code"):
            create_encoder(SMALL, str(tmp_path / name))
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("w.safetensors", b"<html>", "not a safetensors file"),
        ("w.pth", b"version https://git-lfs.github.com/spec/v1", "without running code"),
        ("w.pth", b"", "without running code"),
        ("w.t7", b"x", "are read from .safetensors, .pth"),
    ],
)
def test_other_files_are_errors(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        create_encoder(SMALL, str(tmp_path / name))
    assert "\n" not in str(caught.value) and name in str(caught.value)


def test_error_for_other_weights_lists_the_differences(tmp_path):
    torch.save(create_encoder("resnet18").network.state_dict(), tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"80 missing: layer1\.2\.conv1\.weight.* and 76 more"):
        create_encoder("resnet34", str(tmp_path / "w.pth"))
    with pytest.raises(ValueError, match=r"unexpected: layer1\.1\.conv1.*of another shape: conv1"):
        create_encoder(SMALL, str(tmp_path / "w.pth"))
    save(create_encoder(SMALL), tmp_path / "e.safetensors")
    with pytest.raises(ValueError, match="holds resnet10-w8, not resnet18"):
        create_encoder("resnet18", str(tmp_path / "e.safetensors"))
    with pytest.raises(FileNotFoundError, match="no such weights file"):
        create_encoder("resnet18", str(tmp_path / "none.pth"))


def to_hugging_face(state):
    """Our names in transformers' words, written from its documentation the other way round."""
    renamed = {}
    for name, tensor in state.items():
        kind = "convolution" if re.search(r"conv\d", name) else "normalization"
        if match := re.match(r"(conv|bn)1\.(.*)", name):
            name = f"resnet.embedder.embedder.{kind}.{match[2]}"
        elif match := re.match(r"layer(\d)\.(\d+)\.(conv|bn)(\d)\.(.*)", name):
            stage, block, _, layer, rest = match.groups()
            path = f"stages.{int(stage) - 1}.layers.{block}.layer.{int(layer) - 1}"
            name = f"resnet.encoder.{path}.{kind}.{rest}"
        elif match := re.match(r"layer(\d)\.0\.downsample\.([01])\.(.*)", name):
            kind = ("convolution", "normalization")[int(match[2])]
            stage = int(match[1]) - 1
            name = f"resnet.encoder.stages.{stage}.layers.0.shortcut.{kind}.{match[3]}"
        else:
            name = name.replace("fc.", "classifier.1.")
        renamed[name] = tensor
    return renamed


def test_hugging_faces_resnet50():
    with torch.device("meta"):
        state = create_network("resnet50").state_dict()
    foreign = to_hugging_face(state)
    assert len(foreign) == 320 and not set(foreign) & set(state)
    assert rename_tensors(foreign).keys() == state.keys()
    assert all(rename_tensors(foreign)[name] is tensor for name, tensor in state.items())


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("resnet18", BASIC),
        ("resnet50", {}),
        ("resnet50-1x1", {"downsample_in_bottleneck": True}),
    ],
)
def test_logits_are_transformers(name, options):
    torchvision()
    transformers = pytest.importorskip("transformers")
    config = transformers.ResNetConfig(num_labels=10, **options)
    theirs = transformers.ResNetForImageClassification(config).eval()
    for key, tensor in theirs.named_buffers():
        if "running" in key:
            tensor.uniform_(0.5, 1.5)
    network = create_network(name, classes=10).eval()
    load_weights(network, theirs.state_dict(), "transformers")
    x = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(network(x), theirs(x).logits)


def test_fbresnets_biases_fold_into_the_means():
    network = small_state()
    state = network.state_dict()
    foreign = {k.replace("fc.", "last_linear."): t.clone() for k, t in state.items()}
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            foreign[f"{name}.bias"] = torch.randn(module.out_channels)
    load_weights(network, foreign, "fbresnet")
    x = torch.randn(2, 3, 64, 64)
    fuse_conv_bn = network(x)
    load_weights(network, state, "ours")
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            module.bias = nn.Parameter(foreign[f"{name}.bias"])
    for key, tensor in foreign.items():
        if "running_mean" in key:
            network.state_dict()[key].copy_(tensor)
    assert (network(x) - fuse_conv_bn).abs().max() < 1e-5


def test_fbresnet152_has_the_published_size():
    with torch.device("meta"):
        network = create_network("resnet152")
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    biases = sum(module.out_channels for module in convolutions)
    assert biases == 75712
    assert sum(p.numel() for p in network.parameters()) + biases == 60268520


def test_cadenes_inception_loses_its_background_class():
    with torch.device("meta"):
        network = create_network("inception_resnet_v2")
        state = {k: t for k, t in network.state_dict().items() if "num_batches" not in k}
    assert len(state) == 1102
    foreign = {k.replace("classif.", "last_linear."): t for k, t in state.items()}
    foreign["last_linear.weight"] = torch.randn(1001, 1536)
    foreign["last_linear.bias"] = torch.arange(1001.0)
    found = rename_tensors(foreign)
    assert found.keys() == state.keys()
    assert torch.equal(found["classif.bias"], torch.arange(1.0, 1001))
    assert torch.equal(found["classif.weight"], foreign["last_linear.weight"][1:])


def test_torchvisions_weights_by_name():
    rows = torchvision_weights("resnet50")
    assert [row.name for row in rows] == ["IMAGENET1K_V2", "IMAGENET1K_V1"]
    assert [row.transform.resize for row in rows] == [232, 256]
    assert all(row.transform.crop == 224 and len(row.classes) == 1000 for row in rows)
    chosen = choose_weights("resnet50", "ResNet50_Weights.IMAGENET1K_V1", rows)
    assert chosen == rows[1] and re.search(r"-[0-9a-f]{8}\.pth$", chosen.url)
    with pytest.raises(ValueError, match="IMAGENET1K_V2, IMAGENET1K_V1"):
        choose_weights("resnet50", "IMAGENET21K", rows)
    with pytest.raises(ValueError, match="resnet10 has no published weights"):
        create_encoder("resnet10", "default")


@pytest.fixture
def cached(tmp_path, monkeypatch):
    """torch.hub's cache, with a file of the published name for resnet18."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    row = choose_weights("resnet18", "default", torchvision_weights("resnet18"))
    path = tmp_path / "hub" / "checkpoints" / row.url.rpartition("/")[2]
    path.parent.mkdir(parents=True)
    return path


def test_published_weights_bring_their_transform_and_classes(cached):
    torch.save(create_encoder("resnet18", seed=8).network.state_dict(), cached)
    encoder = create_encoder("resnet18", "default")
    assert encoder.published and encoder.weights == "IMAGENET1K_V1"
    assert encoder.sha256 == create_encoder("resnet18", seed=8).sha256
    assert encoder.classes[:2] == ("tench", "goldfish") and encoder.transform == Transform()


def test_a_new_classifier_keeps_the_rest():
    encoder = create_encoder(SMALL, seed=1)
    trunk = {k: t.clone() for k, t in encoder.network.state_dict().items() if k[:3] != "fc."}
    changed = reset_classifier(encoder, ("x", "y"))
    assert changed.network(torch.randn(1, 3, 32, 32)).shape == (1, 2)
    assert not changed.network.fc.bias.any()
    assert all(torch.equal(changed.network.state_dict()[k], t) for k, t in trunk.items())
    assert reset_classifier(changed, ("x", "y")).network.fc is changed.network.fc


def test_missing_tensor_is_an_error(tmp_path):
    path = tmp_path / "e.safetensors"
    save(create_encoder(SMALL), path)
    tensors, header = read(path)
    del tensors["fc.bias"]
    with pytest.raises(ValueError, match=r"1 missing: fc\.bias"):
        from_state_dict(header, tensors)
