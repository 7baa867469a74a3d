"""Layouts and stages of models of a few lines that have timm's interface."""

import pytest
import torch
from torch import nn

from prepro.encoders.pretrained import torchvision
from prepro.encoders.timm_encoder import TimmNetwork, timm_transform
from prepro.encoders.timm_layout import Layout, find_layout, unused_weights
from prepro.encoders.timm_stages import find_stages


class Model(nn.Module):
    """forward_features returns a map or tokens of `shape`, whatever the image, times a weight."""

    def __init__(self, *shape: int, features: int = 6, **attributes: object) -> None:
        super().__init__()
        self.shape, self.num_features, self.pretrained_cfg = shape, features, {}
        self.body, self.head = nn.Linear(1, 1, bias=False), nn.Linear(1, 1)
        self.seen: list[tuple[int, ...]] = []
        for name, value in attributes.items():
            setattr(self, name, value)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        self.seen.append(tuple(x.shape))
        assert not self.training
        return self.body.weight.sum() * x.new_ones(len(x), *self.shape)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (Model(6, 4, 5), Layout("channels first", 6)),
        (Model(4, 5, 6), Layout("channels last", 6)),
        (Model(6, 4, 6), Layout("channels first", 6)),
        (Model(8, 4, 5), Layout("channels first", 8)),  # num_features is that of the head
        (Model(9, 6), Layout("tokens", 6, 0)),
        (Model(9, 8), Layout("tokens", 8, 0)),
        (Model(10, 6), Layout("tokens", 6, 1)),
        (Model(24, 6), Layout("tokens", 6, 8)),  # registers: the largest square below
        (Model(1, 6), Layout("tokens", 6, 0)),
        (Model(10, 6, num_prefix_tokens=6), Layout("tokens", 6, 6)),
        (Model(10, 6, num_prefix_tokens=10), Layout("tokens", 6, 1)),
        (Model(10, 6, num_prefix_tokens="?"), Layout("tokens", 6, 1)),
    ],
)
def test_the_layout_follows_from_the_shape(model, expected):
    assert find_layout(model.train()) == expected
    assert model.training and model.seen[0] == (1, 3, 224, 224)
    assert len({expected, find_layout(model)}) == 1


def test_the_size_of_the_image_is_that_of_the_weights():
    model = Model(9, 6, pretrained_cfg={"input_size": (1, 32, 48)})
    find_layout(model.eval())
    assert not model.training and model.seen == [(1, 1, 32, 48)]


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        ((6,), r"returns no map and no tokens \(shape \(1, 6\)\)"),
        ((6, 1, 2, 2), r"returns no map and no tokens \(shape \(1, 6, 1, 2, 2\)\)"),
        ((-1, 6), "^its features cannot be computed"),
    ],
)
def test_shapes_that_are_no_map(shape, reason):
    with pytest.raises(ValueError, match=reason) as raised:
        find_layout(Model(*shape))
    assert "\n" not in str(raised.value)


def test_features_of_other_kinds_and_silent_errors(monkeypatch):
    model = Model(9, 6)
    monkeypatch.setattr(model, "forward_features", lambda x: [x, x])
    with pytest.raises(ValueError, match=r"returns no map and no tokens \(list\)"):
        find_layout(model)

    def fail(x):
        raise KeyError

    monkeypatch.setattr(model, "forward_features", fail)
    with pytest.raises(ValueError, match=r"cannot be computed \(KeyError\)"):
        find_layout(model)


def test_a_model_that_the_meta_device_cannot_run_is_run_on_its_own(monkeypatch):
    model = Model(9, 6)
    plain = model.forward_features
    monkeypatch.setattr(model, "forward_features", lambda x: plain(x + float(x.sum())))
    assert find_layout(model) == Layout("tokens", 6, 0) and model.seen == [(1, 3, 224, 224)]
    with pytest.raises(RuntimeError):
        unused_weights(model)


def test_the_head_is_what_does_not_change_the_map():
    model = Model(9, 6)
    assert unused_weights(model) == ["head.weight", "head.bias"]
    network = TimmNetwork(model)
    assert [id(p) for p in network.head_parameters()] == [id(p) for p in model.head.parameters()]


