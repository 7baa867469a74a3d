"""The encoder behind stored features: found again, and written into the run's model."""

from dataclasses import replace

import h5py
import pytest
import torch

from caption.data.data_folder import DataFolder
from caption.training.encoder_payload import (
    data_encoder,
    encoder_payload,
    finetuned_encoder_payload,
)
from prepro import encoders
from prepro.storage.feature_file import FeatureFile
from prepro.transform import Transform
from tests.caption.drawn_folder import make_folder

OF_FEATURES = Transform(resize=36, crop=32)


@pytest.fixture
def encoder():
    """That of the drawn folder's features, with another transform."""
    return encoders.create_encoder("resnet10-w8")


@pytest.fixture
def named(encoder, tmp_path):
    """A folder whose features were made with a file of weights; encoder.safetensors is another."""
    path = tmp_path / "named.safetensors"
    encoders.save(encoder, path)
    folder = make_folder(tmp_path / "data", 3, 1, weights=str(path))
    encoders.save(encoders.create_encoder("resnet10-w8", seed=1), folder / "encoder.safetensors")
    return folder


def features_of(folder):
    return DataFolder.open(folder).features


def test_an_older_encoder_file_is_not_taken_for_the_encoder_of_the_features(named, encoder):
    for _ in range(2):
        found = data_encoder(named, features_of(named))
        assert (found.sha256, found.transform) == (encoder.sha256, OF_FEATURES)
        (named / "encoder.safetensors").unlink(missing_ok=True)


def test_weights_that_are_nowhere_are_asked_for(tmp_path):
    folder = make_folder(tmp_path / "data", 3, 1)
    encoders.save(encoders.create_encoder("resnet10-w8", seed=1), folder / "encoder.safetensors")
    with pytest.raises(ValueError, match="these are not the weights .* prepro.features again"):
        data_encoder(folder, features_of(folder))


def test_features_of_another_system_leave_the_encoder_its_transform(named, encoder):
    with h5py.File(named / "features.h5", "r+") as file:
        file.attrs["transform"] = "{}"
    found = data_encoder(named, FeatureFile(named / "features.h5"))
    assert found.transform == encoder.transform != OF_FEATURES


def test_a_model_holds_the_weights_that_cannot_be_had_by_name(named, encoder, monkeypatch):
    features = features_of(named)
    header, tensors = encoder_payload(named, features)
    assert header["public"] is False and header["sha256"] == encoder.sha256
    assert header["transform"] == OF_FEATURES.to_dict()
    expected = encoder.network.state_dict()
    assert tensors.keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in tensors.items())
    tuned, tensors = finetuned_encoder_payload(encoder)
    assert (tuned["public"], tuned["weights"], tuned["sha256"]) == (
        False, "fine-tuned", encoder.sha256,
    )  # fmt: skip
    assert tensors.keys() == expected.keys()
    monkeypatch.setattr(encoders, "create_encoder", lambda *_: replace(encoder, published=True))
    published, tensors = encoder_payload(named, features)
    assert published["public"] is True and published["sha256"] == encoder.sha256
    assert published["transform"] == OF_FEATURES.to_dict() and not tensors
    (named / "encoder.safetensors").unlink()
    assert encoder_payload(named, features) == (published, {})
