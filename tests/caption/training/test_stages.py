"""Self-critical training in caption.train: where it begins, what guards it, what it writes."""

import json
from dataclasses import replace
from types import SimpleNamespace

import h5py
import pytest
import torch

from caption import train
from caption.captioner import Captioner
from caption.config import TrainConfig
from caption.training import checkpoint, trainer, training_log
from caption.training.progress import Progress
from caption.training.setup import open_trainer
from prepro.runtime.distributed import DistributedContext
from prepro.runtime.metrics_log import read_rows
from tests.caption.drawn_folder import make_folder

HERE = DistributedContext(torch.device("cpu"))
TINY = TrainConfig(
    decoder="newfc", hidden=8, embedding=8, dropout=0.3, epochs=2, batch_size=4, workers=0,
    captions_per_image=2, device="cpu", learning_rate=5e-3,
)  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("stages") / "tiny", train=20, val=4)


def scores(monkeypatch, *values):
    """Make the validations of a run say these CIDEr-D, one after the other."""
    coming = iter(values)

    def validation(*_):
        score = next(coming)
        return SimpleNamespace(
            loss=1.0, scores={"CIDEr-D": score}, unique=1.0, text=lambda *_: str(score)
        )

    monkeypatch.setattr(trainer, "validate", validation)


def run(config):
    made = open_trainer(config, HERE)
    assert train.train(made) == 0
    return made


def weights(run, which):
    return checkpoint.load(run, which)["model"]


def equal(one, two):
    return all(torch.equal(one[name], two[name]) for name in one)


def test_the_guard_stops_and_keeps_the_best(data, tmp_path, monkeypatch):
    """Three validations that are not better than the cross-entropy run's: its weights are kept."""
    scores(monkeypatch, 0.5, 0.3)
    run(replace(TINY, data=data, out=tmp_path / "words"))
    scores(monkeypatch, 0.5, 0.45, 0.4, 0.49, 9.0)
    out = tmp_path / "score"
    made = run(replace(TINY, data=data, out=out, start=tmp_path / "words", scst_after=0, epochs=9))
    assert made.progress.epoch == 3 and made.progress.best == 0.5
    assert equal(weights(out, "best"), weights(tmp_path / "words", "best"))
    assert not equal(weights(out, "last"), weights(out, "best"))
    kept = Captioner.load(out / "model.safetensors").decoder.state_dict()
    best = weights(tmp_path / "words", "best")
    assert equal(kept, {name.removeprefix("decoder."): value for name, value in best.items()})


def test_the_last_line_is_the_best_score(data, tmp_path, monkeypatch, capsys):
    scores(monkeypatch, 0.25, 0.5)
    run(replace(TINY, data=data, out=tmp_path))
    assert capsys.readouterr().out == f"{tmp_path}: best validation CIDEr-D 0.5000\n"


def test_of_equal_validations_the_first_is_kept(data, tmp_path, monkeypatch):
    scores(monkeypatch, 0.5, 0.5)
    run(replace(TINY, data=data, out=tmp_path))
    assert checkpoint.load(tmp_path, "best")["progress"]["epoch"] == 1


def test_the_stage_begins_with_the_best_so_far(data, tmp_path, monkeypatch):
    """Of the same run: the first epoch's weights, not the second's, and moments of zero."""
    scores(monkeypatch, 0.5, 0.3, 0.6, 0.4, 0.3, 0.2)
    config = replace(TINY, data=data, out=tmp_path / "run", epochs=9, scst_after=2)
    made = open_trainer(config, HERE)
    seen = []
    load = made.learner.load_pretrained
    monkeypatch.setattr(
        made.learner,
        "load_pretrained",
        lambda state, encoder: seen.append(state) or load(state, encoder),
    )
    assert train.train(made) == 0
    assert [state["progress"]["epoch"] for state in seen] == [1]
    assert made.progress.epoch == 6 and made.progress.best == 0.6
    (moments,) = {int(s["step"]) for s in made.learner.optimizer.state.values()}
    assert moments == 4 * 5, "five steps an epoch since the stage began"


