"""The measures in words, and the lines and rows of a training run."""

import json

import pytest

from prepro.pretraining.measures import describe
from prepro.pretraining.training_log import PretrainingLog
from tests.prepro.pretraining.test_setup import setup


def test_five_classes_have_no_top5_error():
    measures = {"loss": 1.23456, "top1": 34.0625, "top5": 12.5}
    assert describe(measures, 5, "val ") == ["val loss 1.235", "val top-1 error 34.1 %"]
    assert describe(measures, 6, digits=2) == [
        "loss 1.235", "top-1 error 34.06 %", "top-5 error 12.50 %",
    ]  # fmt: skip


def test_an_epochs_line_weights_windows_by_their_pictures(tmp_path, capsys):
    with PretrainingLog(setup(40, 10, folder=tmp_path), 0) as log:
        log.add_window(0.75, {"loss": 1.0, "top1": 10.0}, 0.1, 30)
        log.add_window(1.0, {"loss": 4.0, "top1": 20.0}, 0.1, 10)
        log.finish_epoch(1, {"loss": 3.0, "top1": 25.0})
        log.add_window(2.0, {"loss": 0.5, "top1": 10.0}, 0.05, 40)
        log.finish_epoch(2, {"loss": 2.0, "top1": 5.0})
    assert capsys.readouterr().err.splitlines() == [
        "epoch 1  loss 1.750  val loss 3.000  val top-1 error 25.0 %",
        "epoch 2  loss 0.500  val loss 2.000  val top-1 error 5.0 %",
    ]
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert rows[0] == {"epoch": 0.75, "lr": 0.1, "train": {"loss": 1.0, "top1": 10.0}}
    assert [row["epoch"] for row in rows] == [0.75, 1.0, 1, 2.0, 2]


@pytest.mark.parametrize(("epoch", "kept"), [(0, []), (1, [0.5, 1.0, 1]), (2, [0.5, 1.0, 1, 1.5])])
def test_a_resumed_log_keeps_the_rows_of_its_complete_epochs(tmp_path, epoch, kept):
    path = tmp_path / "metrics.jsonl"
    rows = [{"epoch": number, "lr": 0.1} for number in (0.5, 1.0, 1, 1.5)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with PretrainingLog(setup(40, 10, folder=tmp_path), epoch):
        pass
    assert [json.loads(line)["epoch"] for line in path.read_text().splitlines()] == kept


def test_only_the_first_process_writes(tmp_path, capsys):
    with PretrainingLog(setup(40, 10, 2, rank=1, folder=tmp_path), 0) as log:
        log.add_window(1.0, {"loss": 1.0}, 0.1, 40)
        log.finish_epoch(1, {"loss": 1.0})
    assert list(tmp_path.iterdir()) == [] and capsys.readouterr().err == ""


def test_the_bar_counts_the_pictures_of_all_epochs(tmp_path, monkeypatch):
    started, added = [], []

    class Bar:
        def __init__(self, total, name, initial, enabled):
            started.append((total, initial, enabled))

        def add(self, images, status):
            added.append((images, status))

        def __exit__(self, *exception):
            added.append("end")

    monkeypatch.setattr("prepro.pretraining.training_log.ProgressBar", Bar)
    with PretrainingLog(setup(41, 10, 2, folder=tmp_path), 3) as log:
        log.add_window(3.5, {"loss": 1.0, "top1": 10.0}, 0.1, 20)
    assert started == [(40 * 42, 3 * 42, True)]  # 40 epochs of 42: one picture is read twice
    assert added == [(20, "loss 1.000, top-1 error 10.0 %"), "end"]
