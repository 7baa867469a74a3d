"""A data set of labelled pictures in one HDF5 file: lmdb's place, for disks that hate small files.

In: a folder that prepro.pretrain reads. Out: one file with the encoded bytes of every picture, as
they are, its class and its name; `--data FILE` of prepro.pretrain reads it.

    python -m prepro.pack --data imagenet --out imagenet.h5
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from eval import command
from eval.files import whole_file
from prepro.images import open_rgb

if TYPE_CHECKING:
    import h5py
    from PIL import Image

    from prepro.pretraining.folders import Files
    from prepro.pretraining.pictures import Data

SCHEMA = "packed pictures 1"
PARTS = ("train", "val")
DATASETS = [f"{part}_{name}" for part in PARTS for name in ("bytes", "offset", "target", "name")]


@dataclass(frozen=True)
class Options:
    """Pack a folder of labelled pictures into one file.

    Example: python -m prepro.pack --data imagenet --out imagenet.h5
    """

    data: Path
    """train/ and val/ folders of classes"""
    out: Path
    """the file to write"""


def main(options: Options) -> None:
    from prepro.pretraining.folders import open_folder

    data = open_folder(options.data)
    write(data, options.out)
    print(f"{options.out}  {len(data.train):,} + {len(data.val):,} pictures")


def write(data: "Data", path: Path) -> None:
    """For each part: the bytes of all files in a row, offsets (N + 1), classes and names."""
    import h5py

    with whole_file(path) as partial, h5py.File(partial, "w") as file:
        file.attrs["schema"] = SCHEMA
        file.attrs["classes"] = list(data.classes)
        for part in PARTS:
            _write_part(file, part, getattr(data, part))


def _write_part(file: "h5py.File", part: str, files: "Files") -> None:
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

    def _get(self, name: str) -> "h5py.Dataset":
        from prepro.hdf5 import open_h5

        if self.file is None:
            self.file = open_h5(self.path, DATASETS)
        return self.file[f"{self.part}_{name}"]

    def __getstate__(self) -> dict:
        return self.__dict__ | {"file": None}


def open_pack(path: Path) -> "Data":
    """The data set of a packed file. Raises ValueError."""
    from prepro.hdf5 import open_h5
    from prepro.pretraining.pictures import Data

    with open_h5(path, DATASETS) as file:
        schema, classes = file.attrs.get("schema"), tuple(file.attrs.get("classes", ()))
    if schema != SCHEMA:
        raise ValueError(f"{path}: not a file of prepro.pack ({schema!r}, not {SCHEMA!r})")
    return Data(Packed(path, "train"), Packed(path, "val"), classes)


if __name__ == "__main__":
    sys.exit(command.run(Options, main))
