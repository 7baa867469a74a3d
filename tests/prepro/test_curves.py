"""Curves of metrics.jsonl and of fb.resnet.torch's logs: windows, resumed runs, torn lines."""

import csv

import pytest

from prepro import curves

LINE = " | Epoch: [{}][{}/{}]    Time 0.512  Data 0.003  Err {:1.4f}  top1 {:7.3f}  top5 {:7.3f}"
FINISHED = " * Finished epoch # {}     top1: {:7.3f}  top5: {:7.3f}"


def log(first, last, count=100, error=90.0):
    lines = ["=> Creating model from file: models/resnet.lua"]
    for epoch in range(first, last + 1):
        for number in range(1, count + 1):
            top1 = error - epoch - number / count
            lines.append(LINE.format(epoch, number, count, 2.5, top1, top1 / 2))
        lines.append(" | Test: [1][1/9]    Time 0.1  Data 0.1  top1  10.000 ( 10.000)")
        lines.append(FINISHED.format(epoch, error - epoch, 7.25))
    return "\n".join(lines) + "\n"


def test_iterations_are_averaged_in_windows_of_forty(tmp_path):
    (tmp_path / "a.log").write_text(log(1, 2))
    found = curves.read(str(tmp_path / "a.log"))
    assert [x for x, _ in found.train] == [0.4, 0.8, 1.2, 1.6, 2.0]
    # iterations 1 to 40 of epoch 1: 89 - mean(1..40) / 100
    assert found.train[0][1]["top1"] == pytest.approx(89 - 0.205, abs=1e-3)
    assert found.train[0][1]["loss"] == 2.5
    assert found.val == [(1, {"top1": 89.0, "top5": 7.25}), (2, {"top1": 88.0, "top5": 7.25})]


def test_resumed_logs_with_a_torn_last_line(tmp_path):
    (tmp_path / "x.log.1").write_text(log(1, 2) + LINE.format(3, 1, 100, 2.0, 50, 20)[:60])
    (tmp_path / "x.log.2").write_text(log(2, 3, error=80.0))
    found = curves.read(f"{tmp_path / 'x.log.1'}+{tmp_path / 'x.log.2'}", window=100)
    assert [x for x, _ in found.train] == [1.0, 2.0, 3.0]
    assert [values["top1"] for _, values in found.val] == [89.0, 78.0, 77.0]


def test_figure_and_numbers_of_two_runs(tmp_path):
    (tmp_path / "a.log").write_text(log(1, 1))
    (tmp_path / "metrics.jsonl").write_text(
        '{"epoch": 0.5, "lr": 0.1, "train": {"loss": 1.5, "top1": 40.0}}\n'
        '{"epoch": 1, "val": {"loss": 1.25, "top1": 30.0}}\n{"epoch": 1.5, "tra'
    )
    runs = (str(tmp_path / "a.log"), str(tmp_path))
    curves.main(curves.Options(runs, tmp_path / "out.png"))
    assert (tmp_path / "out.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    rows = list(csv.DictReader((tmp_path / "out.csv").read_text().splitlines()))
    assert len(rows) == 3 + 1 + 1 + 1
    assert rows[-1] == {
        "run": str(tmp_path), "part": "val", "epoch": "1", "loss": "1.25", "top1": "30.0",
        "top5": "",
    }  # fmt: skip


def test_files_that_are_not_logs_are_refused(tmp_path):
    (tmp_path / "a.log").write_text("nothing\n")
    with pytest.raises(ValueError, match="no line of a training run"):
        curves.read(str(tmp_path / "a.log"))
    with pytest.raises(FileNotFoundError, match="no such log"):
        curves.read(str(tmp_path / "b.log"))
