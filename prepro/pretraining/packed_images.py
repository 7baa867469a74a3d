"""Labelled images in one HDF5 file: the encoded bytes of every image, its class and its name.

`prepro.pack` writes such a file and `prepro.pretrain --data FILE` reads it.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np

from prepro.images import open_rgb
from prepro.storage.hdf5 import open_h5
from prepro.storage.new_hdf5 import new_h5

if TYPE_CHECKING:
    from PIL import Image

    from prepro.pretraining.dataset import LabelledDataset
    from prepro.pretraining.image_folder import ImageFiles

SCHEMA = "packed pictures 1"
SPLITS = ("train", "val")
DATASETS = [f"{split}_{name}" for split in SPLITS for name in ("bytes", "offset", "target", "name")]


def write(data: "LabelledDataset", path: Path) -> None:
    """For each split: the bytes of all files in a row, offsets (N + 1), classes and names."""
    with new_h5(path) as file:
        file.attrs["schema"] = SCHEMA
        file.attrs["classes"] = list(data.classes)
        for split in SPLITS:
            _write_split(file, split, getattr(data, split))


def _write_split(file: h5py.File, split: str, files: "ImageFiles") -> None:
    sizes = [Path(path).stat().st_size for path in files.paths]
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    file[f"{split}_offset"], file[f"{split}_target"] = offsets, files.targets
    file[f"{split}_name"] = [str(path) for path in files.paths]
    size = max(1, int(offsets[-1]))
    stored = file.create_dataset(f"{split}_bytes", (size,), "u1", chunks=(min(size, 1 << 20),))
    for path, start, stop in zip(files.paths, offsets, offsets[1:], strict=False):
        content = np.fromfile(path, np.uint8)
        if len(content) != stop - start:
            raise ValueError(f"{path} changed while it was packed; run the command again")
        stored[start:stop] = content


class PackedImages:
    """The images of a split of a packed file; every reading process opens the file itself."""

    def __init__(self, path: Path, split: str) -> None:
        self.path, self.split, self.file = path, split, None
        self.targets, self.offsets = self._get("target")[:], self._get("offset")[:]

    def __len__(self) -> int:
        return len(self.targets)

    def name(self, index: int) -> str:
        return self._get("name")[index].decode()

    def read(self, index: int) -> bytes:
        """The bytes of the image's file."""
        start, stop = self.offsets[index : index + 2]
        return self._get("bytes")[start:stop].tobytes()

    def open(self, index: int) -> "Image.Image":
        return open_rgb(self.read(index))

    def _get(self, name: str) -> h5py.Dataset:
        if self.file is None:
            self.file = open_h5(self.path, DATASETS)
        return self.file[f"{self.split}_{name}"]

    def __getstate__(self) -> dict:
        return self.__dict__ | {"file": None}


def open_pack(path: Path) -> "LabelledDataset":
    """The data set of a packed file. Raises ValueError."""
    from prepro.pretraining.dataset import LabelledDataset

    with open_h5(path, DATASETS) as file:
        schema, classes = file.attrs.get("schema"), tuple(file.attrs.get("classes", ()))
    if schema != SCHEMA:
        raise ValueError(f"{path}: not a file of prepro.pack ({schema!r}, not {SCHEMA!r})")
    return LabelledDataset(PackedImages(path, "train"), PackedImages(path, "val"), classes)
