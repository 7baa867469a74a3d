"""A new HDF5 file on a full disk: one OSError, no output of HDF5, nothing left behind."""

import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from prepro.storage.new_hdf5 import new_h5

PROGRAM = """
import resource, signal, sys
import numpy as np
from prepro.storage.new_hdf5 import new_h5
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
room = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
try:
    with new_h5(sys.argv[1]) as file:
        file["a"], file["text"] = np.arange(2000), ["one", "two"]
        file.create_dataset("chunks", data=np.ones(2000), chunks=(10,))
        file.attrs["version"] = 1
except OSError as error:
    print(error.strerror, error.filename)
"""


def test_the_file_has_what_was_written(tmp_path: Path) -> None:
    with new_h5(tmp_path / "new.h5") as file:
        file["a"] = np.arange(5)
    with h5py.File(tmp_path / "new.h5") as file:
        assert file["a"][:].tolist() == [0, 1, 2, 3, 4]
    assert [path.name for path in tmp_path.iterdir()] == ["new.h5"]


@pytest.mark.parametrize("room", [1, 500, 2048, 5000, 12_000, 17_000, 30_000])
def test_a_full_disk_costs_one_error(tmp_path: Path, room: int) -> None:
    path = tmp_path / "new.h5"
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path), str(room)], capture_output=True, text=True
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout == f"File too large {path}\n"
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_the_writer_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), new_h5(tmp_path / "new.h5") as file:
        file["a"] = np.arange(5)
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
