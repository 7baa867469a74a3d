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
        (Transform(mode="full", resize=100), (100, 25), (100, 25)),
        (Transform(mode="full", resize=320), (480, 640), (240, 320)),
        (Transform(mode="full", resize=50), (120, 1), (50, 1)),
        (Transform(mode="full", resize=50), (1, 120), (1, 50)),
    ],
)
def test_sizes_before_the_crop(transform, size, resized):
    assert transform.size(*size) == resized
    if transform.mode == "full":
        assert transform.pixels(photo(*size)).shape == (3, resized[1], resized[0])


@pytest.mark.parametrize(
    ("side", "rounding", "offset"),
    [(257, "round", 16), (257, "ceil", 17), (256, "round", 16), (256, "ceil", 16),
     (259, "round", 18), (259, "ceil", 18), (224, "round", 0), (224, "ceil", 0)],
)  # fmt: skip
def test_centre_crop_offset(side, rounding, offset):
    """Half of the spare pixels: 33 / 2 is 16 to even and 17 up, 35 / 2 is 18 in both."""
    transform = Transform(resize=side, rounding=rounding)
    picture = photo(side, side)
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


@pytest.mark.parametrize(
    "wrong",
    [{"mode": "wide"}, {"crop": 0}, {"mean": (0.5, 0.5)}, {"std": (0.5,) * 4},
     {"std": (0.2, 0.0, 0.2)}, {"std": (0.2, 0.2, -0.2)}],
)  # fmt: skip
def test_values_without_a_meaning_are_refused(wrong):
    with pytest.raises(ValueError, match="transform: "):
        Transform(**wrong)


def test_the_least_and_the_largest_crop():
    picture = photo(9, 8)
    for crop in (1, 8):
        assert Transform(resize=8, crop=crop).pixels(picture).shape == (3, crop, crop)


def test_whole_pictures_in_their_own_size_are_read_back():
    transform = Transform("full", resize=0, crop=0)
    assert Transform.from_dict(transform.to_dict()) == transform
    assert len({transform, Transform("full", resize=0, crop=0), Transform()}) == 2


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


@pytest.mark.parametrize(
    ("name", "largest", "beyond"),
    [
        ("mean", [-100, 100, 0], [-100.5, 0, 0]), ("mean", [0, 0, 100], [0, 0, 100.5]),
        ("std", [1e-6, 100, 1], [1e-7, 1, 1]), ("std", [100, 1, 1], [1, 100.5, 1]),
        ("resize", 8192, 8193), ("crop", 1, -1),
    ],
)  # fmt: skip
def test_numbers_of_a_file_are_bounded(name, largest, beyond):
    values = IMAGENET.to_dict()
    Transform.from_dict(values | {name: largest})
    with pytest.raises(ValueError, match=f"transform: {name}"):
        Transform.from_dict(values | {name: beyond})
