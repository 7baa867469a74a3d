"""Progress: a line now and then where stderr is no terminal."""

import pytest

from prepro.runtime import progress


@pytest.fixture
def clock(monkeypatch):
    """stderr is no terminal, and the time is clock[0]."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: False, raising=False)
    return now


def test_a_line_has_the_count_the_rate_and_the_time_left(clock, capsys):
    with progress.Progress(8000) as bar:
        for second in range(1, 61):
            clock[0] = 100.0 + second
            bar.add(39, bad=1)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2  # one in 30 seconds
    assert lines[0] == (
        "features: 1,200 of 8,000 pictures, 40.0 a second, 170 s left, 30 bad"
    )  # 6,800 left at 40 a second


def test_the_rate_leaves_out_what_was_done_before(clock, capsys):
    with progress.Progress(1000, "pretrain", "images", initial=400) as bar:
        clock[0] = 130.0
        bar.add(300, status="loss 1.563")
    assert capsys.readouterr().err == (
        "pretrain: 700 of 1,000 images, 10.0 a second, 30 s left, loss 1.563\n"
    )


def test_a_disabled_progress_prints_nothing(clock, capsys):
    with progress.Progress(10, enabled=False) as bar:
        clock[0] = 200.0
        bar.add(5)
        bar.print("a line")
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_a_bar_with_the_status(monkeypatch, capsys):
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: True, raising=False)
    with progress.Progress(10, "pretrain") as bar:
        bar.add(5, status="loss 1.563")
        bar.print("epoch 1  loss 1.5")
        bar.add(4, bad=1)
    text = capsys.readouterr().err
    assert "epoch 1  loss 1.5\n" in text
    assert "pretrain: 100%" in text
    assert "loss 1.563, 1 bad" in text
