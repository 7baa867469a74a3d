"""Opening an HDF5 file that somebody else made: nothing is followed out of it."""

from collections.abc import Sequence
from pathlib import Path

import h5py


def open_h5(path: Path, names: Sequence[str]) -> h5py.File:
    """The file, open for reading, with the datasets `names`, none of them a link elsewhere.

    No lock is taken, since network file systems often have none to give.
    Raises FileNotFoundError, or ValueError for what is not such a file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        file = h5py.File(path, "r", locking=False)
    except OSError as error:
        raise ValueError(f"{path}: not a readable HDF5 file ({error})") from None
    for name in names:
        if name not in file.keys():
            raise ValueError(f"{path}: no dataset {name!r}")
    for name in file.keys():
        dataset = file.get(name, getlink=True)
        if not isinstance(dataset, h5py.HardLink) or getattr(file[name], "external", None):
            raise ValueError(f"{path}: {name!r} lies in another file, which is not followed")
    return file
