"""Progress: a bar of at most 80 columns on a terminal, nothing elsewhere."""

import re

import pytest

from prepro.runtime import progress_bar


@pytest.fixture
def terminal(monkeypatch):
    """A function that makes stderr a terminal of 80 columns."""

    def pretend() -> None:
        monkeypatch.setattr(progress_bar.sys.stderr, "isatty", lambda: True, raising=False)
        monkeypatch.setenv("COLUMNS", "80")

    return pretend


def test_no_terminal_gets_only_the_lines(monkeypatch, capsys):
    monkeypatch.setattr(progress_bar.sys.stderr, "isatty", lambda: False, raising=False)
    with progress_bar.ProgressBar(8000, "features") as bar:
        bar.add(39, bad=1)
        bar.print("a line")
    assert capsys.readouterr().err == "a line\n"


def test_a_disabled_progress_prints_nothing(terminal, capsys):
    terminal()
    with progress_bar.ProgressBar(10, "features", enabled=False) as bar:
        bar.add(5)
        bar.print("a line")
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_a_bar_with_the_status(terminal, capsys):
    terminal()
    with progress_bar.ProgressBar(10, "pretrain") as bar:
        bar.add(5, status="loss 1.563")
        bar.print("epoch 1  loss 1.5")
        bar.add(4, bad=1)
    text = capsys.readouterr().err
    assert "epoch 1  loss 1.5\n" in text
    assert "pretrain  50% |" in text
    assert "5/10, 00:00 left, loss 1.563" in text


def test_the_longest_bar_has_80_columns(terminal, capsys):
    terminal()
    with progress_bar.ProgressBar(123_456_789, "captions", initial=100_000_000) as bar:
        bar.add(1, status="reward 1.234, best CIDEr-D 1.234")
        bar.print("")  # draws the bar again
    drawn = re.sub(r"\d+:(\d\d:\d\d left)", r"\1", capsys.readouterr().err)  # of a busy machine
    bars = [bar.rstrip() for bar in re.split(r"[\r\n]", drawn)]  # spaces clear a bar
    assert max(map(len, bars)) <= 80 and any(bar.endswith("best CIDEr-D 1.234") for bar in bars)


def test_good_and_bad_are_counted_and_the_line_is_cleared(terminal, capsys):
    terminal()
    with progress_bar.ProgressBar(10, "features", initial=2) as bar:
        bar.add(1, bad=2)
        bar.add(1)
        bar.add(0, bad=1, status="slow")
        bar.print("a line")
        assert bar.bar.n == 7
    text = capsys.readouterr().err
    assert "features  70% |" in text and "7/10" in text and "left, slow, 3 bad" in text
    assert text.endswith("\r\x1b[K") and text.count("\n") == 1


@pytest.mark.parametrize(("total", "shown"), [(99_999, "0/99999,"), (100_000, "0.00/100k,")])
def test_large_numbers_are_short(total, shown, terminal, capsys):
    terminal()
    with progress_bar.ProgressBar(total, "features"):
        pass
    assert shown in capsys.readouterr().err
