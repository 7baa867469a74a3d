"""Open HDF5 files from untrusted sources: links to other files are refused."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from eval.files import require_readable


def open_h5(
    path: Path, names: Sequence[str], sources: re.Pattern | None = None, **options: object
) -> h5py.File:
    """Open a file that has the datasets `names` for reading; none of them may be a link.

    A virtual dataset may only be made of files of the same folder whose names match `sources`. The
    file is not locked, since many network file systems have no locks.
    Raises FileNotFoundError, or ValueError for another kind of file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    require_readable(path)
    try:
        file = h5py.File(path, "r", locking=False, **options)
    except OSError as error:
        raise ValueError(f"{path}: not a readable HDF5 file ({error})") from None
    try:
        with damage_named(path):
            _check_links(file, names, path, sources)
    except ValueError:
        file.close()
        raise
    return file


@contextmanager
def damage_named(path: Path) -> Iterator[None]:
    """ValueError that names the file for what h5py raises when it meets damaged bytes."""
    try:
        yield
    except (KeyError, OSError, RuntimeError, TypeError, OverflowError) as error:
        raise ValueError(f"{path}: damaged ({error})") from None


def _check_links(
    file: h5py.File, names: Sequence[str], path: Path, sources: re.Pattern | None
) -> None:
    """Raise ValueError for links, data in other files, and missing datasets."""
    for name in file.keys():  # noqa: SIM118
        kind = file.get(name, getlink=True)
        if not isinstance(kind, h5py.HardLink):
            raise ValueError(f"{path}: {name!r} is a link, which is not followed")
        item = file[name]
        if isinstance(item, h5py.Dataset) and (item.external or _lies_elsewhere(item, sources)):
            raise ValueError(f"{path}: {name!r} lies in another file, which is not followed")
    for name in names:
        if not isinstance(file.get(name), h5py.Dataset):
            raise ValueError(f"{path}: no dataset {name!r}")


def _lies_elsewhere(data: h5py.Dataset, sources: re.Pattern | None) -> bool:
    """Whether a virtual dataset reads a file that it may not read."""
    if not data.is_virtual:
        return False
    names = [source.file_name for source in data.virtual_sources()]
    return sources is None or not all(sources.fullmatch(name) for name in names)


def check_datasets(
    file: h5py.File, layout: Mapping[str, tuple[int, np.dtype | None]], path: Path
) -> None:
    """Raise ValueError unless each existing dataset of `layout` has its rank and exact dtype."""
    for name, (rank, kind) in layout.items():
        if name not in file:
            continue
        data = file[name]
        if not isinstance(data, h5py.Dataset) or len(data.shape) != rank:
            raise ValueError(f"{path}: {name!r} is not a dataset of {rank} dimensions")
        if kind is not None and data.dtype != kind:
            raise ValueError(f"{path}: {name!r} holds {data.dtype}, expected {np.dtype(kind)}")
