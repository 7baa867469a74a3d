"""Where features are kept: every place gives the same features, padding is masked."""

from pathlib import Path

import numpy as np
import pytest
import torch

from caption.data import feature_store
from caption.data.feature_store import FeatureStore, InMemoryFeatures
from caption.models import Features
from prepro.runtime.distributed import DistributedContext
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


def test_features_go_where_they_fill_less_than_half_of_what_is_free(file, monkeypatch):
    size = FeatureStore(file, True, "disk").bytes

    def choose(free: int, regions: bool = True) -> str:
        monkeypatch.setattr(feature_store, "_free_memory", lambda: free)
        return FeatureStore(file, regions, "auto").location

    assert [choose(free) for free in (0, 2 * size, 2 * size + 1)] == ["disk", "disk", "memory"]
    assert choose(2 * size - 1, regions=False) == "memory", "without regions they are fewer"
    two = DistributedContext(torch.device("cpu"), 1, 2)
    monkeypatch.setattr(feature_store, "_free_memory", lambda: 3 * size)
    monkeypatch.setattr(feature_store, "all_gather", lambda _, room: [room, (True, False)])
    assert feature_store._choose_location(size, two) == "disk", "another process has no room"


def test_a_gpu_takes_features_that_fill_less_than_half_of_what_is_free(monkeypatch):
    context = DistributedContext(torch.device("cuda"), 0, 1)
    monkeypatch.setattr(feature_store, "_free_memory", lambda: 0)
    chosen = []
    for free in (99, 100, 101):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _, free=free: (free, 1000))
        chosen.append(feature_store._choose_location(50, context))
    assert chosen == ["disk", "disk", "device"]


def test_free_memory_is_that_of_the_system(monkeypatch):
    text = "MemTotal: 900 kB\nMemFree: 100 kB\nMemAvailable: 300 kB\nSwapFree: 7 kB\n"
    monkeypatch.setattr(Path, "read_text", lambda path: {"/proc/meminfo": text}[str(path)])
    assert feature_store._free_memory() == 300 * 1024
    monkeypatch.setattr(Path, "read_text", lambda path: "MemTotal: 900 kB\n")
    assert feature_store._free_memory() == 4 * 2**30


def test_the_size_is_said_in_megabytes_and_large_ones_in_gigabytes(file, monkeypatch):
    store = FeatureStore(file, True, "disk")
    assert store.bytes == 2 * 3 * (3 + 4 * 3), "three images of fc and four regions, halves"
    for size, said in ((12_340_000, "12.3 MB"), (50_000_000, "50.0 MB"), (60_000_000, "0.1 GB")):
        monkeypatch.setattr(FeatureStore, "bytes", size)
        assert store.where == f"features on disk: {said}"


def test_a_decoder_of_regions_needs_them(tmp_path):
    create(tmp_path / "features.h5", Provenance("x", "x", "x", "{}", "x", 3, 0), ["a"])
    file = FeatureFile(tmp_path / "features.h5")
    assert FeatureStore(file, False, "memory").bytes == 6
    with pytest.raises(ValueError, match="no region features"):
        FeatureStore(file, True, "memory")


@pytest.mark.parametrize("regions", [True, False])
def test_computed_features_are_found_by_their_rows(regions):
    rows, fc, att = np.array([2, 5, 9]), torch.randn(3, 4).half(), torch.randn(3, 2, 4).half()
    store = InMemoryFeatures(rows, Features(fc, att if regions else None), torch.device("cpu"))
    found = store(np.array([9, 2]))
    assert found.fc.dtype == torch.float32 and torch.equal(found.fc, fc[[2, 0]].float())
    assert torch.equal(found.att, att[[2, 0]].float()) if regions else found.att is None
