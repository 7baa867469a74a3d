"""Read an image's features from the files of other systems; nothing in them is unpickled.

In: a folder of ID.npy or ID.npz, or an HDF5 file with one dataset an image. Out: a function from an
ImageRecord to float32 (R, D). A pooled vector becomes (1, D), a grid (h, w, D) becomes (h * w, D).
"""

import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from prepro.annotations.records import ImageRecord
from prepro.images import inside
from prepro.storage.hdf5 import open_h5

# the arrays' names in .npz files of self-critical and bottom-up, of others, and numpy's default
KEYS = ("feat", "features", "x", "arr_0")


MAX_REGIONS = 65_535  # of an image; features.h5 counts them in 16 bits


class AmbiguousName(ValueError):
    """One file has the image's id as its name, and another one the name of the image's file."""


def open_external_features(source: Path) -> Callable[[ImageRecord], np.ndarray]:
    """FileNotFoundError if `source` is missing; the function raises ValueError."""
    if source.is_dir():
        return lambda record: _to_rows(_from_folder(source, record))
    if not source.is_file():
        raise FileNotFoundError(f"{source}: no such folder or file of features")
    file = open_h5(source, ())
    return lambda record: _to_rows(_from_file(file, record))


def _name(record: ImageRecord, exists: Callable[[str], bool], source: object) -> str:
    """The name of the image's features: its id, or its file name without extension.

    AmbiguousName if both exist; ValueError if neither does.
    """
    names = dict.fromkeys((str(record.id), Path(record.path).stem))
    found = [name for name in names if exists(name)]
    if len(found) > 1:
        raise AmbiguousName(
            f"{source}: features named {found[0]!r} and {found[1]!r} for one picture, which has "
            f"the id {record.id!r} and the file {record.path}; keep those of one naming"
        )
    if not found:
        raise ValueError(f"no features named {record.id} in {source}")
    return found[0]


def _from_folder(folder: Path, record: ImageRecord) -> np.ndarray:
    def path(name: str) -> Path | None:
        every = (inside(folder, name + ending) for ending in (".npy", ".npz"))
        return next((path for path in every if path.is_file()), None)

    return _load(path(_name(record, lambda name: path(name) is not None, folder)))


def _load(path: Path) -> np.ndarray:
    try:
        value = np.load(path, allow_pickle=False)
        if isinstance(value, np.ndarray):
            return value
        with value:
            key = next((key for key in KEYS if key in value), None)
            if key is None:
                raise ValueError(f"{path.name}: it has none of the arrays {', '.join(KEYS)}")
            return value[key]
    except (OSError, EOFError, MemoryError, zipfile.BadZipFile) as error:
        reason = str(error) or "not enough memory"
        raise ValueError(f"{path.name}: cannot be read ({reason})") from None


def _from_file(file: h5py.File, record: ImageRecord) -> np.ndarray:
    name = _name(record, lambda name: isinstance(file.get(name), h5py.Dataset), file.filename)
    try:
        return file[name][()]
    except (OSError, MemoryError) as error:
        raise ValueError(f"{name}: cannot be read ({error})") from None


def _to_rows(value: np.ndarray) -> np.ndarray:
    if value.dtype.kind not in "fiu" or not 1 <= value.ndim <= 3 or not value.size:
        raise ValueError(
            f"features of {value.dtype} {value.shape}, expected numbers of shape (R, D)"
        )
    rows = value.reshape(-1, value.shape[-1])
    if len(rows) > MAX_REGIONS:
        raise ValueError(f"{len(rows):,} regions, more than {MAX_REGIONS:,}")
    return rows.astype(np.float32)
