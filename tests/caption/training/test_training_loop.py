"""The loop of caption.train around its steps: what it saves and says, and how it is stopped."""

from dataclasses import replace

import pytest
import torch

from caption import train
from caption.config import TrainConfig
from caption.decoding.decode import DecodeOptions
from caption.training import trainer as trainer_module
from caption.training.setup import open_trainer
from caption.training.validation import validate
from prepro.runtime.distributed import DistributedContext
from tests.caption.drawn_folder import make_folder

HERE = DistributedContext(torch.device("cpu"))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Six steps an epoch; the last one has a single picture."""
    return make_folder(tmp_path_factory.mktemp("loop") / "tiny", train=11, val=6)


@pytest.fixture
def config(data, tmp_path):
    return TrainConfig(
        data=data, out=tmp_path / "run", decoder="newfc", hidden=8, embedding=8, dropout=0,
        epochs=1, batch_size=2, captions_per_image=2, workers=0, device="cpu",
    )  # fmt: skip


@pytest.fixture
def trainer(config):
    with open_trainer(config, HERE) as made:
        yield made


def test_a_long_epoch_is_saved_now_and_then_and_is_not_called_the_best(trainer, monkeypatch):
    update, save, saved = trainer.update, trainer.save, []

    def slow(batches, stop):
        if trainer.progress.step == 3:
            trainer.last_save -= train.SAVE_EVERY + 1
        return update(batches, stop)

    def watched(best):
        saved.append((trainer.progress.step, best))
        save(best)

    monkeypatch.setattr(trainer, "update", slow)
    monkeypatch.setattr(trainer, "save", watched)
    assert train.train(trainer) == 0
    assert saved == [(4, False), (6, True)]


class Bar:
    """What a progress bar was told."""

    def __init__(self):
        self.images, self.closed = [], False

    def add(self, images, status=None):
        self.images.append(images)

    def __exit__(self, *_):
        self.closed = True


def test_the_bar_counts_every_picture_once_and_is_closed(config):
    with open_trainer(replace(config, accumulate=2), HERE) as trainer:
        trainer.log.bar = bar = Bar()
        assert train.train(trainer) == 0
    assert bar.images == [4, 4, 3] and bar.closed


def test_the_terminal_has_the_opening_and_a_table_for_each_epoch(trainer, capsys):
    assert train.train(trainer) == 0
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[0] for line in lines[:4]] == ["data", "model", "device", "epoch"]
    assert "val loss" in lines[3] and lines[4].split()[0] == "1"


def test_a_run_that_another_process_stops_says_how_to_continue(trainer, capsys, monkeypatch):
    """Its own signal is 0; the status is that of SIGTERM."""
    words = ["caption.train", "--out", "my runs/a", "--resume", "--seed", "1"]
    monkeypatch.setattr("sys.argv", words)
    monkeypatch.setattr(trainer, "update", lambda *_: True)
    assert train.train(trainer) == 128 + 15
    said = capsys.readouterr().err.splitlines()[-1]
    assert (
        said
        == "stopped; continue with: python -m caption.train --out 'my runs/a' --seed 1 --resume"
    )
    assert (trainer.config.out / "last.json").exists()
    assert not (trainer.config.out / "best.json").exists()


def test_a_step_tells_whether_anyone_asked_to_stop(trainer):
    assert trainer.enter_epoch(0)
    steps = trainer.epoch(0)
    assert not trainer.update(next(steps))
    assert trainer.update(next(steps), 1)


def test_a_validation_that_fails_names_no_best(trainer, monkeypatch):
    monkeypatch.setattr(trainer, "validate", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train.train(trainer)
    assert (trainer.config.out / "last.json").exists()
    assert not (trainer.config.out / "best.json").exists()


def test_the_average_is_validated_greedily_with_the_first_processs_statistics(config, monkeypatch):
    found, synchronised = [], []
    with open_trainer(replace(config, ema=0.5), HERE) as trainer:
        model = trainer.learner.eval_model
        assert model is not trainer.learner.network
        with torch.no_grad():
            for weight in model.decoder.parameters():
                weight.mul_(12)
        monkeypatch.setattr(
            trainer.log, "log_validation", lambda _, result, __: found.append(result)
        )
        monkeypatch.setattr(
            trainer_module.distributed, "broadcast_buffers", lambda _, n: synchronised.append(n)
        )
        trainer.validate()
        greedy, wider = (
            validate(model.decoder, trainer.data, trainer.store, "val", DecodeOptions(beam=beam))
            for beam in (1, 2)
        )
    assert found == [greedy] != [wider]
    assert synchronised == [model]


def test_the_last_batch_of_a_step_sums_the_gradients_of_all_processes(config):
    """DistributedDataParallel gives their mean, so that each loss counts once for each process."""
    with open_trainer(replace(config, accumulate=3), HERE) as trainer:
        learner, summed = trainer.learner, []

        def objective(network, *rest):
            summed.append(getattr(network, "require_backward_grad_sync", None))
            return trainer.objective(network, *rest)

        batches, gradients = next(trainer.epoch(0)), []
        for world in (1, 2):
            learner.context = replace(HERE, world=world)
            learner.backward(objective, batches, 10, 0)
            gradients.append([p.grad.clone() for p in learner.network.parameters()])
    assert summed == [None] * 3 + [False, False, True]
    assert any(gradient.any() for gradient in gradients[0])
    for one, two in zip(*gradients, strict=True):
        torch.testing.assert_close(two, 2 * one)
