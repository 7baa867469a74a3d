"""Files appear whole or not at all."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from eval.files import MACHINE, first_line, whole_file, write_text

ROOT = Path(__file__).resolve().parents[2]
KILLED = """
import os, signal, sys
from pathlib import Path
from eval.files import MACHINE, whole_file, write_text

with whole_file(Path(sys.argv[1])) as partial:
    partial.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_whole_file_has_the_mode_of_any_other(tmp_path):
    """Also when its writer makes private files, as safetensors does."""
    (tmp_path / "plain").touch()
    with whole_file(tmp_path / "whole") as partial:
        partial.unlink()
        os.close(os.open(partial, os.O_CREAT, 0o600))
    assert (tmp_path / "whole").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_name_appears_after_its_bytes_are_on_the_disk(tmp_path, monkeypatch):
    """The file is synced, then renamed, then its folder is synced."""
    calls, real = [], {"fsync": os.fsync, "replace": os.replace}

    def fsync(handle):
        name = os.readlink(f"/proc/self/fd/{handle}") if Path("/proc").is_dir() else ""
        calls.append("folder" if Path(name) == tmp_path.resolve() else "file")
        real["fsync"](handle)

    def replace(*paths):
        calls.append("rename")
        real["replace"](*paths)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    with whole_file(tmp_path / "whole") as partial:
        partial.write_text("all of it")
    assert calls == ["file", "rename", "folder"]


def test_the_next_command_removes_what_a_killed_one_left(tmp_path):
    """And nothing that belongs to a living process or to another machine."""
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "figure.png")], cwd=ROOT)
    (left,) = tmp_path.iterdir()
    living = tmp_path / f".a.{MACHINE}-{os.getppid()}.partial"
    foreign = tmp_path / left.name.replace(MACHINE, "0" * 8)
    living.touch()
    foreign.touch()
    write_text(tmp_path / "other.txt", "whole")
    assert {path.name for path in tmp_path.iterdir()} == {
        "other.txt", living.name, foreign.name,
    }  # fmt: skip


def test_a_pipe_is_written_into_and_stays_one(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE, text=True)
    write_text(pipe, "all of it\n")
    assert reader.communicate(timeout=60)[0] == "all of it\n"
    assert pipe.is_fifo() and list(tmp_path.iterdir()) == [pipe]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_a_full_device_is_named():
    with pytest.raises(OSError, match="No space left") as error:
        write_text("/dev/full", "all of it\n")
    assert error.value.filename == "/dev/full"


@pytest.mark.parametrize("name", ["", ".", "/"])
def test_a_folder_is_no_place_for_a_file(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(IsADirectoryError):
        write_text(name, "all of it\n")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("message", "shown"),
    [("", "OSError"), (" \n", "OSError"), ("a b\nc", "a b"), ("\n a", "a"), ("x" * 300, "x" * 200)],
)
def test_an_error_is_told_by_its_first_line_or_its_kind(message, shown):
    assert first_line(OSError(message)) == shown
