"""The encoder while it is fine-tuned: which parts train, and what it reads."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from caption.config import TrainConfig
from caption.data.batches import CaptionSet
from caption.data.data_folder import DataFolder
from caption.training import image_batches
from caption.training.caption_model import FinetunedEncoder
from caption.training.encoder_payload import data_encoder
from caption.training.setup import open_trainer
from prepro import encoders
from prepro.runtime.distributed import SINGLE_PROCESS
from prepro.storage import left_right
from prepro.transform import Transform
from tests.caption.drawn_folder import make_folder

CPU = torch.device("cpu")


@pytest.fixture
def folder(tmp_path):
    return make_folder(tmp_path / "data", train=9, val=4)


def training_norms(network):
    """The parts of a residual network with a BatchNorm that gathers statistics."""
    return {
        name.partition(".")[0]
        for name, module in network.named_modules()
        if isinstance(module, nn.BatchNorm2d) and module.training
    }


PARTS = {1: {"layer4"}, 2: {"layer3", "layer4"}}
ALL = {"bn1", "layer1", "layer2", "layer3", "layer4"}


@pytest.mark.parametrize("layers", [1, 2, 4, 9])
def test_only_the_trained_stages_ever_leave_evaluation_mode(layers):
    encoder = FinetunedEncoder(encoders.create_encoder("resnet10-w8"), 2, layers, pretrained=False)
    expected = PARTS.get(layers, ALL)
    assert training_norms(encoder.network) == expected
    assert not training_norms(encoder.eval().network)
    assert training_norms(encoder.train().network) == expected


def test_the_trained_stages_train_again_after_a_validation(folder, tmp_path):
    config = TrainConfig(
        data=folder, out=tmp_path / "run", decoder="newfc", hidden=8, embedding=8, epochs=2,
        workers=0, finetune_after=0, device="cpu",
    )  # fmt: skip
    with open_trainer(config, SINGLE_PROCESS) as trainer:
        for epoch in range(2):
            assert trainer.enter_epoch(epoch)
            assert training_norms(trainer.learner.network.encoder.network) == PARTS[2]
            trainer.validate()


@pytest.mark.parametrize("side", [0, 2])
def test_a_validation_sees_each_picture_as_the_extraction_did(folder, side):
    """Whatever the mode of the encoder was, and to the precision of float16."""
    data = DataFolder.open(folder)
    rows = data.split("val")
    encoder = FinetunedEncoder(data_encoder(folder, data.features), side, 9, pretrained=False)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    store = image_batches.encode_images(encoder, data, rows, 0, CPU)
    assert store.features.fc.dtype == torch.float16
    found = store(rows[::-1].copy())
    assert np.allclose(found.fc, data.features.fc(rows)[::-1], rtol=1e-2, atol=1e-3)
    if side:
        assert store.features.att.dtype == torch.float16
        assert np.allclose(found.att, data.features.att(rows)[::-1], rtol=1e-2, atol=1e-3)
    else:
        assert found.att is None
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


def test_a_side_is_named_by_a_whole_word_of_any_caption():
    words = ("left", "cat", "leftover", "rightmost", "right-handed", "lefts")
    captions = np.array([[1, 0], [2, 3], [2, 4], [6, 2], [2, 5], [3, 0], [0, 0]], np.uint32)
    ranges = np.array([[0, 1], [1, 2], [1, 3], [3, 3], [3, 4], [4, 7], [5, 7]])
    texts = [
        (),
        ("a bright cat", "left over"),
        (),
        ("leftover cats", "brightest"),
        (),
        (),
        ("Right",),
    ]
    labels = SimpleNamespace(
        vocabulary=SimpleNamespace(words=words), labels=captions, ranges=ranges,
        records=[SimpleNamespace(captions=own) for own in texts],
    )  # fmt: skip
    found = left_right.mentions_left_or_right(labels)
    assert found.tolist() == [True, True, True, False, False, True, True]


def augmented(data, never_mirrored, epoch):
    captions = CaptionSet(data, None, "train", 2, 0, CPU)
    plan = list(captions.selections(epoch, 4, 0, SINGLE_PROCESS))
    transform = Transform(resize=36, crop=32)
    images = image_batches.AugmentedImages(data.labels, transform, plan, never_mirrored, 7, epoch)
    return captions, images


def test_pictures_of_which_a_caption_names_a_side_keep_their_sides(folder):
    """The pictures have a colour on the left and another on the right."""
    data = DataFolder.open(folder)
    fixed = left_right.mentions_left_or_right(data.labels)
    mirrored = {}
    for epoch in range(12):
        _, images = augmented(data, fixed, epoch)
        for selection, (pixels, bad) in zip(images.plan, images, strict=False):
            assert not bad
            for row, picture in zip(selection.rows.tolist(), pixels, strict=True):
                with Image.open(folder / data.labels.records[row].path) as original:
                    left = torch.tensor(original.getpixel((0, 0)))
                is_mirrored = not torch.equal(picture[:, 0, 0], left.to(torch.uint8))
                mirrored.setdefault(row, set()).add(is_mirrored)
    assert len(mirrored) == 9
    for row, found in mirrored.items():
        assert found == ({False} if fixed[row] else {False, True})


def test_a_picture_that_cannot_be_read_is_named_and_teaches_nothing(folder, capsys):
    data = DataFolder.open(folder)
    broken = data.labels.records[3]
    (folder / broken.path).write_text("no picture any more")
    captions, images = augmented(data, np.zeros(len(data.labels.records), bool), 0)
    for batch in image_batches.load(captions, images, 0, CPU):
        for row, pixels, mask in zip(batch.rows, batch.pixels, batch.token_mask, strict=True):
            assert bool(pixels.any()) == bool(mask.any()) == (row != 3)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"caption.train: left out {folder / broken.path}: ")


def test_fine_stripes_of_a_jpeg_are_still_there_in_its_crop(folder):
    """A JPEG may be decoded at an eighth of its size, which would be too small for the crop."""
    data = DataFolder.open(folder)
    stripes = np.where(np.arange(90) % 10 < 5, 40, 215).astype(np.uint8)
    picture = Image.fromarray(np.broadcast_to(stripes, (90, 90)).copy())
    picture.save(folder / data.labels.records[3].path, "JPEG", quality=95)
    _, images = augmented(data, np.zeros(len(data.labels.records), bool), 0)
    rows = np.concatenate([selection.rows for selection in images.plan])
    pixels = torch.cat([images[i][0] for i in range(len(images))]).float()
    assert pixels[rows == 3].std() > 50