@pytest.mark.parametrize(
    ("classifier", "expected"),
    [("head", "model.head"), (("head", "head_dist"), "model.head"), (None, "")],
)
def test_the_classifier_is_the_first_that_timm_names(classifier, expected, monkeypatch):
    model = Model(9, 6, pretrained_cfg={"classifier": classifier}, num_classes=7)
    network = TimmNetwork(model)
    assert network.classifier == expected and network.outputs == 7
    assert TimmNetwork(Model(9, 6)).outputs == 0
    monkeypatch.setattr(model, "forward_features", lambda x: 1 / 0)
    assert len(network.head_parameters()) == (2 if expected else 0)
    with pytest.raises(ValueError, match="Model cannot recompute activations"):
        network.set_grad_checkpointing()


def test_maps_of_oblong_images():
    """Each element of a map is of the row and the column that it was written for."""
    rows, columns = torch.meshgrid(torch.arange(2.0), torch.arange(8.0), indexing="ij")
    last = torch.stack([rows, columns, 10 * rows + columns], 2)[None]  # (1, h, w, D)
    found = Layout("channels last", 3).as_map(last, 32, 128)
    assert torch.equal(found[0, 2], 10 * rows + columns) and found.shape == (1, 3, 2, 8)
    tokens = torch.cat([torch.zeros(1, 2, 3), last.flatten(1, 2)], 1)
    assert torch.equal(Layout("tokens", 3, 2).as_map(tokens, 32, 128), found)
    assert torch.equal(Layout("channels first", 3).as_map(found, 1, 1), found)
    assert Layout("tokens", 3).as_map(tokens[:, 2:6], 10, 1000).shape == (1, 3, 1, 4)
    network = TimmNetwork(Model(16, 6)).eval()
    assert network.features(torch.zeros(1, 3, 32, 128)).shape == (1, 6, 2, 8)


class Tower(nn.Module):
    """A token of its own, a list of blocks with a norm after each, an empty list and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(1, 2))
        self.stem, self.blocks = nn.Linear(2, 2), nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])
        self.norm, self.rest, self.head = nn.LayerNorm(2), nn.Sequential(), nn.Linear(2, 2)


def test_stages_of_a_model_without_groups():
    torchvision()
    pytest.importorskip("timm")
    tower = Tower()
    stages = find_stages(tower, ["head.weight", "head.bias", "blocks.1.bias"])
    names = {id(p): name for name, p in tower.named_parameters()}
    assert [sorted(names[id(p)] for p in stage.parameters()) for stage in stages] == [
        ["token"], ["stem.bias", "stem.weight"], ["blocks.0.bias", "blocks.0.weight"],
        ["blocks.1.weight", "norm.bias", "norm.weight"],
    ]  # fmt: skip
    assert [list(stage) for stage in stages] == [[], [tower.stem], [tower.blocks[0]], [tower.norm]]
    assert stages[3].requires_grad_(False).train(False) is stages[3]
    fixed = {names[id(p)] for p in tower.parameters() if not p.requires_grad}
    assert fixed == {"blocks.1.weight", "norm.bias", "norm.weight"} and not tower.norm.training
    stages[3].requires_grad_().train()
    assert all(p.requires_grad for p in tower.parameters()) and tower.norm.training


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ("short", 256, 224, "bicubic")),
        ({"crop_mode": "squash", "interpolation": "bilinear"}, ("square", 256, 224, "bilinear")),
        ({"input_size": (3, 100, 90), "crop_pct": 0.8}, ("short", 112, 90, "bicubic")),
    ],
)
def test_the_transform_of_timms_settings(changes, expected):
    config = {"input_size": (3, 224, 224), "crop_pct": 0.875, "interpolation": "bicubic",
              "mean": (0.5,) * 3, "std": (0.5,) * 3}  # fmt: skip
    found = timm_transform(config | changes)
    assert (found.mode, found.resize, found.crop, found.interpolation) == expected
