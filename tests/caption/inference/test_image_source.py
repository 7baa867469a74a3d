"""Which pictures a run encodes, which features it takes from the data folder, and their batches."""

import os
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from caption.data.data_folder import DataFolder
from caption.inference.caption_ensemble import CaptionEnsemble
from caption.inference.image_source import (
    ImageSource,
    OnTheFlyFeatures,
    _stamp,
    features_for,
    features_match_encoder,
)
from caption.inference.sample_pictures import StoredPictures
from prepro.images import BadImage, open_rgb
from tests.caption import tiny_runs as maker


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return maker.make(tmp_path_factory.mktemp("source"), ("topdown", "newfc"))


@pytest.fixture(scope="module")
def opened(tiny):
    return DataFolder.open(tiny.data)


@pytest.fixture
def ensemble(tiny):
    return CaptionEnsemble.load([tiny.runs["topdown"], tiny.runs["newfc"]])


def folder_of(tiny, path: Path, count: int) -> list[Path]:
    path.mkdir()
    chosen = sorted((tiny.data / "images").iterdir())[:count]
    return [Path(shutil.copy(one, path / one.name)) for one in chosen]


def test_batches_hold_the_pictures_in_order_and_name_the_bad_ones(tiny, ensemble, tmp_path):
    paths = folder_of(tiny, tmp_path / "pictures", 5)
    paths[1].write_text("<html>")
    source = ImageSource.of_folder(ensemble, tmp_path / "pictures")
    assert source.ids == [path.name for path in paths]
    one, two, three = source.batches(2, [0, 1, 2])
    assert [batch.number for batch in (one, two, three)] == [0, 1, 2]
    assert [batch.indices for batch in (one, two, three)] == [[0], [2, 3], [4]]
    assert list(one.bad) == [1] and not two.bad and not three.bad
    assert set(two.digests) == {2, 3} and len({*one.digests.values(), *two.digests.values()}) == 3
    (last,) = source.batches(2, [2])
    assert last.indices == [4] and last.digests == three.digests
    pictures = [ensemble.open_image(path) for path in (paths[2], paths[3])]
    for found, expected in zip(source.features(two), ensemble.encode(pictures), strict=True):
        assert torch.equal(found.fc, expected.fc)
    assert source.features(two)[0].att.shape[:2] == (2, 49)


def test_a_batch_without_a_readable_picture_is_empty(tiny, ensemble, tmp_path):
    (path,) = folder_of(tiny, tmp_path / "pictures", 1)
    path.write_text("<html>")
    (batch,) = ImageSource.of_folder(ensemble, tmp_path / "pictures").batches(4, [0])
    assert batch.indices == [] and list(batch.bad) == [0]


def test_stored_features_are_those_of_the_split(tiny, ensemble, opened):
    source = ImageSource.of_split(ensemble, opened, "test")
    assert source.stamps() == []
    (batch,) = source.batches(50, [0])
    assert batch.bad == batch.digests == {} and batch.indices == list(range(6))
    with_regions, without = source.features(batch)
    rows = opened.split("test")
    assert torch.equal(with_regions.fc, features_for(ensemble.members[0], opened)(rows).fc)
    assert with_regions.att is not None and without.att is None


def test_another_picture_under_the_same_name_has_another_stamp(tiny, ensemble, tmp_path):
    paths = folder_of(tiny, tmp_path / "pictures", 3)
    source = ImageSource.of_folder(ensemble, tmp_path / "pictures")
    before = source.stamps()
    assert len(before) == 3
    os.utime(paths[0], ns=(1, 1))
    paths[1].write_bytes(paths[1].read_bytes() + b" ")
    paths[2].unlink()
    first, second, third = source.stamps()
    assert first == (before[0][0], 1) and second[0] == before[1][0] + 1 and third is None


def test_a_picture_in_a_tar_file_has_the_stamp_of_the_tar_file(tmp_path):
    tar = tmp_path / "all.tar"
    with tarfile.open(tar, "w"):
        pass
    os.utime(tar, ns=(1, 2))
    assert _stamp(tar / "a.jpg") == (tar.stat().st_size, 2)
    assert _stamp(tmp_path / "gone.tar" / "a.jpg") is None


def test_features_on_the_fly_are_those_that_are_stored(tiny, opened, tmp_path):
    """A picture that cannot be read counts as a black one."""
    data = tmp_path / "data"
    shutil.copytree(tiny.data, data)
    captioner, rows = tiny.captioner(), opened.split("val")
    broken = DataFolder.open(data)
    lost = data / broken.labels.records[rows[1]].path
    lost.write_text("<html>")
    found = OnTheFlyFeatures(captioner, broken)(rows)
    stored = features_for(captioner, opened)(rows)
    assert found.fc[0].numpy() == pytest.approx(stored.fc[0].float().numpy(), abs=1e-2)
    crop = captioner.encoder.transform.crop
    black = captioner.encode_pixels([torch.zeros(3, crop, crop, dtype=torch.uint8)])
    assert torch.allclose(found.fc[1], black.fc[0], atol=1e-5)
    assert not torch.allclose(found.fc[0], black.fc[0], atol=1e-2)


def test_stored_features_fit_the_encoder_that_made_them(tiny, opened):
    captioner, file = tiny.captioner(), opened.features
    about, transform = file.provenance, file.transform

    def fits(run=captioner, transform=transform, **changes) -> bool:
        return features_match_encoder(
            run, SimpleNamespace(provenance=replace(about, **changes), transform=transform)
        )

    def of_run(**changes):
        return replace(captioner, encoder_info=captioner.encoder_info | changes)

    assert fits()
    assert not fits(weights_sha256="0" * 64)
    assert not fits(encoder="another")
    assert not fits(transform=transform | {"crop": 99})
    assert not fits(regions=36)  # of a grid of another size
    assert fits(tiny.captioner("newfc"), regions=36)  # it does not look at regions
    assert not fits(transform={})
    assert fits(of_run(transform={}), transform={}) and not fits(of_run(transform={}))
    assert fits(of_run(transform=None), transform={})
    unknown = of_run(sha256="")
    assert fits(unknown, weights_sha256="0" * 64, encoder="another")
    assert not fits(unknown, dim=about.dim + 1)


def test_a_stored_picture_has_many_names(tiny, opened, monkeypatch):
    pictures = StoredPictures(CaptionEnsemble.load([tiny.runs["topdown"]]), opened)
    record = opened.labels.records[3]
    path = opened.labels.image_root / record.path
    monkeypatch.chdir(path.parent)
    for name in (record.path, str(record.id), str(path), path.name):
        assert pictures.open(name) == 3
    with pytest.raises(BadImage, match=r"no picture of .*labels\.json"):
        pictures.open("gone.jpg")
    assert pictures.picture(3).tobytes() == open_rgb(path).tobytes()
    assert pictures.boxes(3) is None
    stored = features_for(pictures.ensemble.members[0], opened)(np.array([3, 1]))
    assert torch.equal(pictures.encode([3, 1]).fc, stored.fc)


def test_a_picture_without_features_is_named(tiny, tmp_path, opened):
    data = tmp_path / "data"
    shutil.copytree(tiny.data, data)
    broken = DataFolder.open(data)
    broken.features.status[2] = 0
    pictures = StoredPictures(CaptionEnsemble.load([tiny.runs["topdown"]]), broken)
    with pytest.raises(BadImage, match="no features"):
        pictures.open(str(opened.labels.records[2].id))
    assert pictures.open(str(opened.labels.records[1].id)) == 1
