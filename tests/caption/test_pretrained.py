"""The model that comes with the package."""

from pathlib import Path

import matplotlib
import pytest
import torch

from caption.captioner import Captioner
from caption.pretrained import DEFAULT, MODELS

GRACE_HOPPER = Path(matplotlib.get_data_path(), "sample_data", "grace_hopper.jpg")


@pytest.fixture(scope="module")
def captioner():
    return Captioner.load(DEFAULT)


def test_it_is_small_and_has_a_card():
    assert MODELS[DEFAULT].stat().st_size < 20_000_000
    assert DEFAULT in MODELS[DEFAULT].with_name("MODEL_CARD.md").read_text()


def test_it_names_no_folder_of_the_machine_that_trained_it(captioner):
    config = captioner.run["config"]
    assert config["data"] and not any(Path(str(config[key])).is_absolute() for key in config)


def test_it_describes_a_photograph_of_a_person(captioner):
    (caption,) = captioner.sentences([GRACE_HOPPER])
    assert set(caption.split()) & {"man", "woman", "person", "people"}


def test_it_says_what_it_was_trained_on(captioner):
    assert captioner.description.startswith("flickr8k (topdown, trained on Flickr8k")


def test_it_computes_in_single_precision_without_another_file(captioner, monkeypatch):
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", None)
    weights = [*captioner.decoder.parameters(), *captioner.encoder.network.parameters()]
    assert {weight.dtype for weight in weights} == {torch.float32}
