"""The features of a data folder, features.h5: written so that nothing can spoil it, read lazily.

    fc (N, D) and att (N, R, D) float16, R regions row by row; id (N,); status (N,) uint8;
    reason (N,) why a picture is bad. One chunk a picture, no compression, a checksum on each.

Attributes say what made it: encoder, weights and their SHA-256, the transform, the hash of the list
of pictures. All space is allocated at the start; a batch is written, flushed, and only then marked
as done, so that a kill at any moment leaves a file that opens and knows what it lacks.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import h5py
import numpy as np

from prepro.hdf5 import open_h5

VERSION = 1
MISSING, DONE, BAD = 0, 1, 2


@dataclass(frozen=True)
class Provenance:
    """What made the features; two files with equal provenance hold equal numbers."""

    encoder: str
    weights: str
    weights_sha256: str
    transform: str
    """the Transform as JSON"""
    images: str
    """prepro.label_file.images_sha256 of the pictures"""
    dim: int
    regions: int
    """R, 0 for none"""

    def check(self, other: "Provenance", path: Path) -> None:
        """ValueError naming the first field that differs, with both values."""
        for name, mine in asdict(self).items():
            theirs = getattr(other, name)
            if name != "weights" and mine != theirs:  # the hash decides, not the name
                raise ValueError(f"{path}: made with {name} {theirs}, but asked for {mine}")


def create(path: Path, provenance: Provenance, ids: Sequence[int | str]) -> None:
    """An empty file with room for all pictures; OSError when the disk has none."""
    count, dim, regions = len(ids), provenance.dim, provenance.regions
    partial = path.with_name(f".{path.name}.new")
    with h5py.File(partial, "w", libver=("v110", "v110")) as file:
        _allocate(file, "fc", (count, dim))
        if regions:
            _allocate(file, "att", (count, regions, dim))
        file.create_dataset("id", data=[str(i) for i in ids], dtype=h5py.string_dtype())
        file.create_dataset("status", data=np.zeros(count, np.uint8))
        file.create_dataset("reason", shape=(count,), dtype="S120", chunks=(min(count, 1024),))
        file.attrs.update(asdict(provenance) | {"version": VERSION, "complete": False})
    partial.replace(path)


def _allocate(file: h5py.File, name: str, shape: tuple[int, ...]) -> None:
    """Space on disk now rather than at the first write: a killed writer then spoils no index."""
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk((1, *shape[1:]))
    plist.set_fletcher32()
    plist.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    kind = h5py.h5t.py_create(np.dtype(np.float16))
    h5py.h5d.create(file.id, name.encode(), kind, h5py.h5s.create_simple(shape), plist)


class FeatureWriter:
    """Appends to features.h5, batch by batch; use as a context manager."""

    def __init__(self, path: Path) -> None:
        self.file = h5py.File(path, "r+", locking=False)
        self.status = self.file["status"][:]

    def __enter__(self) -> "FeatureWriter":
        return self

    def __exit__(self, *exception: object) -> None:
        self.file.close()

    def write(self, rows: np.ndarray, fc: np.ndarray, att: np.ndarray | None) -> None:
        """`rows` (b,) rising positions; `fc` (b, D); `att` (b, R, D)."""
        for row, vector in zip(rows, fc, strict=True):
            self.file["fc"][row] = vector
        if att is not None:
            for row, regions in zip(rows, att, strict=True):
                self.file["att"][row] = regions
        self._mark(rows, DONE)

    def write_bad(self, row: int, reason: str) -> None:
        self.file["reason"][row] = reason.encode()[:120]
        self._mark(np.array([row]), BAD)

    def finish(self) -> None:
        """Mark the file as complete: every picture is done or known to be bad."""
        self.file.attrs["complete"] = True

    def _mark(self, rows: np.ndarray, status: int) -> None:
        self.file.flush()  # the numbers are in the file before the mark that vouches for them
        self.file["status"][rows] = status
        self.status[rows] = status
        self.file.flush()


class FeatureFile:
    """Lazy reader of features.h5; picklable, so that each worker process opens its own handle.

    Raises ValueError for a file of another version, FileNotFoundError.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file; make it with python -m prepro.features")
        with open_h5(path, ("fc", "id", "status")) as file:
            if file.attrs.get("version") != VERSION:
                raise ValueError(
                    f"{path}: schema version {file.attrs.get('version')}, this code reads {VERSION}"
                )
            fields = Provenance.__dataclass_fields__
            self.provenance = Provenance(
                **{n: fields[n].type(file.attrs[n]) for n in fields}  # numpy scalars to plain
            )
            self.status = file["status"][:]
            self.complete = bool(file.attrs["complete"])
            self.bad = {
                int(row): file["reason"][row].decode() for row in np.flatnonzero(self.status == BAD)
            }
        self._file: h5py.File | None = None

    @property
    def transform(self) -> dict:
        return json.loads(self.provenance.transform)

    def require(self, images_sha256: str) -> None:
        """ValueError unless the file is complete and of these pictures."""
        if self.provenance.images != images_sha256:
            raise ValueError(f"{self.path}: of other pictures than labels.json; run prepro.features")
        missing = int((self.status == MISSING).sum())
        if missing:
            raise ValueError(
                f"{self.path}: {missing:,} of {len(self.status):,} pictures missing; "
                "run prepro.features again, it goes on where it stopped"
            )

    def fc(self, rows: np.ndarray) -> np.ndarray:
        """(b, D) float16."""
        return self._read("fc", rows)

    def att(self, rows: np.ndarray) -> np.ndarray:
        """(b, R, D) float16."""
        return self._read("att", rows)

    def _read(self, name: str, rows: np.ndarray) -> np.ndarray:
        if self._file is None:
            self._file = h5py.File(self.path, "r", locking=False)
        data = self._file[name]
        out = np.empty((len(rows), *data.shape[1:]), data.dtype)
        for place, row in enumerate(rows):
            data.read_direct(out, np.s_[int(row)], np.s_[place])
        return out

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_file": None}
