"""A validation of more pictures than a batch, beside its parts computed one picture at a time."""

import numpy as np
import pytest
import torch

from caption.data.batches import CaptionSet, Selection
from caption.data.data_folder import DataFolder
from caption.data.feature_store import FeatureStore
from caption.decoding.decode import DecodeOptions
from caption.models import Shape, build
from caption.training.losses import cross_entropy
from caption.training.setup import require_validation
from caption.training.validation import generate_captions, validate
from tests.caption.drawn_folder import make_folder

IMAGES = 103


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return DataFolder.open(make_folder(tmp_path_factory.mktemp("many") / "data", 2, IMAGES))


@pytest.fixture
def model(data):
    torch.manual_seed(0)
    shape = Shape(data.labels.vocabulary.classes, data.features.provenance.dim, 8, 8, dropout=0.5)
    made = build("show_tell", shape)
    with torch.no_grad():
        made.classify.weight.mul_(8)
    return made.train()


@pytest.fixture
def store(data):
    return FeatureStore(data.features, False, "memory")


def test_loss_and_captions_are_those_of_single_pictures(data, model, store):
    found = validate(model, data, store, "val", DecodeOptions(beam=1))
    assert model.training, "as before"
    model.eval()
    captions = CaptionSet(data, store, "val", 1, seed=0)
    total = tokens = 0.0
    with torch.no_grad():
        for row, chosen in zip(captions.rows, captions.draw_captions(0), strict=True):
            batch = captions.batch(Selection(np.array([row]), chosen[None]))
            total += float(cross_entropy(model, batch, 1))
            tokens += int(batch.token_mask.sum())
    assert len(found.sentences) == IMAGES and found.loss == pytest.approx(total / tokens, rel=1e-5)
    assert found.unique == len(set(found.sentences.values())) / IMAGES < 1
    model.train(False)
    validate(model, data, store, "val", DecodeOptions(beam=1))
    assert not model.training


def test_captions_come_in_order_and_do_not_depend_on_the_batch(data, model, store):
    rows, options = data.split("val")[::-1].copy(), DecodeOptions(sample="top-p=0.9")

    def captions(*arguments):
        pairs = list(generate_captions(model, data, store, rows, options, *arguments))
        assert [row for row, _ in pairs] == rows.tolist() and not model.training
        return [best.text for _, (best, *_) in pairs]

    model.train()
    expected = captions()
    assert captions(7) == captions(200, 0) == expected
    assert captions(7, 1) != expected


def test_each_process_needs_a_picture_to_validate_on(data):
    require_validation(data, IMAGES)
    with pytest.raises(ValueError, match=r"103 pictures with captions .* the 104 processes"):
        require_validation(data, IMAGES + 1)
