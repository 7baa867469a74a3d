"""timm's networks as encoders: maps of convolutional nets and transformers, and preprocessing."""

import pytest
import torch
from torch import Tensor, nn

from prepro.encoders import create_encoder, create_network, save
from prepro.encoders.pretrained import torchvision
from prepro.encoders.timm_encoder import timm_transform
from prepro.encoders.timm_layout import Layout, find_layout


@pytest.fixture(autouse=True)
def timm():
    torchvision()
    return pytest.importorskip("timm")


@pytest.mark.parametrize(
    ("name", "size", "grid"),
    [
        ("resnet18.a1_in1k", 64, (512, 2, 2)),
        ("vit_tiny_patch16_224.augreg_in21k_ft_in1k", 224, (192, 14, 14)),
        ("swin_tiny_patch4_window7_224.ms_in1k", 224, (768, 7, 7)),
    ],
)
def test_the_last_map(timm, name, size, grid):
    encoder = create_encoder(f"timm:{name}")
    with torch.inference_mode():
        assert encoder.network.features(torch.randn(1, 3, size, size)).shape[1:] == grid
        logits = encoder.network(torch.randn(1, 3, size, size))
    assert encoder.dim == grid[0] and logits.shape == (1, 1000)


def test_the_transform_is_timms(timm):
    transform = create_encoder("timm:resnet50.a1_in1k").transform
    assert (transform.resize, transform.crop, transform.interpolation) == (235, 224, "bicubic")
    data = timm.data.resolve_data_config(timm.get_pretrained_cfg("resnet50.a1_in1k").to_dict())
    chain = timm.data.create_transform(**data)
    from tests.prepro.test_transform import photo

    picture = photo(300, 400)
    pixels = torch.from_numpy(transform.pixels(picture))[None]
    assert torch.allclose(transform.normalise(pixels)[0], chain(picture), atol=1e-6)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet50.tv_in1k", (256, 224, "bilinear", 0.485)),
        ("resnet50.tv2_in1k", (201, 176, "bilinear", 0.485)),
        ("resnet101.a1h_in1k", (235, 224, "bicubic", 0.485)),
        ("inception_resnet_v2.tf_in1k", (333, 299, "bicubic", 0.5)),
    ],
)
def test_transforms_of_published_weights(timm, name, expected):
    found = timm_transform(timm.data.resolve_data_config(timm.get_pretrained_cfg(name).to_dict()))
    assert (found.resize, found.crop, found.interpolation, found.mean[0]) == expected


SHARED = ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnext50_32x4d"]
SHARED += ["resnext101_32x8d", "resnext101_64x4d", "wide_resnet50_2", "wide_resnet101_2"]


@pytest.mark.parametrize("name", SHARED)
def test_names_order_and_shapes_are_timms(timm, name):
    with torch.device("meta"):
        ours, theirs = create_network(name), timm.create_model(name)
    shapes = [[(k, t.shape) for k, t in net.state_dict().items()] for net in (ours, theirs)]
    assert shapes[0] == shapes[1]


def test_logits_are_timms_to_the_bit(timm):
    theirs, ours = timm.create_model("resnet18").eval(), create_network("resnet18").eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    pictures = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(ours(pictures), theirs(pictures))


def test_a_file_of_its_weights(tmp_path, timm):
    encoder = create_encoder("timm:resnet18.a1_in1k", seed=4)
    save(encoder, tmp_path / "w.safetensors")
    again = create_encoder("timm:resnet18.a1_in1k", str(tmp_path / "w.safetensors"))
    assert again.sha256 == encoder.sha256
    torch.save(encoder.network.model.state_dict(), tmp_path / "w.pth")
    assert create_encoder("timm:resnet18.a1_in1k", str(tmp_path / "w.pth")).sha256 == encoder.sha256


def test_a_name_that_timm_does_not_know():
    with pytest.raises(ValueError, match=r"timm has no 'resnet5000'; nearest: "):
        create_encoder("timm:resnet5000")


def test_activations_are_recomputed_where_that_is_asked_for(timm):
    network = create_encoder("timm:resnet18.a1_in1k").network
    assert not network.model.grad_checkpointing
    network.set_grad_checkpointing()
    assert network.model.grad_checkpointing


class Tokens(nn.Module):
    """A network whose features are `number` tokens of 8 channels."""

    num_features, pretrained_cfg = 8, {}

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def forward_features(self, x: Tensor) -> Tensor:
        return x.new_zeros(len(x), self.number, 8)


@pytest.mark.parametrize(("number", "prefix"), [(49, 0), (50, 1), (21, 5)])
def test_tokens_before_the_grid_are_found(number, prefix):
    assert find_layout(Tokens(number)) == Layout("tokens", 8, prefix)


def test_tokens_that_are_no_grid_are_counted():
    with pytest.raises(ValueError, match="returns 99 tokens, which are no square grid"):
        find_layout(Tokens(99))
