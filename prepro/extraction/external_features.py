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


def open_external_features(source: Path) -> Callable[[ImageRecord], np.ndarray]:
    """FileNotFoundError if `source` is missing; the function raises ValueError."""
    if source.is_dir():
        return lambda record: _to_rows(_from_folder(source, record))
    if not source.is_file():
        raise FileNotFoundError(f"{source}: no such folder or file of features")
    file = open_h5(source, ())
    return lambda record: _to_rows(_from_file(file, record))


def _names(record: ImageRecord) -> tuple[str, str]:
    """The names that the features may have: the id, or the image's file name without extension."""
    return str(record.id), Path(record.path).stem


def _from_folder(folder: Path, record: ImageRecord) -> np.ndarray:
    for name in _names(record):
        for ending in (".npy", ".npz"):
            path = inside(folder, name + ending)
            if path.is_file():
                return _load(path)
    raise ValueError(f"no {_names(record)[0]}.npy or .npz in {folder}")


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
    except (OSError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path.name}: cannot be read ({error})") from None


def _from_file(file: h5py.File, record: ImageRecord) -> np.ndarray:
    for name in _names(record):
        if isinstance(file.get(name), h5py.Dataset):
            try:
                return file[name][()]
            except OSError as error:
                raise ValueError(f"{name}: cannot be read ({error})") from None
    raise ValueError(f"no dataset {_names(record)[0]} in {file.filename}")


def _to_rows(value: np.ndarray) -> np.ndarray:
    if value.dtype.kind not in "fiu" or not 1 <= value.ndim <= 3 or not value.size:
        raise ValueError(
            f"features of {value.dtype} {value.shape}, expected numbers of shape (R, D)"
        )
    return value.reshape(-1, value.shape[-1]).astype(np.float32)
