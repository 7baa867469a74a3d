"""The metrics log: what a kill leaves of it, and what a resumed run forgets."""

import json
import math
import sys
from types import SimpleNamespace

import pytest

from caption import curves as command_module
from caption.config import TrainConfig
from caption.training import curves, training_log
from caption.training.progress import Progress
from caption.training.training_log import TrainingLog, rewind
from eval import command
from prepro.runtime.metrics_log import append_row, read_rows

ROWS = [
    {"step": 25, "epoch": 0.5, "loss": 3.0},
    {"step": 50, "epoch": 1.0, "loss": 2.5},
    {"step": 50, "epoch": 1, "val_loss": 2.4, "CIDEr-D": 0.1},
    {"step": 75, "epoch": 1.5, "loss": 2.25},
]


@pytest.fixture
def run(tmp_path):
    for row in ROWS:
        append_row(tmp_path, row)
    return tmp_path


def test_rows_come_back(run):
    assert read_rows(run) == ROWS


def test_what_is_not_finite_becomes_null(tmp_path):
    append_row(tmp_path, {"step": 1, "loss": math.nan, "norm": math.inf})
    assert json.loads((tmp_path / "metrics.jsonl").read_text()) == {
        "step": 1, "loss": None, "norm": None,
    }  # fmt: skip


def test_a_line_cut_anywhere_is_left_out(run):
    path = run / "metrics.jsonl"
    data = path.read_bytes()
    last = data[:-1].rindex(b"\n") + 1
    for end in range(last, len(data) - 1):
        path.write_bytes(data[:end])
        assert read_rows(run) == ROWS[:3]


@pytest.mark.parametrize(
    ("step", "epoch", "left"), [(75, 1, 4), (60, 1, 3), (50, 1, 3), (50, 0, 2), (0, 0, 0)]
)
def test_a_resumed_run_forgets_what_it_will_do_again(run, step, epoch, left):
    """Stopped after the last step of epoch 0 but before its validation: (50, 0)."""
    rewind(run, step, epoch)
    assert read_rows(run) == ROWS[:left]


def test_curves_are_drawn_of_any_journal(run, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    append_row(other, ROWS[0])
    for kind, head in (("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")):
        out = tmp_path / f"curves.{kind}"
        curves.draw([run, other], out)
        assert out.read_bytes().startswith(head)


@pytest.mark.parametrize("kind", ["png", "pdf", "svg"])
def test_equal_curves_are_equal_files(run, tmp_path, kind, monkeypatch):
    """Also on another day: matplotlib takes the time from this variable."""
    files = [tmp_path / f"{number}.{kind}" for number in range(2)]
    for number, out in enumerate(files):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", str(number * 86_400))
        curves.draw([run], out)
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_reward_is_drawn_beside_the_score_it_raises(run, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(curves, "curve", lambda axes, *rest: drawn.append((axes, *rest)))
    append_row(run, {"step": 100, "epoch": 2.0, "loss": -0.25, "reward": 0.5})
    curves.draw([run], tmp_path / "out.svg")
    left, right = drawn[0][0], drawn[-1][0]
    assert drawn[0] == (left, 0, [(0.5, 3.0), (1.0, 2.5), (1.5, 2.25)])
    assert drawn[2] == (right, 0, [(2.0, 0.5)]) and "reward" in right.get_ylabel()


class Bar:
    """What a progress bar was told."""

    def __init__(self):
        self.told = []

    def add(self, images, status=None):
        self.told.append((images, status))

    def __exit__(self, *_):
        pass


@pytest.mark.parametrize("critical", [False, True])
def test_means_since_the_last_line_are_written_and_shown(tmp_path, critical):
    """Twenty-five steps a line; the sums begin anew after it."""
    progress = Progress(step=24, epoch=2, cursor=10, best=0.5 if critical else -math.inf)
    progress.loss, progress.steps, progress.sums = 60.0, 24, [3.0]
    samples = {"reward": 0.125} if critical else {}
    config = TrainConfig(out=tmp_path, epochs=4)
    with TrainingLog(config, True, 40, progress) as log:
        assert (log.bar.bar.total, log.bar.bar.n) == (4 * 40, 2 * 40 + 10)
        log.bar = Bar()
        log.log_step(progress, 1.5, 0.25, 4, samples)
        assert not (tmp_path / "metrics.jsonl").exists()
        progress.step, progress.steps, progress.loss = 25, 25, 62.5
        log.log_step(progress, 1.5, 0.25, 3, samples)
    (row,) = read_rows(tmp_path)
    assert (row["step"], row["epoch"], row["loss"]) == (25, 2.25, 2.5)
    assert (row["learning_rate"], row["gradient_norm"]) == (0.25, 1.5)
    assert (row.get("reward") == 0.125) == critical
    shown = "reward 0.125, best CIDEr-D 0.500" if critical else "loss 2.500"
    assert log.bar.told == [(4, None), (3, shown)]
    assert (progress.loss, progress.steps, progress.sums) == (0, 0, [])


def test_opening_the_log_forgets_what_will_be_done_again(run):
    with TrainingLog(TrainConfig(out=run), True, 40, Progress(step=50, epoch=0)):
        assert read_rows(run) == ROWS[:2]


def test_a_process_that_does_not_write_writes_nothing(run):
    before = read_rows(run)
    progress = Progress(step=25, epoch=0, steps=25, loss=50.0)
    with TrainingLog(TrainConfig(out=run), False, 40, progress) as log:
        log.log_step(progress, 1.0, 0.1, 4, {})
    assert read_rows(run) == before and [path.name for path in run.iterdir()] == ["metrics.jsonl"]


class Board:
    """A TensorBoard writer's calls."""

    def __init__(self, folder, purge_step):
        self.folder, self.purge_step = folder, purge_step
        self.scalars, self.closed = [], False

    def add_scalar(self, *scalar):
        self.scalars.append(scalar)

    def close(self):
        self.closed = True


def test_tensorboard_has_the_numbers_of_the_log_where_it_is_installed(tmp_path, monkeypatch):
    """purge_step is the first step whose earlier events are forgotten."""
    monkeypatch.setattr(training_log, "find_spec", lambda _: True)
    module = SimpleNamespace(SummaryWriter=Board)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    progress = Progress(step=50, steps=25, loss=50.0)
    with TrainingLog(TrainConfig(out=tmp_path), True, 40, progress) as log:
        log.log_step(progress, 1.5, 0.25, 4, {})
    (row,) = read_rows(tmp_path)
    assert log.board.folder == tmp_path / "tensorboard" and log.board.purge_step == 51
    assert log.board.scalars == [(n, v, 50) for n, v in row.items() if n not in ("step", "time")]
    assert len(log.board.scalars) == 4 and log.board.closed
    with TrainingLog(TrainConfig(out=tmp_path), False, 40, progress) as log:
        assert log.board is None


def test_no_journal_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="is .* a run"):
        read_rows(tmp_path)


def test_every_run_has_a_name_of_its_own(tmp_path):
    assert curves.names([tmp_path / "a", tmp_path / "b"]) == ["a", "b"]
    assert curves.names([tmp_path / "a" / "x", tmp_path / "b" / "x"])[0].endswith("a/x")
    assert curves.names([tmp_path / "a"] * 2) == ["a (1)", "a (2)"]


def test_the_command_takes_runs_without_a_flag(run, tmp_path, capsys):
    out = tmp_path / "both.png"
    assert (
        command.run(
            command_module.Options, command_module.main, [str(run), str(run), f"--out={out}"]
        )
        == 0
    )
    assert capsys.readouterr().out == f"{out}\n" and out.is_file()
