"""The augmentations of fb.resnet.torch and torchvision against their definitions."""

import numpy as np
import pytest
import torch
from PIL import Image

from prepro.pretraining import augment
from prepro.pretraining.evaluate import ten_crops
from prepro.pretraining.modern_augment import mixup_or_cutmix, modern_augment
from prepro.transform import Transform
from tests.prepro.test_transform import photo


def rng(seed=0):
    return np.random.default_rng(seed)


def coordinates(width, height):
    """An image whose red is x and whose green is y: the pixels of a crop are its coordinates."""
    y, x = np.mgrid[:height, :width]
    return Image.fromarray(np.stack([x, y, 0 * x], 2).astype("uint8"))


def test_area_and_aspect_of_random_crops():
    """Uniform aspects turned half the time, areas of 8 % to all: quantiles over many crops."""
    boxes_used = []

    image, original = coordinates(200, 200), Image.Image.crop
    try:
        Image.Image.crop = lambda self, box: boxes_used.append(box) or original(self, box)
        for seed in range(3000):
            augment.random_resized_crop(image, 8, rng(seed))
    finally:
        Image.Image.crop = original
    boxes = np.array(boxes_used)
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    area, aspect = width * height / 200**2, width / height
    assert boxes.min() >= 0 and boxes.max() <= 200
    assert 0.07 < area.min() < 0.1 and area.max() > 0.95
    assert aspect.min() == pytest.approx(3 / 4, abs=0.04)
    assert aspect.max() == pytest.approx(4 / 3, abs=0.04)
    # aspects are uniform over 3/4 to 4/3 and inverted half the time, so half of them are below 1
    assert (aspect < 1).mean() == pytest.approx(0.5, abs=0.03)
    small = np.minimum(aspect, 1 / aspect)
    values = np.linspace(3 / 4, 4 / 3, 10001)
    expected = np.minimum(values, 1 / values).mean()  # log-uniform would give 0.8690
    assert small[area < 0.5].mean() == pytest.approx(expected, abs=0.004)


def test_a_crop_that_never_fits_falls_back_to_the_centre():
    image = coordinates(250, 4)
    cropped = np.asarray(augment.random_resized_crop(image, 4, rng()))
    assert cropped.shape == (4, 4, 3)
    assert cropped[0, :, 0].tolist() == [123, 124, 125, 126]


def test_ten_crops_are_tried_and_the_rng_is_left_behind_them():
    """A caller that goes on drawing repeats a run only if as many numbers were drawn."""
    used, expected = rng(5), rng(5)
    augment.random_resized_crop(coordinates(250, 4), 4, used)
    for _ in range(10):
        expected.uniform(size=2), expected.random()
    assert used.bit_generator.state == expected.bit_generator.state


def test_every_place_of_a_crop_is_reached_up_to_the_edges(monkeypatch):
    boxes, original = set(), Image.Image.crop
    monkeypatch.setattr(Image.Image, "crop", lambda own, box: boxes.add(box) or original(own, box))
    for seed in range(600):
        augment.random_resized_crop(coordinates(3, 2), 2, rng(seed))
    sizes = {(right - left, bottom - top) for left, top, right, bottom in boxes}
    places = {
        (left, top, left + w, top + h)
        for w, h in sizes for left in range(4 - w) for top in range(3 - h)
    }  # fmt: skip
    assert boxes == places and sizes == {(1, 1), (2, 1), (1, 2), (2, 2), (3, 2)}
    boxes.clear()
    for seed in range(50):  # rounding gives some crops of such a picture no width
        augment.random_resized_crop(coordinates(1, 1), 2, rng(seed))
    assert boxes == {(0, 0, 1, 1)}


def test_jitter_scales_by_at_most_forty_percent():
    """On one grey, contrast and saturation change nothing, so brightness alone remains."""
    grey = np.full((3, 2, 2), 0.5, np.float32)
    alphas = np.array([augment.color_jitter(grey, rng(seed)) for seed in range(400)]) / 0.5
    assert np.ptp(alphas, axis=(1, 2, 3)).max() < 1e-5
    assert alphas.min() == pytest.approx(0.6, abs=0.01)
    assert alphas.max() == pytest.approx(1.4, abs=0.01)


