"""The transform against torchvision's own presets, on real aspect ratios, and its JSON form."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from prepro.encoders.pretrained import torchvision
from prepro.transform import CIFAR, IMAGENET, Transform

SIZES = [(400, 300), (300, 401), (224, 224), (257, 640), (256, 256), (90, 61)]


def photo(width, height):
    x, y = np.meshgrid(np.linspace(0, 9, width), np.linspace(0, 7, height))
    noise = np.random.default_rng(0).integers(0, 64, (height, width))
    planes = [np.sin(x) * 80 + 100 + noise, np.cos(x * y) * 90 + 120, x * 20 + noise]
    return Image.fromarray(np.stack(planes, 2).clip(0, 255).astype("uint8"))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_pixels_are_those_of_torchvisions_preset(size, interpolation):
    torchvision()
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms._presets import ImageClassification

    preset = ImageClassification(
        crop_size=224, resize_size=256, interpolation=InterpolationMode(interpolation)
    )
    ours = Transform(interpolation=interpolation)
    pixels = torch.from_numpy(ours.pixels(photo(*size)))[None]
    expected = preset(photo(*size))
    assert pixels.shape == (1, 3, 224, 224) and pixels.dtype == torch.uint8
    assert torch.equal(ours.normalise(pixels)[0], expected)


def test_normalising_is_exactly_to_tensor_and_normalize():
    torchvision()
    from torchvision.transforms import functional

    transform = Transform(mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
    picture = photo(64, 48)
    pixels = torch.from_numpy(np.asarray(picture).transpose(2, 0, 1).copy())
    expected = functional.normalize(
        functional.to_tensor(picture), list(transform.mean), list(transform.std)
    )
    assert torch.equal(transform.normalise(pixels[None])[0], expected)


@pytest.mark.parametrize(
    ("transform", "size", "resized"),
    [
        (Transform(), (640, 480), (341, 256)),
        (Transform(), (480, 640), (256, 341)),
        (Transform(mode="square"), (640, 480), (256, 256)),
        (Transform(mode="full", resize=0), (640, 480), (640, 480)),
        (Transform(mode="full", resize=320), (640, 480), (320, 240)),
        (Transform(mode="full", resize=900), (640, 480), (640, 480)),
    ],
)
def test_sizes_before_the_crop(transform, size, resized):
    assert transform.size(*size) == resized
    if transform.mode == "full":
        assert transform.pixels(photo(*size)).shape == (3, resized[1], resized[0])


@pytest.mark.parametrize(("rounding", "offset"), [("round", 16), ("ceil", 17)])
def test_centre_crop_offset_of_257(rounding, offset):
    transform = Transform(resize=257, rounding=rounding)
    picture = photo(257, 257)
    expected = np.asarray(picture)[offset : offset + 224, offset : offset + 224]
    assert np.array_equal(transform.pixels(picture), expected.transpose(2, 0, 1))


def test_json_round_trip_and_its_errors():
    transform = Transform("square", 448, 448, "bicubic", (0.5,) * 3, (0.5,) * 3, "ceil")
    assert Transform.from_dict(json.loads(json.dumps(transform.to_dict()))) == transform
    with pytest.raises(ValueError, match="unknown .colour"):
        Transform.from_dict(transform.to_dict() | {"colour": 1})
    with pytest.raises(ValueError, match="crop 225 of a picture resized to 224"):
        Transform(resize=224, crop=225)
    with pytest.raises(ValueError, match="nearest"):
        Transform(interpolation="nearest")


def test_a_side_is_bounded():
    """10,000,000 would take all memory for one picture."""
    Transform(resize=8192, crop=224)
    for mode in ("short", "square", "full"):
        with pytest.raises(ValueError, match="resize 8193, more than 8,192"):
            Transform(mode=mode, resize=8193, crop=224)


def test_statistics_are_the_published_ones():
    """Of CIFAR-10 in bytes, as fb.resnet.torch has them; of ImageNet in units of 255."""
    assert [255 * value for value in CIFAR.mean] == pytest.approx([125.3, 123.0, 113.9])
    assert [255 * value for value in CIFAR.std] == pytest.approx([63.0, 62.1, 66.7])
    assert IMAGENET.mean == pytest.approx([0.485, 0.456, 0.406])
    assert IMAGENET.std == pytest.approx([0.229, 0.224, 0.225])