def test_a_finished_run_goes_on_self_critically(data, tmp_path):
    """--resume --scst-after: metrics.jsonl has both stages, each with its own loss."""
    config = replace(TINY, data=data, out=tmp_path / "run")
    run(config)
    run(replace(config, resume=True, scst_after=2, epochs=4))
    rows = [r for r in read_rows(tmp_path / "run") if "loss" in r]
    assert not rows, "twenty pictures in fours are fewer than 25 steps"
    state = checkpoint.load(tmp_path / "run")["progress"]
    assert (state["epoch"], state["scst"], state["stage_epoch"]) == (4, True, 2)
    assert len(state["sums"]) == 7 and state["sums"][0] == state["steps"] * 4 * 5


def test_what_a_line_of_the_journal_says(data, tmp_path, monkeypatch):
    monkeypatch.setattr(training_log, "LOG_EVERY", 1)
    run(replace(TINY, data=data, out=tmp_path, scst_after=1, ema=0.9))
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    rows = [row for row in rows if "loss" in row]
    words, score = rows[:5], rows[5:]
    assert not any("reward" in row for row in words) and len(score) == 5
    assert [row["learning_rate"] for row in rows] == [5e-3] * 5 + [5e-5] * 5
    for row in score:
        assert 0 <= row["reward"] <= 10 and row["entropy"] > 0 and 0 <= row["bad_endings"] <= 1
        assert row["baseline"] == pytest.approx(row["reward"]), "leave one out: of equal mean"
        assert 0 < row["length"] <= 20


def test_a_run_of_an_earlier_version_is_named(data, tmp_path, monkeypatch):
    scores(monkeypatch, 0.5)
    config = replace(TINY, data=data, out=tmp_path, epochs=1)
    run(config)
    state = checkpoint.load(tmp_path)
    state["progress"]["stage"] = state["progress"].pop("finetune")
    checkpoint.save(tmp_path, state, 5, best=True)
    with pytest.raises(ValueError, match="an earlier version .* best weights: --start"):
        open_trainer(replace(config, resume=True), HERE)
    again = open_trainer(replace(config, out=tmp_path / "new", start=tmp_path), HERE)
    assert equal(again.learner.network.state_dict(), state["model"])


def test_a_start_of_another_kind_costs_a_line(data, tmp_path, monkeypatch):
    scores(monkeypatch, 0.5)
    config = replace(TINY, data=data, out=tmp_path / "one", epochs=1)
    run(config)
    other = make_folder(tmp_path / "other", train=3, val=1)
    (other / "labels.json").write_text((other / "labels.json").read_text().replace("half", "heap"))
    with h5py.File(other / "labels.h5", "r+") as file:  # no hashes, as in files of neuraltalk2
        del file.attrs["vocabulary"], file.attrs["captions"]
    for change, said in (
        ({"hidden": 9}, "--hidden 8; pass the same value .got 9."),
        ({"decoder": "show_tell"}, "--decoder newfc"),
        ({"data": other}, "another vocabulary"),
    ):
        with pytest.raises(ValueError, match=said):
            open_trainer(
                replace(config, out=tmp_path / "two", start=tmp_path / "one", **change), HERE
            )
    with pytest.raises(FileNotFoundError, match="model.safetensors"):
        open_trainer(replace(config, out=tmp_path / "two", start=tmp_path / "none"), HERE)


def test_a_stage_begins_with_sums_and_a_patience_of_its_own(data, tmp_path):
    with open_trainer(replace(TINY, data=data, out=tmp_path, finetune_after=1), HERE) as made:
        made.progress = replace(made.progress, stale=2, loss=3.0, steps=4, sums=[5.0], best=0.5)
        assert made.enter_epoch(1)
        assert made.progress == Progress(best=0.5, finetune=True, stage_epoch=1)
