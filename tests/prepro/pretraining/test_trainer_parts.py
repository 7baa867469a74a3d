"""What the training loop of an encoder sets up, hands on and leaves alone."""

import pytest
import torch
from torch import nn

from prepro import pretrain
from prepro.encoders import Encoder
from prepro.encoders.depthwise import DepthwiseConv2d
from prepro.pretraining import trainer
from prepro.pretraining.datasets import open_dataset
from prepro.pretraining.recipes import choose_recipe
from prepro.pretraining.training_log import PretrainingLog
from prepro.runtime import precision
from prepro.runtime.signals import StopRequest
from prepro.transform import Transform
from tests.prepro.pretraining.test_datasets import write_folder
from tests.prepro.pretraining.test_trainer import encoder_of, options, setup_of


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return open_dataset(write_folder(tmp_path_factory.mktemp("data") / "d", count=32, size=24))


@pytest.fixture(autouse=True)
def float32(monkeypatch):
    monkeypatch.setattr(precision, "reduced_precision", lambda device: None)


@pytest.mark.parametrize("half", [None, torch.bfloat16, torch.float16])
def test_gradients_are_scaled_in_float16_and_weights_are_laid_out(
    data, tmp_path, half, monkeypatch
):
    scalers = []
    monkeypatch.setattr(torch.amp, "GradScaler", lambda enabled: scalers.append(enabled))
    monkeypatch.setattr(trainer, "reduced_precision", lambda device: half)
    network = nn.Sequential(nn.Conv2d(3, 6, 3), nn.Conv2d(6, 6, 5, groups=6, bias=False))
    trainer.init_state(Encoder("x", network, Transform()), setup_of(data, tmp_path))
    assert scalers == [half is torch.float16]
    assert type(network[1]) is DepthwiseConv2d
    assert network[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert not network[0].weight.is_contiguous()


def test_each_window_of_an_epoch_counts_its_own_pictures(data, tmp_path, monkeypatch):
    """64 steps of one picture in two windows; their means are weighted equally."""
    counted, add = [], PretrainingLog.add_window

    def added(own, epoch, measures, lr, images):
        counted.append(images)
        add(own, epoch, measures, lr, images)

    monkeypatch.setattr(PretrainingLog, "add_window", added)
    setup = setup_of(data, tmp_path, epochs=1, batch=1)
    state = trainer.init_state(encoder_of(data), setup)
    assert trainer.fit(state, setup, StopRequest()) and counted == [32, 32]


def test_what_is_evaluated_and_exported_follows_the_training(data, tmp_path, monkeypatch):
    """The moving average after each step, with the statistics of the first process."""
    events = []
    monkeypatch.setattr(trainer, "broadcast_buffers", lambda _, network: events.append(network))

    def evaluated(network, *_, **__):
        events.append(network)
        return {"loss": 1.0, "top1": 50.0}

    monkeypatch.setattr(trainer, "evaluate", evaluated)
    setup = setup_of(data, tmp_path, epochs=2, batch=32, ema=0.5)
    state = trainer.init_state(encoder_of(data), setup)
    weights, step = [], trainer.train_step

    def stepped(*arguments):
        found = step(*arguments)
        weights.append(next(state.encoder.network.parameters()).detach().clone())
        return found

    monkeypatch.setattr(trainer, "train_step", stepped)
    assert trainer.fit(state, setup, StopRequest())
    assert events == [state.average.module] * 4
    expected = weights[0]
    for later in weights[1:]:
        expected = (expected + later) / 2
    assert len(weights) == 4
    assert torch.allclose(next(state.eval_network.parameters()), expected, atol=1e-6)


def test_new_encoders_have_the_seed_zero_unless_another_is_given(data, tmp_path):
    def made(**changes):
        given = options(tmp_path, tmp_path, **changes)
        return pretrain.prepare_encoder(given, choose_recipe("small"), data).sha256

    assert made() == made(seed=0) != made(seed=1)
