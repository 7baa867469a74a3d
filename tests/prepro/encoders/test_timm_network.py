"""timm's networks as encoders: maps of convolutional nets and transformers, and preprocessing."""

import pytest
import torch

from prepro.encoders import build, save
from prepro.encoders.pretrained import torchvision


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
    encoder = build(f"timm:{name}")
    with torch.inference_mode():
        assert encoder.network.features(torch.randn(1, 3, size, size)).shape[1:] == grid
        logits = encoder.network(torch.randn(1, 3, size, size))
    assert encoder.dim == grid[0] and logits.shape == (1, 1000)


def test_the_transform_is_timms(timm):
    transform = build("timm:resnet50.a1_in1k").transform
    assert (transform.resize, transform.crop, transform.interpolation) == (235, 224, "bicubic")
    data = timm.data.resolve_data_config(timm.get_pretrained_cfg("resnet50.a1_in1k").to_dict())
    chain = timm.data.create_transform(**data)
    from tests.prepro.test_transform import photo

    picture = photo(300, 400)
    pixels = torch.from_numpy(transform.pixels(picture))[None]
    assert torch.allclose(transform.normalise(pixels)[0], chain(picture), atol=1e-6)


def test_a_file_of_its_weights(tmp_path, timm):
    encoder = build("timm:resnet18.a1_in1k", seed=4)
    save(encoder, tmp_path / "w.safetensors")
    again = build("timm:resnet18.a1_in1k", str(tmp_path / "w.safetensors"))
    assert again.sha256 == encoder.sha256
    torch.save(encoder.network.model.state_dict(), tmp_path / "w.pth")
    assert build("timm:resnet18.a1_in1k", str(tmp_path / "w.pth")).sha256 == encoder.sha256


def test_a_name_that_timm_does_not_know():
    with pytest.raises(ValueError, match=r"timm has no 'resnet5000'; nearest: "):
        build("timm:resnet5000")
