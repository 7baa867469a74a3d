"""Labelled pictures in one HDF5 file: the encoded bytes of every picture, its class and its name.

`prepro.pack` writes such a file and `prepro.pretrain --data FILE` reads it.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np

from eval.files import whole_file
from prepro.images import open_rgb
from prepro.storage.hdf5 import open_h5

if TYPE_CHECKING:
    from PIL import Image

    from prepro.pretraining.dataset import Data
    from prepro.pretraining.image_folder import Files

SCHEMA = "packed pictures 1"
PARTS = ("train", "val")
DATASETS = [f"{part}_{name}" for part in PARTS for name in ("bytes", "offset", "target", "name")]


def write(data: "Data", path: Path) -> None:
    """For each part: the bytes of all files in a row, offsets (N + 1), classes and names."""
    with whole_file(path) as partial, h5py.File(partial, "w") as file:
        file.attrs["schema"] = SCHEMA
        file.attrs["classes"] = list(data.classes)
        for part in PARTS:
            _write_part(file, part, getattr(data, part))


def _write_part(file: h5py.File, part: str, files: "Files") -> None:
    sizes = [Path(path).stat().st_size for path in files.paths]
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    file[f"{part}_offset"], file[f"{part}_target"] = offsets, files.targets
    file[f"{part}_name"] = [str(path) for path in files.paths]
    size = max(1, int(offsets[-1]))
    stored = file.create_dataset(f"{part}_bytes", (size,), "u1", chunks=(min(size, 1 << 20),))
    for path, start, stop in zip(files.paths, offsets, offsets[1:], strict=False):
        content = np.fromfile(path, np.uint8)
        if len(content) != stop - start:
            raise ValueError(f"{path} changed while it was packed")
        stored[start:stop] = content


class Packed:
    """Pictures in a part of a packed file, which every process that reads opens for itself."""

    def __init__(self, path: Path, part: str) -> None:
        self.path, self.part, self.file = path, part, None
        self.targets, self.offsets = self._get("target")[:], self._get("offset")[:]

    def __len__(self) -> int:
        return len(self.targets)

    def name(self, index: int) -> str:
        return self._get("name")[index].decode()

    def read(self, index: int) -> bytes:
        """The picture's file, as it was."""
        start, stop = self.offsets[index : index + 2]
        return self._get("bytes")[start:stop].tobytes()

    def open(self, index: int) -> "Image.Image":
        return open_rgb(self.read(index))

    def _get(self, name: str) -> h5py.Dataset:
        if self.file is None:
            self.file = open_h5(self.path, DATASETS)
        return self.file[f"{self.part}_{name}"]

    def __getstate__(self) -> dict:
        return self.__dict__ | {"file": None}


def open_pack(path: Path) -> "Data":
    """The data set of a packed file. Raises ValueError."""
    from prepro.pretraining.dataset import Data

    with open_h5(path, DATASETS) as file:
        schema, classes = file.attrs.get("schema"), tuple(file.attrs.get("classes", ()))
    if schema != SCHEMA:
        raise ValueError(f"{path}: not a file of prepro.pack ({schema!r}, not {SCHEMA!r})")
    return Data(Packed(path, "train"), Packed(path, "val"), classes)
