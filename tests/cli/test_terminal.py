"""On a real terminal: errors in words, colours unless NO_COLOR, bars that a pipe does not get."""

import os
import pty
import re
import subprocess
import sys
import termios

import pytest

from tests.cli.conftest import ENVIRONMENT, ROOT, run

COLOUR = re.compile(r"\x1b\[[\d;]*m")


def on_terminal(module: str, *words: object, **more: str) -> str:
    """What `python -m module words...` shows there."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (40, 100))
    command = [sys.executable, "-m", module, *map(str, words)]
    environment = os.environ | ENVIRONMENT | {"TERM": "xterm-256color"} | more
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=ROOT, env=environment
    )
    os.close(theirs)
    shown = b""
    try:
        while data := os.read(ours, 1 << 16):
            shown += data
    except OSError:  # how Linux says that the other side is closed
        pass
    os.close(ours)
    process.wait()
    return shown.decode().replace("\r\n", "\n")


@pytest.mark.parametrize(
    "words",
    [
        ("caption.train", "--no-such-flag"), ("caption.train", "--learning-rat", "1"),
        ("prepro.features", "--regions", "many"), ("caption.generate", "--run", "nowhere"),
    ],
)  # fmt: skip
def test_a_terminal_is_told_what_a_pipe_is_told(words):
    assert on_terminal(*words) == run(*words).err


def test_colours_are_for_terminals_and_no_color_is_obeyed():
    shown = on_terminal("eval.score", "--help")
    assert COLOUR.search(shown)
    plain = on_terminal("eval.score", "--help", NO_COLOR="1")
    assert plain == COLOUR.sub("", shown) == run("eval.score", "--help").out


def test_bars_are_for_terminals(tmp_path):
    words = ("prepro.scenes", "--train", 3, "--val", 1, "--test", 1, "--out", tmp_path)
    assert re.search(r"\d/5, .* left", on_terminal(*words))  # a fast bar may skip its last step
    assert run(*words).err == ""


def test_the_end_of_a_bar_clears_what_the_terminal_wrote_beside_it(tmp_path):
    """As the echo of Ctrl-C, which is longer than the bar."""
    words = ("prepro.scenes", "--train", 3, "--val", 1, "--test", 1, "--out", tmp_path)
    assert "\r\x1b[K" in on_terminal(*words).rpartition(" left")[2]
