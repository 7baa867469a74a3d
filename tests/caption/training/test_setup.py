"""Opening a trainer: what a run begins with, and what its folder must be and is made into."""

import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from caption.config import TrainConfig
from caption.training import checkpoint
from caption.training.setup import open_trainer
from prepro.runtime.distributed import DistributedContext
from tests.caption.drawn_folder import make_folder

HERE = DistributedContext(torch.device("cpu"))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("setup") / "tiny", train=5, val=2)


@pytest.fixture
def config(data, tmp_path):
    return TrainConfig(data=data, out=tmp_path / "run", hidden=8, embedding=8, workers=0)


def opened(config):
    """The progress and the weights of a run that is opened and closed again."""
    with open_trainer(config, HERE) as trainer:
        weights = trainer.learner.network.state_dict()
        return trainer.progress, {name: tensor.clone() for name, tensor in weights.items()}


def assert_untrained(found, expected):
    assert found[0].is_new
    assert all(torch.equal(tensor, expected[1][name]) for name, tensor in found[1].items())


def test_a_run_in_the_folder_of_another_begins_anew(config):
    with open_trainer(config, HERE) as first:
        untrained = opened(replace(config, out=config.out.with_name("other")))
        first.progress.step = 7
        torch.nn.init.zeros_(first.learner.network.decoder.classify.weight)
        first.save(best=True)
    assert opened(replace(config, resume=True))[0].step == 7
    assert_untrained(opened(config), untrained)


def test_a_run_that_was_stopped_before_its_first_checkpoint_begins_anew(config):
    untrained = opened(config)
    assert not (config.out / "last.json").exists()
    assert_untrained(opened(replace(config, resume=True)), untrained)


def test_what_a_kill_left_unfinished_is_removed_and_nothing_else(config):
    config.out.mkdir()
    for name in (".step-000001.pt.99.partial", ".model.safetensors.7.partial", "mine.partial"):
        (config.out / name).write_text("half")
    opened(config)
    assert [path.name for path in config.out.glob("*.partial")] == ["mine.partial"]
    assert not list(config.out.glob(".*.partial"))


def test_a_disk_without_room_for_checkpoints_is_refused_before_training(config, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(OSError, match="two checkpoints need"):
        open_trainer(config, HERE)


def test_only_a_decoder_that_attends_has_a_grid_of_regions(config):
    """The features' grid has two by two regions."""
    for decoder, side in (("show_tell", 0), ("topdown", 2)):
        with open_trainer(replace(config, decoder=decoder), HERE) as trainer:
            assert trainer.side == side


def test_a_checkpoint_that_lacks_a_part_of_the_optimizer_costs_a_line(config):
    with open_trainer(config, HERE) as trainer:
        trainer.save(best=True)
    checkpoint.save(config.out, checkpoint.load(config.out) | {"optimizer": {}}, 1, best=False)
    with pytest.raises(ValueError, match=r"run: its checkpoint does not fit the run \(.+\)$"):
        open_trainer(replace(config, resume=True), HERE)