def test_half_of_the_pictures_are_mirrored():
    picture = coordinates(40, 40)
    values = [augment.imagenet_augment(picture, 8, rng(seed))[0] for seed in range(300)]
    mirrored = [value[:, 0].mean() > value[:, -1].mean() for value in values]
    assert np.mean(mirrored) == pytest.approx(0.5, abs=0.08)
    # brightness, contrast and saturation of shares of 40 / 255, which are dark
    assert max(abs(value).max() for value in values) < 40 / 255 * 1.4**3


def test_color_jitter_does_not_clamp():
    planes = np.full((3, 2, 2), 0.9, np.float32)
    planes[0, 0, 0] = 0.0
    assert augment.blend(planes, "brightness", 1.4).max() == pytest.approx(1.26)
    grey = 0.299 * planes[0] + 0.587 * planes[1] + 0.114 * planes[2]
    contrast = augment.blend(planes, "contrast", 1.4)
    assert np.allclose(contrast, 1.4 * planes - 0.4 * grey.mean(), atol=1e-6)
    assert contrast.min() < 0 and contrast.max() > 0.9
    saturation = augment.blend(planes, "saturation", 0.6)
    assert np.allclose(saturation, 0.6 * planes + 0.4 * grey, atol=1e-6)


def test_lighting_is_the_sum_of_the_principal_components():
    values, vectors = augment.EIGENVALUES, augment.EIGENVECTORS
    assert np.allclose(vectors.T @ vectors, np.eye(3), atol=1e-3)
    alpha = rng(3).normal(0, 0.1, 3)
    shift = augment.lighting(np.zeros((3, 1, 1), np.float32), rng(3))[:, 0, 0]
    by_hand = [sum(vectors[c, j] * alpha[j] * values[j] for j in range(3)) for c in range(3)]
    assert np.allclose(shift, by_hand, atol=1e-7)
    many = [augment.lighting(np.zeros((3, 1, 1), np.float32), rng(s))[:, 0, 0] for s in range(4000)]
    assert values.tolist() == [0.2175, 0.0188, 0.0045]  # published in fb.resnet.torch
    covariance = vectors @ np.diag((0.1 * values) ** 2) @ vectors.T
    assert np.allclose(np.cov(np.array(many).T), covariance, atol=2e-5)


def test_cifar_padding_is_zero_after_normalisation():
    transform = Transform(resize=32, crop=32, mean=(0.5, 0.4, 0.3))
    mean = np.array(transform.mean, np.float32)
    zeros = 0
    for seed in range(50):
        pixels = augment.cifar_augment(photo(32, 32), mean, rng(seed))
        assert pixels.shape == (3, 32, 32)
        zeros += (transform.normalise(torch.from_numpy(pixels)[None]) == 0).sum().item()
    # a shift of d rows exposes d of 32 rows of padding; the mean of |shift| is 20/9
    padded = 1 - (1 - 20 / 9 / 32) ** 2
    assert zeros / (50 * 3 * 32 * 32) == pytest.approx(padded, rel=0.15)


def test_cifar_crops_are_the_windows_of_a_padded_picture_and_its_mirror():
    """All 81 windows of a picture that is not square, and of its mirror image."""
    picture, mean = coordinates(9, 6), np.array([0.5, 0.4, 0.3], np.float32)
    planes = np.asarray(picture, np.float32).transpose(2, 0, 1) / 255
    windows = set()
    for own in (planes, planes[:, :, ::-1]):
        padded = np.stack([np.pad(p, 4, constant_values=m) for p, m in zip(own, mean, strict=True)])
        for top in range(9):
            for left in range(9):
                windows.add(padded[:, top : top + 6, left : left + 9].tobytes())
    found = {augment.cifar_augment(picture, mean, rng(seed)).tobytes() for seed in range(2000)}
    assert found == windows


def test_a_name_chooses_its_augmentation():
    transform, image = Transform(resize=48, crop=40), photo(48, 48)
    mean = np.array(transform.mean, np.float32)

    def drawn():
        return np.random.default_rng((4, 5, 6))  # seed, epoch, index

    expected = {
        "imagenet": augment.imagenet_augment(image, 40, drawn()),
        "cifar": augment.cifar_augment(image, mean, drawn()),
        "modern": modern_augment(40)(image, drawn()),
        "none": transform.pixels(image),
    }
    for name, pixels in expected.items():
        found = augment.Augmentation(name, 40, transform, 4, 5)(image, 6)
        assert np.array_equal(found, pixels) and found.dtype == pixels.dtype, name


