"""eval.command: exit statuses, mistakes in one line, help."""

import io
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
import tyro

from eval import command


@dataclass(frozen=True)
class Options:
    """Do nothing."""

    source: Path
    """where from"""
    others: tuple[Path, ...] = ()
    """more"""
    out_file: Path | None = None
    """where to"""
    name: str = ""
    """how it is called"""
    number: int = 3
    """how many"""


@dataclass(frozen=True)
class Placed:
    """Do nothing with what needs no flag."""

    source: tyro.conf.Positional[Path]
    """where from"""
    target: tyro.conf.Positional[Path | None] = None
    """where to"""


def raises(error: BaseException):
    def work():
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (KeyboardInterrupt(), 130, "stopped"),
        (ValueError("no\n  such"), 2, "no such"),
        (ValueError(), 2, "ValueError"),
        (NotADirectoryError(20, "Not a directory", "a/b"), 2, "a/b: Not a directory"),
        (IsADirectoryError("words"), 2, "words"),
        (MemoryError(), 1, "not enough memory"),
        (PermissionError(13, "Permission denied", "a\nb"), 1, r"a b: Permission denied"),
        (RuntimeError("broken"), 1, "broken"),
        (KeyError("x"), 1, "failed (KeyError: 'x'); CAPTION_DEBUG=1 shows where"),
    ],
)
def test_what_went_wrong_is_a_line_and_a_status(error, status, said, capsys, monkeypatch):
    """0 done; 1 something failed; 2 wrong usage or input; 130 stopped by Ctrl-C."""
    monkeypatch.delenv("CAPTION_DEBUG", raising=False)
    assert command.finish(raises(error)) == status
    printed = capsys.readouterr()
    assert printed.err.endswith(f": {said}\n") and printed.err.count("\n") == 1
    assert printed.out == ""


def test_a_line_begins_with_the_name_of_the_program(monkeypatch, capsys):
    """The module after `python -m`, else the file."""
    monkeypatch.setattr(sys, "argv", ["/usr/bin/caption-score", "--help-me"])
    for spec, name in ((None, "caption-score"), (SimpleNamespace(name="a.b.__main__"), "a.b")):
        monkeypatch.setattr(sys.modules["__main__"], "__spec__", spec, raising=False)
        assert command.finish(raises(ValueError("no"))) == 2
        assert capsys.readouterr().err == f"{name}: no\n"


@pytest.mark.parametrize(("found", "status"), [(None, 0), (0, 0), (1, 1), (7, 7)])
def test_a_command_may_choose_its_status(found, status):
    assert command.finish(lambda: found) == status
    assert command.run(Options, lambda options: options.number - 3, ["--source", "a"]) == 0


def test_debugging_shows_where(monkeypatch, capsys):
    monkeypatch.setenv("CAPTION_DEBUG", "1")
    for error in (ValueError("x"), KeyError("x"), OSError("x")):
        with pytest.raises(type(error)):
            command.finish(raises(error))
    assert command.finish(raises(KeyboardInterrupt())) == 130
    assert command.finish(raises(MemoryError())) == 1
    assert capsys.readouterr().err.count("\n") == 2


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path, monkeypatch, capsys):
    with open(tmp_path / "out", "w") as out:
        monkeypatch.setattr(sys, "stdout", out)
        assert command.finish(raises(BrokenPipeError())) == 0
        print("what is still in the buffer", flush=True)  # goes nowhere
    assert (tmp_path / "out").read_text() == "" and capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("--source s3://a/b", r"--source: s3://a/b is not on this machine"),
        ("--source a --others b gs://c/d://e", r"--others: gs://c/d:/e is not on this machine"),
        ("--source a --out-file https://c/d", r"--out-file: https://c/d is not on"),
        ("--source a --nmae b", r"--nmae, b; did you mean --name\?; see .* --help$"),
        ("--source a --outfile b", r"did you mean --out-file\?"),
        ("--source a --zzzzzzzz b", r"--zzzzzzzz, b; see"),
        ("--source a --number x", r"--number"),
        ("--name b", r"^missing --source; see"),
        ("--sorce b", r"^missing --source; unknown --sorce; did you mean --source\?"),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])  # tyro's box is drawn in either
def test_a_wrong_command_line_is_answered_in_one_line(argv, message, encoding, monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding))
    with pytest.raises(ValueError, match=message) as error:
        command.parse(Options, argv.split())
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_a_long_path_is_not_broken_in_two(encoding, monkeypatch):
    """tyro breaks lines at the width of the terminal."""
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding))
    for columns in (None, "60"):
        monkeypatch.delenv("COLUMNS", raising=False)
        if columns:
            monkeypatch.setenv("COLUMNS", columns)
        with pytest.raises(ValueError, match=f"'{'x' * 150}'"):
            command.parse(Options, ["--source", "a", "--number", "x" * 150])
        assert os.environ.get("COLUMNS") == columns


def test_addresses_are_taken_where_they_are_allowed():
    words = ["--source", "s3://a/b", "--name", "s3://c"]
    assert command.parse(Options, words, addresses=["source"]).name == "s3://c"
    with pytest.raises(ValueError, match="--others"):
        command.parse(Options, [*words, "--others", "s3://a"], addresses=["source"])


def test_what_the_command_line_leaves_out_has_the_given_value():
    given = Options(Path("a"), (Path("b"),), number=9)
    found = command.parse(Options, ["--name", "x"], given)
    assert type(command.parse(Options, ["--source", "a"])) is Options
    assert found == Options(Path("a"), (Path("b"),), name="x", number=9)


@pytest.mark.parametrize("argv", [["--help"], ["-h"], None])
def test_help_is_short_and_goes_to_stdout(argv, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["command", "--help"])
    with pytest.raises(SystemExit) as end:
        command.parse(Options, argv)
    assert end.value.code == 0
    text = capsys.readouterr().out
    assert "--out-file PATH" in text and "None" not in text and "where to" in text
    assert "(default: 3)" in text and "default: ''" not in text and "default: ()" not in text


def test_what_needs_no_flag_is_named_too(capsys):
    with pytest.raises(ValueError, match=r"^missing PATH where from") as error:
        command.parse(Placed, [])
    assert "\n" not in str(error.value)
    assert command.parse(Placed, ["a", "b"]) == Placed(Path("a"), Path("b"))
    with pytest.raises(SystemExit):
        command.parse(Placed, ["--help"])
    text = capsys.readouterr().out
    assert "--target" not in text and "PATH" in text
