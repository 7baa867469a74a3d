"""Where features are kept: every place gives the same features, padding is masked."""

import numpy as np
import pytest
import torch

from caption.data.feature_store import FeatureStore
from prepro.storage.feature_file import FeatureFile, Provenance
from prepro.storage.feature_writer import FeatureWriter, create


@pytest.fixture
def file(tmp_path) -> FeatureFile:
    """Three images with two, four and one regions of at most four."""
    path, rng = tmp_path / "features.h5", np.random.default_rng(0)
    create(path, Provenance("x", "x", "x", "{}", "x", 3, 4), ["a", "b", "c"], counted=True)
    fc, att = rng.normal(size=(3, 3)), rng.normal(size=(3, 4, 3))
    with FeatureWriter(path) as writer:
        count = np.array([2, 4, 1], np.uint16)
        writer.write(np.arange(3), fc.astype(np.float16), att.astype(np.float16), count=count)
    return FeatureFile(path)


@pytest.mark.parametrize("location", ["memory", "device", "disk"])
def test_padding_is_masked_wherever_features_lie(file, location):
    store = FeatureStore(file, True, location)
    rows = np.array([0, 2])
    fc, att, mask = store(rows)
    assert mask.tolist() == [[True, True, False, False], [True, False, False, False]]
    assert torch.equal(fc, torch.from_numpy(file.fc(rows)).float())
    assert torch.equal(att, torch.from_numpy(file.att(rows)).float())
    assert FeatureStore(file, False, location)(rows).mask is None
    assert store.bytes == file.fc(np.arange(3)).nbytes + file.att(np.arange(3)).nbytes  # halves
