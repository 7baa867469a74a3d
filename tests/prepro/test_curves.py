"""Curves of metrics.jsonl and of fb.resnet.torch's logs: windows, resumed runs, torn lines."""

import csv
import json

import pytest
from matplotlib import pyplot

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


def test_figure_and_numbers_of_two_runs(tmp_path, capsys):
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
    assert [row["epoch"] for row in rows] == ["0.4", "0.8", "1", "1", "0.5", "1"]
    assert [row["part"] for row in rows] == ["train"] * 3 + ["val", "train", "val"]
    assert capsys.readouterr().out == f"{tmp_path / 'out.png'}\n"
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


@pytest.mark.parametrize(
    ("runs", "out", "said"), [((), "out.png", "no run is named"), (("a.log",), "out.xyz", "xyz")]
)
def test_nothing_is_written_where_nothing_can_be_drawn(runs, out, said, tmp_path):
    (tmp_path / "a.log").write_text(log(1, 1))
    with pytest.raises(ValueError, match=said):
        curves.main(curves.Options(tuple(str(tmp_path / run) for run in runs), tmp_path / out))
    assert [path.name for path in tmp_path.iterdir()] == ["a.log"]


def panels(runs, tmp_path, monkeypatch):
    """The axes of the figure of these runs, and the words of its legend."""
    closed = []
    monkeypatch.setattr(pyplot, "close", closed.append)
    curves.draw(runs, tmp_path / "out.svg")
    monkeypatch.undo()
    (chart,) = closed
    pyplot.close(chart)
    return chart.axes, [text.get_text() for text in chart.legends[0].get_texts()]


def test_a_figure_has_a_panel_for_each_measure_that_is_not_always_zero(tmp_path, monkeypatch):
    first = curves.Curves(
        "runs/a", [(0.5, {"loss": 2.0, "top1": 40.0, "top5": 0.0})], [(1, {"top1": 30.0})]
    )
    second = curves.Curves("logs/b.log+logs/c.log", [], [(2, {"loss": 1.5, "labels": 7.0})])
    axes, names = panels([first, second], tmp_path, monkeypatch)
    assert [panel.get_ylabel() for panel in axes] == [
        "label error (%)", "top-1 error (%)", "loss (nats)",
    ]  # fmt: skip
    assert names == ["training", "validation", "a", "b.log"]
    top1, loss = ([line for line in panel.lines if len(line.get_xdata())] for panel in axes[1:])
    shown = [(line.get_linestyle(), line.get_xydata().tolist()) for line in (*top1, *loss)]
    assert shown == [
        ("-", [[0.5, 40.0]]), ("--", [[1, 30.0]]),  # top-1 errors of a
        ("-", [[0.5, 2.0]]), ("--", [[2, 1.5]]),  # the losses of a and b
    ]  # fmt: skip
    assert loss[0].get_color() == top1[0].get_color() == top1[1].get_color() != loss[1].get_color()
    assert all(panel.get_xlim()[0] == panel.get_ylim()[0] == 0 for panel in axes)


def test_runs_of_one_name_are_told_apart_by_their_folders(tmp_path, monkeypatch):
    runs = [curves.Curves(f"{name}/run", [(1, {"loss": 1.0})]) for name in "ab"]
    assert panels(runs, tmp_path, monkeypatch)[1][2:] == ["a/run", "b/run"]


def test_parts_of_a_metrics_log_are_joined(tmp_path):
    """A run with training rows alone, and one with validation rows alone, have curves."""
    rows = {"a": {"epoch": 0.5, "train": {"loss": 2.0}}, "b": {"epoch": 1, "val": {"loss": 1.0}}}
    paths = [tmp_path / f"{name}.jsonl" for name in rows]
    for path, row in zip(paths, rows.values(), strict=True):
        path.write_text(json.dumps(row) + "\n")
    train, val = (curves.read(str(path)) for path in paths)
    assert (train.train, train.val) == ([(0.5, {"loss": 2.0})], [])
    assert (val.train, val.val) == ([], [(1, {"loss": 1.0})])
    both = curves.read("+".join(map(str, paths)))
    assert (both.train, both.val) == (train.train, val.val)
