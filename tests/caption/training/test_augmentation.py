"""Random crops of fine-tuning: every place of the picture, and half of them mirrored."""

import numpy as np
import pytest
from PIL import Image

from caption.training.image_batches import augment
from prepro.transform import Transform


@pytest.mark.parametrize(("resize", "crop"), [(32, 28), (28, 28)])
def test_a_crop_may_lie_at_every_place_of_the_picture(resize, crop):
    """Pixels say where they stand. A transform that crops nothing gets 8/7 of 28 first."""
    columns, rows = np.meshgrid(np.arange(38), np.arange(32))
    picture = np.stack([columns, rows, columns * 0 + 200], -1).astype(np.uint8)
    image, corners = Image.fromarray(picture), set()
    for seed in range(600):
        rng = np.random.default_rng(seed)
        pixels = augment(image, Transform(resize=resize, crop=crop), rng, False)
        left, top = (int(x) for x in pixels[:2, 0, 0])
        part = picture[top : top + crop, left : left + crop].transpose(2, 0, 1)
        assert pixels.shape == (3, crop, crop) and np.array_equal(pixels, part)
        corners.add((left, top))
    lefts, tops = ({corner[i] for corner in corners} for i in range(2))
    assert lefts == set(range(38 - crop + 1)) and tops == set(range(32 - crop + 1))


def test_half_of_the_pictures_are_mirrored_and_their_crop_is_the_same():
    picture = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    mirrored = 0
    for seed in range(400):
        free, fixed = (
            augment(
                Image.fromarray(picture), Transform(resize=32, crop=28),
                np.random.default_rng(seed), mirror,
            )
            for mirror in (True, False)
        )  # fmt: skip
        is_mirrored = not np.array_equal(free, fixed)
        mirrored += is_mirrored
        assert not is_mirrored or np.array_equal(free, fixed[:, :, ::-1])
    assert mirrored == pytest.approx(200, abs=4 * 10)