@pytest.mark.parametrize("name", ["imagenet", "cifar", "modern", "none"])
def test_augmentation_depends_only_on_seed_epoch_and_index(name):
    transform = Transform(resize=48, crop=48)
    image = photo(48, 48)

    def pixels(seed, epoch, index):
        return augment.Augmentation(name, 48, transform, seed, epoch)(image, index)

    expected = pixels(1, 2, 3)
    torch.manual_seed(9)
    np.random.seed(9)
    assert np.array_equal(pixels(1, 2, 3), expected) and expected.shape == (3, 48, 48)
    if name != "none":
        others = [pixels(0, 2, 3), pixels(1, 0, 3), pixels(1, 2, 0)]
        assert not any(np.array_equal(other, expected) for other in others)


def test_modern_augment_does_not_change_the_global_generator():
    torch.manual_seed(1)
    state = torch.get_rng_state()
    assert modern_augment(32)(photo(60, 50), rng()).dtype == np.uint8
    assert torch.equal(torch.get_rng_state(), state)


def test_a_fine_pattern_is_averaged_and_not_sampled():
    """Fields of one pixel become grey; bilinear samples of them would be black and white."""
    fields = Image.fromarray((np.indices((256, 256)).sum(0) % 2 * 255).astype("uint8"))
    found = [modern_augment(16)(fields.convert("RGB"), rng(seed)).max() for seed in range(15)]
    assert np.median(found) < 160


def test_mixing_uses_the_same_weights_for_images_and_targets():
    pixels = torch.stack([torch.full((3, 20, 30), float(value)) for value in range(4)])
    targets = torch.eye(4)
    for seed in range(20):
        torch.manual_seed(seed)
        mixed, soft = mixup_or_cutmix(pixels, targets, 0.2)
        assert torch.allclose(soft.sum(1), torch.ones(4))
        # the mean value of a mixed image equals the mix of its targets
        assert torch.allclose(mixed.mean((1, 2, 3)), soft @ torch.arange(4.0), atol=1e-4)


def test_half_of_the_batches_are_pasted_and_half_blended():
    """Moments of Beta(alpha, alpha) and of the window, whose side is the root of a uniform share.

    A window of side s about a uniform centre keeps s - s^2 / 4 of each axis; squared and averaged
    over uniform s^2 that is 1/2 - 1/5 + 1/48.
    """
    pixels = torch.stack([torch.zeros(1, 30, 50), torch.ones(1, 30, 50)])
    pasted, blended, touched = [], [], torch.zeros(30, 50)
    torch.manual_seed(0)
    for _ in range(500):
        mixed, soft = mixup_or_cutmix(pixels, torch.eye(2), 0.2)
        if mixed[0].unique().numel() == 1 and soft[0, 1] not in (0, 1):
            blended.append(soft[0, 0].item())
        else:
            pasted.append(soft[0, 1].item())
            touched += mixed[0, 0]
    assert len(blended) / 500 == pytest.approx(0.5, abs=0.06)
    assert np.mean(blended) == pytest.approx(0.5, abs=0.08)
    assert np.var(blended) == pytest.approx(1 / (4 * 1.4), abs=0.03)
    assert np.mean(pasted) == pytest.approx(1 / 2 - 1 / 5 + 1 / 48, abs=0.04)
    touched /= len(pasted)
    for edge, other in ((touched[0], touched[-1]), (touched[:, 0], touched[:, -1])):
        assert 0.1 < edge.mean() == pytest.approx(other.mean().item(), abs=0.1)


def test_ten_crops_are_centre_corners_and_mirrors():
    transform = Transform(resize=64, crop=40, rounding="ceil")
    crops = ten_crops(coordinates(80, 64), transform)
    assert crops.shape == (10, 3, 40, 40)
    corners = [(crop[0, 0, 0], crop[1, 0, 0]) for crop in crops[:5]]
    assert corners == [(20, 12), (0, 0), (40, 0), (0, 24), (40, 24)]
    assert np.array_equal(crops[5:], crops[:5, :, :, ::-1])
    assert np.array_equal(crops[0], transform.pixels(coordinates(80, 64)))
