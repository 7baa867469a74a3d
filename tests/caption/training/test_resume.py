"""A run stopped anywhere and resumed is, bit for bit, the run that never stopped."""

import json
import os
import shutil
import signal
from dataclasses import replace

import h5py
import pytest
import torch
from safetensors.torch import load_file

from caption import train
from caption.config import TrainConfig
from caption.training import checkpoint, optim
from caption.training.setup import open_trainer
from prepro.runtime.distributed import DistributedContext
from tests.caption.drawn_folder import make_folder

HERE = DistributedContext(torch.device("cpu"))
TINY = TrainConfig(
    decoder="topdown", hidden=8, embedding=8, dropout=0.3, epochs=2, batch_size=4, workers=0,
    captions_per_image=2, device="cpu", learning_rate=5e-3,
)  # fmt: skip
KINDS = {
    "plain": TINY,
    "sampled": replace(TINY, decoder="show_tell", scheduled_sampling=0.4),
    "averaged": replace(TINY, decoder="newfc", ema=0.9),
    "accumulated": replace(TINY, decoder="show_attend_tell", accumulate=2, clip_mode="norm"),
    "transformer": replace(TINY, decoder="transformer", hidden=16, embedding=16, warmup=4),
    "finetuned": replace(TINY, finetune_after=1, ema=0.9, finetune_layers=4, weight_decay=0.1),
    "from nothing": replace(TINY, decoder="att2in", finetune_after=0, finetune_layers=9),
    "self-critical": replace(TINY, scst_after=1, ema=0.9, accumulate=2),
    "all stages": replace(
        TINY,
        decoder="newfc",
        epochs=3,
        finetune_after=1,
        scst_after=2,
        scst_bleu=1.0,
        scst_cross_entropy=0.2,
        scst_baseline="greedy",
    ),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("resume") / "tiny", train=22, val=3)


@pytest.fixture(autouse=True)
def early_sampling(monkeypatch):
    """Scheduled sampling from the first epoch on: five epochs would be long."""
    monkeypatch.setattr(optim, "sampling_prob", lambda config, epoch: config.scheduled_sampling)


class Killed(BaseException):
    """What kill -9 leaves: nothing runs any more."""


def run(config, monkeypatch=None, at=None, how=None):
    """Train; at step `at` be asked to stop (a signal's number) or killed. The exit status."""
    trainer = open_trainer(config, HERE)
    update = trainer.update

    def watched(batches, stop=0):
        if trainer.progress.step == at and how == "kill":
            raise Killed
        if trainer.progress.step == at:
            os.kill(os.getpid(), how)
        return update(batches, max(stop, how if trainer.progress.step == at else 0))

    if at is not None:
        monkeypatch.setattr(trainer, "update", watched)
    return train.train(trainer)


def end(folder):
    """Everything that the run came to, but for the time of day."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        row.pop("time", None)
    state = checkpoint.load(folder)
    state.pop("config")
    return state, rows, load_file(folder / "model.safetensors")


def same(one, two, path="state"):
    assert type(one) is type(two), path
    if isinstance(one, dict):
        assert one.keys() == two.keys(), path
        for key in one:
            same(one[key], two[key], f"{path}.{key}")
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(two), path
        for i, (a, b) in enumerate(zip(one, two, strict=True)):
            same(a, b, f"{path}.{i}")
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, two), path
    else:
        assert one == two, path


@pytest.mark.parametrize("kind", KINDS)
def test_stopped_and_resumed(kind, data, tmp_path, monkeypatch):
    """Twice: in the middle of the first epoch by SIGTERM, in the last by a kill."""
    config = replace(KINDS[kind], data=data)
    steps = -(-22 // (4 * config.accumulate))
    assert run(replace(config, out=tmp_path / "whole")) == 0
    parts = replace(config, out=tmp_path / "parts")
    assert run(parts, monkeypatch, 2, signal.SIGTERM) == 128 + signal.SIGTERM
    again = replace(parts, resume=True)
    with pytest.raises(Killed):
        run(again, monkeypatch, (config.epochs - 1) * steps + 2, "kill")
    assert run(again) == 0
    same(end(tmp_path / "whole"), end(tmp_path / "parts"))


def test_stopped_at_the_last_step_of_an_epoch(data, tmp_path, monkeypatch):
    config = replace(KINDS["finetuned"], data=data)
    assert run(replace(config, out=tmp_path / "whole")) == 0
    parts = replace(config, out=tmp_path / "parts")
    for step in (5, 11):
        ended = run(replace(parts, resume=step > 5), monkeypatch, step, signal.SIGINT)
        assert ended == 128 + signal.SIGINT
    assert run(replace(parts, resume=True)) == 0
    same(end(tmp_path / "whole"), end(tmp_path / "parts"))


def test_a_run_that_began_with_another(data, tmp_path, monkeypatch):
    """Its first best is that other run's score; it is validated once, however often resumed."""
    run(replace(TINY, data=data, out=tmp_path / "words", epochs=1))
    config = replace(TINY, data=data, start=tmp_path / "words", scst_after=0, epochs=1)
    run(replace(config, out=tmp_path / "whole"))
    parts = replace(config, out=tmp_path / "parts")
    assert run(parts, monkeypatch, 2, signal.SIGTERM) == 128 + signal.SIGTERM
    run(replace(parts, resume=True))
    same(end(tmp_path / "whole"), end(tmp_path / "parts"))
    rows = [row for row in end(tmp_path / "parts")[1] if "val_loss" in row]
    assert [row["epoch"] for row in rows] == [0, 1]
    (before,) = (row for row in end(tmp_path / "words")[1] if "val_loss" in row)
    assert {**rows[0], "step": 0, "epoch": 0} == {**before, "step": 0, "epoch": 0}


