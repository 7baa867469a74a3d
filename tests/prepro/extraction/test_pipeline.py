"""One run of an extraction: what is decided before it, what is left out, what is refused."""

import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import SafetensorError

from prepro import encoders, features
from prepro.extraction import pipeline
from prepro.extraction.image_list import read_image_list
from prepro.extraction.pipeline import Job, _check_finite, print_space
from prepro.storage.feature_file import FeatureFile, Provenance
from prepro.storage.feature_writer import bytes_needed
from tests.prepro.test_features import data_folder, options

FLAGS = {"encoder": "resnet8", "resize": 40, "crop": 32, "batch_size": 2}


@pytest.fixture
def folder(tmp_path):
    return data_folder(tmp_path / "data", [(64, 48)] * 4)


def without_network(monkeypatch):
    """From now on no network may be built."""

    def refused(*_):
        raise AssertionError("nothing is left to compute")

    monkeypatch.setattr(pipeline, "Extractor", refused)


@pytest.mark.parametrize("mode", ["default", "short", "square", "full"])
def test_only_crops_have_one_shape(folder, monkeypatch, mode):
    given = []
    monkeypatch.setattr(pipeline, "Extractor", lambda *those: given.append(those))
    job = Job.of(options(folder, encoder="resnet8", mode=mode), read_image_list(folder))
    assert job.extractor is None and not job.is_quiet
    ((_, device, regions, precision, fixed_size),) = given
    assert (device.type, regions, precision) == ("cpu", 7, "float32")
    assert fixed_size == (mode != "full")


@pytest.mark.parametrize(("type", "precision"), [("cpu", "float32"), ("cuda", "float16")])
def test_auto_is_float16_on_cuda_and_float32_elsewhere(folder, monkeypatch, type, precision):
    monkeypatch.setattr(pipeline, "choose_device", lambda _: torch.device(type))
    job = Job.of(options(folder, encoder="resnet8"), read_image_list(folder))
    assert job.precision == job.provenance.precision == precision


def test_a_precision_that_the_device_lacks_is_refused(folder, monkeypatch):
    monkeypatch.setattr("prepro.runtime.precision.reduced_precision", lambda _: None)
    with pytest.raises(ValueError, match="bfloat16"):
        Job.of(options(folder, encoder="resnet8", precision="bfloat16"), read_image_list(folder))


def test_weights_of_a_file_are_taken_as_they_are(folder, tmp_path):
    encoder = encoders.create_encoder("resnet8")
    encoders.save(encoder, tmp_path / "e.safetensors")
    given = options(folder, encoder="resnet8", weights=str(tmp_path / "e.safetensors"))
    found = Job.of(given, read_image_list(folder)).encoder.network.state_dict()
    for name, value in encoder.network.state_dict().items():
        assert torch.equal(found[name], value), name
    random = Job.of(options(folder, encoder="resnet8"), read_image_list(folder)).encoder
    assert any(not torch.equal(found[n], v) for n, v in random.network.state_dict().items())
    Job.of(options(folder, encoder="efficientnet_lite0"), read_image_list(folder))


def test_nothing_is_computed_twice(folder, monkeypatch, capsys):
    assert features.main(options(folder, **FLAGS, strict=True)) == 0
    assert "encoder.safetensors" in os.listdir(folder)
    without_network(monkeypatch)
    monkeypatch.setattr(pipeline, "FeatureWriter", None)
    capsys.readouterr()
    assert features.main(options(folder, **FLAGS)) == 0
    told = capsys.readouterr()
    assert "4 pictures, 49 regions" in told.out and told.err == ""


def test_a_merged_file_whose_pictures_were_touched_is_complete(folder, monkeypatch):
    for number in (1, 2):
        features.main(options(folder, **FLAGS, shard=f"{number}/2"))
    features.main(options(folder, **FLAGS, merge=True))
    os.utime(folder / "1.png")
    without_network(monkeypatch)
    assert features.main(options(folder, **FLAGS)) == 0
    assert FeatureFile(folder / "features.h5").is_virtual


@pytest.mark.parametrize("mode", ["default", "full"])
def test_strict_stops_at_the_first_picture_that_is_bad(folder, mode):
    (folder / "2.png").write_bytes(b"torn")
    path = folder / "2.png"
    with pytest.raises(RuntimeError, match=rf"{path}: not a picture.* \(--strict\)"):
        features.main(options(folder, **FLAGS, mode=mode, strict=True))
    assert features.main(options(folder, **FLAGS, mode=mode)) == 1
    assert FeatureFile(folder / "features.h5").status.tolist() == [1, 1, 2, 1]


@pytest.mark.parametrize("exists", [True, False])
def test_published_weights_are_not_saved_beside_the_features(folder, monkeypatch, exists):
    if exists:  # of earlier features
        (folder / "encoder.safetensors").write_bytes(b"other weights")
    load = pipeline._load_encoder
    monkeypatch.setattr(
        pipeline, "_load_encoder", lambda given: replace(load(given), published=True)
    )
    assert features.main(options(folder, **FLAGS)) == 0
    assert "encoder.safetensors" not in os.listdir(folder)


def test_a_disk_without_room_for_the_encoder(folder, monkeypatch):
    def full(*_):
        raise SafetensorError("no space left")

    monkeypatch.setattr(encoders, "save", full)
    with pytest.raises(OSError, match=r"encoder\.safetensors: no space left"):
        features.main(options(folder, **FLAGS))


def test_the_space_is_told_in_gigabytes(tmp_path, capsys):
    made = Provenance("n", "w", "w", "{}", "f", 2048, 196)
    for count in (1, 123_000, 2 * 10**9):
        print_space(tmp_path / "features.h5", made, count)
        told = capsys.readouterr().err
        gigabytes = f"{bytes_needed(made, count) / 10**9:,.2f}"
        noun = "picture" if count == 1 else "pictures"
        assert told.endswith(f"allocating space for {count:,} {noun}, {gigabytes} GB\n")


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("where", ["fc", "att"])
def test_the_first_picture_whose_features_overflow_is_named(value, where):
    fc, att = np.ones((4, 3), np.float16), np.ones((4, 2, 3), np.float16)
    names = ["0.png", "1.png", "2.png", "3.png"]
    _check_finite([fc, att], names), _check_finite([fc, None], names)
    fc[1:3, 0] = value if where == "fc" else 65_504  # the largest float16
    att[1:3, 1, 2] = value if where == "att" else -65_504
    with pytest.raises(ValueError, match=r"^1\.png: its features are not finite"):
        _check_finite([fc, att], names)
    with pytest.raises(ValueError, match=r"^2\.png: "):
        _check_finite([fc[2:], att[2:]], names[2:])


def test_a_file_of_another_encoder_is_refused_before_anything_is_computed(folder, monkeypatch):
    features.main(options(folder, **FLAGS))
    without_network(monkeypatch)
    with pytest.raises(ValueError, match="made with encoder resnet8, but asked for resnet10-w8"):
        features.main(options(folder, **FLAGS | {"encoder": "resnet10-w8"}))
