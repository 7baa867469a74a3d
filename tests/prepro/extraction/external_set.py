"""Three pictures with regions and boxes of their own number, for the tests of prepro.adopt."""

import base64

import numpy as np

from prepro import adopt
from prepro.storage.feature_file import FeatureFile

D = 16
RNG = np.random.default_rng(0)
IDS = (391895, 12, 13)
REGIONS = {i: RNG.random((k, D)).astype(np.float32) for i, k in zip(IDS, (3, 5, 4), strict=True)}
CORNERS = {i: np.sort(RNG.random((2, len(r), 2)), 0).astype(np.float32) for i, r in REGIONS.items()}
BOXES = {i: np.concatenate([*corners], 1) for i, corners in CORNERS.items()}  # (R, 4) fractions
SIZES = {i: (100 + 10 * k, 60 + 10 * k) for k, i in enumerate(IDS)}  # width, height
PIXELS = {i: BOXES[i] * np.float32([*SIZES[i], *SIZES[i]]) for i in IDS}
NAMES = {i: f"images/COCO_{i:012d}.jpg" for i in IDS}


def adopted(folder, **options):
    assert adopt.main(adopt.Options(folder, **options)) == 0
    return FeatureFile(folder / "features.h5")


def check(found, boxes=True):
    rows = np.arange(len(IDS))
    att, mask = found.att(rows), found.mask(rows)
    for row, i in enumerate(IDS):
        assert np.array_equal(att[row][mask[row]], REGIONS[i].astype(np.float16))
        assert np.allclose(found.fc(rows)[row], REGIONS[i].mean(0), atol=1e-3)
        if boxes:
            assert np.allclose(found.boxes(rows)[row][mask[row]], BOXES[i], atol=1e-6)
            assert not found.boxes(rows)[row][~mask[row]].any()
    assert found.has_boxes == boxes


def packed(array):
    return base64.b64encode(np.ascontiguousarray(array, np.float32).tobytes()).decode()