def test_workers_change_nothing(data, tmp_path):
    config = replace(KINDS["from nothing"], data=data, epochs=1)
    for workers in (0, 2):
        run(replace(config, workers=workers, out=tmp_path / str(workers)))
    same(end(tmp_path / "0"), end(tmp_path / "2"))


def test_two_runs_are_equal_and_two_seeds_are_not(data, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run(replace(TINY, data=data, epochs=1, seed=seed, out=tmp_path / name))
    same(end(tmp_path / "a"), end(tmp_path / "b"))
    with pytest.raises(AssertionError):
        same(end(tmp_path / "a"), end(tmp_path / "c"))


def test_fine_tuning_of_a_finished_run(data, tmp_path):
    """A run of frozen features, resumed with --finetune-after: its weights are where it begins."""
    frozen = replace(TINY, data=data, out=tmp_path / "run")
    run(frozen)
    before = checkpoint.load(tmp_path / "run")
    assert not any(name.startswith("encoder.") for name in before["model"])
    run(replace(frozen, resume=True, epochs=3, finetune_after=2))
    after = checkpoint.load(tmp_path / "run")
    assert after["progress"]["step"] == 1.5 * before["progress"]["step"]
    assert after["progress"]["finetune"] and after["progress"]["stage_epoch"] == 2
    assert any(name.startswith("encoder.") for name in after["model"])


def test_patience_ends_a_run_and_resuming_does_not_go_on(data, tmp_path):
    config = replace(TINY, data=data, out=tmp_path / "run", epochs=9, patience=1, learning_rate=0)
    run(config)
    rows = end(tmp_path / "run")[1]
    epochs = [row["epoch"] for row in rows if "val_loss" in row]
    assert epochs == [1, 2], "weights that do not move cannot be better the second time"
    run(replace(config, resume=True))
    assert end(tmp_path / "run")[1] == rows


@pytest.mark.parametrize("kind", ["averaged", "finetuned"])
def test_a_validation_that_fails_costs_no_epoch(kind, data, tmp_path, monkeypatch):
    """No room for the model, say: the epoch is not trained again."""
    config = replace(KINDS[kind], data=data)
    run(replace(config, out=tmp_path / "whole"))

    def no_room(*_):
        raise OSError(28, "No space left on device")

    out = tmp_path / "run"
    for again in (False, True):
        with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
            patch.setattr("caption.training.trainer.write_model", no_room)
            run(replace(config, out=out, resume=again))
    assert checkpoint.load(out)["progress"]["step"] == 6
    run(replace(config, out=out, resume=True))
    for one, other in zip(end(tmp_path / "whole"), end(out), strict=True):
        same(one, other)


def test_an_epoch_has_every_picture_once_whatever_the_accumulation(data, tmp_path):
    for accumulate in (1, 2, 3):
        out = tmp_path / str(accumulate)
        trainer = open_trainer(replace(TINY, data=data, out=out, accumulate=accumulate), HERE)
        groups = list(trainer.epoch(0))
        rows = [row for group in groups for batch in group for row in batch.rows]
        assert sorted(rows) == sorted(trainer.captions.rows)
        assert {len(group) for group in groups[:-1]} == {accumulate}


def test_other_features_are_refused(data, tmp_path):
    """Of another encoder, say, that happens to be as wide."""
    other, config = tmp_path / "other", replace(TINY, data=data, out=tmp_path / "run", epochs=1)
    shutil.copytree(data, other)
    with h5py.File(other / "features.h5", "r+") as file:
        file.attrs["weights_sha256"] = 64 * "0"
    assert run(config) == 0
    began = replace(config, data=other, out=tmp_path / "next", start=tmp_path / "run")
    for wrong in (replace(config, data=other, resume=True), began):
        with pytest.raises(ValueError, match="made from features with weights_sha256"):
            run(wrong)


def test_what_a_killed_run_wrote_before_its_first_checkpoint(data, tmp_path):
    """A first validation that no checkpoint knows of is not printed twice."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "metrics.jsonl").write_text('{"step": 0, "epoch": 0, "val_loss": 1}\n')
    assert run(replace(TINY, data=data, out=tmp_path / "run", epochs=1)) == 0
    assert [row["epoch"] for row in end(tmp_path / "run")[1] if "val_loss" in row] == [1]


def test_two_trainings_never_write_into_one_folder(data, tmp_path):
    config = replace(TINY, data=data, out=tmp_path / "run", epochs=1)
    first = open_trainer(config, HERE)
    first.save(best=False)
    for again in (config, replace(config, resume=True)):
        with pytest.raises(RuntimeError, match="another training is writing"):
            open_trainer(again, HERE)
    assert train.train(first) == 0
    with open_trainer(config, HERE):  # the first is over: its folder is moved, as ever
        assert (tmp_path / "run.1" / "last.json").is_file()
        first_moved = replace(config, out=tmp_path / "run.1", resume=True)
        assert train.train(open_trainer(first_moved, HERE)) == 0
