"""Write a new HDF5 file, whole or not at all, also when the disk is full.

    with new_h5(path) as file:
        file["labels"] = labels

HDF5 cannot close a file that a disk refused to take: h5py prints tracebacks and may crash. So the
bytes go through a Python file that keeps the first error and from then on lets bytes fall. HDF5
closes, and the error is raised afterwards.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

from eval.files import whole_file


@contextmanager
def new_h5(path: Path) -> Iterator[h5py.File]:
    """Yields the open file; on success it becomes `path`. OSError that names `path`."""
    with whole_file(path) as partial, _ForgivingFile(partial) as target:
        with h5py.File(target, "w") as file:
            yield file
        if target.error is not None:
            raise target.error


class _ForgivingFile(io.FileIO):
    """A file that keeps the first error of writing instead of raising it."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "w+")
        self.error: OSError | None = None

    def write(self, data: memoryview) -> int:
        view = memoryview(data).cast("B")
        done = 0
        while self.error is None and done < len(view):  # the system may take less than all
            try:
                done += super().write(view[done:])
            except OSError as error:
                self.error = error
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        try:
            return super().truncate(size)
        except OSError as error:
            self.error = self.error or error
            return size or 0
