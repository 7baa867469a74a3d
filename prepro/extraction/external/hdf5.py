"""An HDF5 file with the datasets of all pictures.

ID, or M2-Transformer's ID_features, ID_grids and ID_boxes, and ID_size (width, height).
"""

from pathlib import Path

import h5py
import numpy as np

from prepro.annotations.records import ImageRecord
from prepro.extraction.external.found import (
    FoundFeatures,
    ReadFeatures,
    find_name,
    require_size,
)
from prepro.storage.hdf5 import open_h5

SUFFIXES = ("", "_features", "_grids")


def open_hdf5(path: Path, key: str = "") -> ReadFeatures:
    """`key`: features or grids, for a file that has both. The errors of open_h5."""
    file = open_h5(path, ())
    suffixes = (f"_{key}",) if key else SUFFIXES

    def suffixes_of(name: str) -> list[str]:
        return [end for end in suffixes if isinstance(file.get(name + end), h5py.Dataset)]

    def read(record: ImageRecord) -> FoundFeatures:
        name = find_name(record, lambda name: bool(suffixes_of(name)), path)
        found = suffixes_of(name)
        if len(found) > 1:
            raise ValueError(
                f"{path}: {name + found[0]} and {name + found[1]} for one picture; choose with "
                f"--key {found[0][1:] or found[1][1:]}"
            )
        features = _values(file, name + found[0])
        if found[0] == "_grids":  # the boxes are those of the detector's regions
            return FoundFeatures(features)
        size = _values(file, f"{name}_size").reshape(-1) if f"{name}_size" in file else np.zeros(0)
        return FoundFeatures(
            features,
            _values(file, f"{name}_boxes") if f"{name}_boxes" in file else None,
            (float(size[0]), float(size[1])) if len(size) == 2 else None,
        )

    return read


def _values(file: h5py.File, name: str) -> np.ndarray:
    if not isinstance(file[name], h5py.Dataset):
        raise ValueError(f"{name}: not a dataset")
    require_size(file[name].nbytes, name)
    try:
        return file[name][()]
    except (OSError, MemoryError) as error:
        raise ValueError(f"{name}: cannot be read ({error})") from None
