"""Any network of timm: the map, extraction, files, stages and frozen BatchNorms."""

import copy
import random

import numpy as np
import pytest
import torch

from caption import presets, train
from caption.training.setup import open_trainer
from prepro import features, labels, scenes
from prepro.encoders import create_encoder
from prepro.encoders.memory import FrozenBatchNorm, checkpoint_blocks, freeze_norms
from prepro.encoders.pretrained import torchvision
from prepro.encoders.timm_layout import Layout
from prepro.runtime.distributed import init_distributed
from prepro.runtime.meta_device import meta_device
from prepro.storage.feature_file import FeatureFile
from tests.bench.timm_networks import check

SMALL = (  # a vision transformer, a head that adds a convolution, an activation after the blocks,
    "test_vit", "test_efficientnet", "test_nfnet", "test_mambaout", "dla46x_c", "mobilevit_xxs",
)  # fmt: skip
"""... a map of (B, h, w, D), no linear classifier, a network that torch.fx cannot trace"""


@pytest.fixture(autouse=True)
def timm():
    torchvision()
    return pytest.importorskip("timm")


@pytest.mark.parametrize("name", SMALL)
def test_small_networks(name):
    assert check(name) == "pass"


@pytest.mark.slow
def test_networks_drawn_from_timm(timm):
    """Twelve of those below ten million parameters; tests.bench.timm_networks has every family."""
    drawn, names = random.Random(timm.__version__), timm.list_models()
    chosen: list[str] = []
    while len(chosen) < 12:
        name = drawn.choice(names)
        with meta_device():
            size = sum(p.numel() for p in timm.create_model(name).parameters())
        if size < 10_000_000 and name not in chosen:
            chosen.append(name)
    results = {name: check(name) for name in chosen}
    assert list(results.values()).count("pass") >= 11, results


def test_tokens_of_oblong_images_and_prefixes():
    tokens = torch.arange(2 * (3 + 12) * 5).float().view(2, 15, 5)
    found = Layout("tokens", 5, 3).as_map(tokens, 48, 64)
    assert found.shape == (2, 5, 3, 4)
    for row in range(3):
        for column in range(4):
            assert torch.equal(found[:, :, row, column], tokens[:, 3 + 4 * row + column])
    with pytest.raises(ValueError, match="11 patches of an image of 64 x 25 are no grid"):
        Layout("tokens", 5, 3).as_map(tokens[:, 1:], 64, 25)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("crossvit_tiny_240", "returns no map"), ("resnet18", None)],
)
def test_what_is_no_encoder_says_so_in_a_line(name, reason):
    network = create_encoder(f"timm:{name}").network
    if reason is None:
        assert network.dim == 512
        return
    with pytest.raises(ValueError, match=rf"timm:{name} is no encoder: .*{reason}") as raised:
        _ = network.dim
    assert "\n" not in str(raised.value)


def test_another_image_size_is_refused_in_a_line():
    network = create_encoder("timm:vit_tiny_patch16_224").network
    with pytest.raises(ValueError, match="timm:vit_tiny_patch16_224: Input height"):
        network.features(torch.zeros(1, 3, 256, 256))


def test_frozen_norms_keep_activations(timm):
    model = timm.create_model("test_efficientnet").eval()
    for name, buffer in model.named_buffers():
        if "running" in name:
            buffer.uniform_(0.5, 1.5)
    kinds = {type(module).__name__ for module in model.modules()}
    assert "BatchNormAct2d" in kinds
    frozen, x = freeze_norms(copy.deepcopy(model)), torch.randn(2, 3, 64, 64)
    assert any(isinstance(module, FrozenBatchNorm) for module in frozen.modules())
    assert frozen.state_dict().keys() == model.state_dict().keys()
    with torch.no_grad():
        assert torch.allclose(frozen(x), model(x), atol=1e-4)


@pytest.mark.parametrize("name", ["test_vit", "test_resnet"])
def test_recomputed_activations_give_the_same_gradients(name):
    network = freeze_norms(create_encoder(f"timm:{name}").network)
    side = network.model.pretrained_cfg["input_size"][-1]
    x = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    gradients = []
    for _ in range(2):
        network.zero_grad()
        network.train().features(x).square().mean().backward()
        gradients.append([p.grad.clone() for p in network.parameters() if p.grad is not None])
        checkpoint_blocks(network)
    for once, again in zip(*gradients, strict=True):
        assert torch.allclose(once, again, rtol=1e-3, atol=1e-6)


def test_features_and_fine_tuning(tmp_path):
    """prepro.features, then a training whose encoder's last stage changes and no other."""
    name = "timm:test_resnet.r160_in1k"
    scenes.main(scenes.Options(tmp_path, train=8, val=2, test=2))
    labels.main(labels.Options((tmp_path / "annotations.json",), tmp_path, tmp_path, min_count=0))
    assert features.main(features.Options(tmp_path, name, "none", workers=0, device="cpu")) == 0
    stored = FeatureFile(tmp_path / "features.h5")
    encoder = create_encoder(name)
    assert stored.provenance.dim == encoder.dim and np.isfinite(stored.att(np.arange(12))).all()
    argv = ["--data", tmp_path, "--out", tmp_path / "run", "--preset", "scenes", "--hidden", 16]
    argv += ["--finetune-after", 0, "--finetune-layers", 1, "--epochs", 1, "--workers", 0]
    config = presets.from_command_line([*map(str, argv), "--device", "cpu"])
    with open_trainer(config, init_distributed("cpu")) as trainer:
        assert train.train(trainer) == 0
        tuned = trainer.learner.network.encoder.encoder.network
    last = {id(p) for p in tuned.stages()[-1].parameters()}
    before = encoder.network.state_dict()
    changed = [
        id(p) in last for n, p in tuned.named_parameters() if not torch.equal(p, before[n])
    ]  # fmt: skip
    assert changed and all(changed)
