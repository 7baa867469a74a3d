"""The features of a data folder, features.h5: what is in it, and its lazy reader.

    fc (N, D) and att (N, R, D) float16, R regions row by row; count (N,) uint16, how many of the R
    are real, where that differs; id (N,); status (N,) uint8; reason (N,) why a picture is bad.
    One chunk a picture, no compression, a checksum (fletcher32) on each.

Attributes say what made it (Provenance), and which shard it is.
prepro/extraction/feature_writer.py writes it.
"""

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import h5py
import numpy as np

from prepro.storage.hdf5 import check_datasets, open_h5

VERSION = 1
MISSING, DONE, BAD = 0, 1, 2
LAYOUT = {  # dataset -> rank and type; fc, id, status and reason are always there
    "fc": (2, np.float16),
    "att": (3, np.float16),
    "count": (1, np.uint16),
    "id": (1, None),
    "status": (1, np.uint8),
    "reason": (1, np.dtype("S120")),
}


@dataclass(frozen=True)
class Provenance:
    """What made the features; two files with equal provenance hold equal numbers."""

    encoder: str
    weights: str
    weights_sha256: str
    transform: str
    """the Transform as JSON"""
    images: str
    """prepro.storage.label_file.images_sha256 of the pictures"""
    dim: int
    regions: int
    """R, 0 for none"""
    precision: str = "float32"
    """that the network computed in"""

    def check(self, other: "Provenance", path: Path) -> None:
        """ValueError naming the first field that differs, with both values."""
        for name, mine in asdict(self).items():
            theirs = getattr(other, name)
            if name != "weights" and mine != theirs:  # the hash decides, not the name
                raise ValueError(
                    f"{path}: made with {name} {theirs}, but asked for {mine}; "
                    "ask for the same, or remove the file"
                )


class FeatureFile:
    """Lazy reader of features.h5; picklable, so that each worker process opens its own handle.

    status: (N,) uint8 of MISSING, DONE, BAD. bad: {row: reason}. provenance: what made it.
    Raises ValueError for a file of another version or layout, FileNotFoundError.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise FileNotFoundError(f"{path}: no such file; make it with python -m prepro.features")
        with open_h5(self.path, ("fc", "id", "status", "reason")) as file:
            self.provenance = _provenance(file, self.path)
            check_datasets(file, LAYOUT, self.path)
            _check_shapes(file, self.provenance, self.path)
            self.status: np.ndarray = file["status"][:]
            self.shard = str(file.attrs.get("shard", "1/1"))
            self.bad = {
                int(row): file["reason"][row].decode(errors="replace")
                for row in np.flatnonzero(self.status == BAD)
            }
            self.count = file["count"][:] if "count" in file else None
        self._file: h5py.File | None = None
        self._owner = 0

    def __len__(self) -> int:
        return len(self.status)

    @property
    def transform(self) -> dict:
        """Transform.to_dict's values; empty for features that another system made."""
        return json.loads(self.provenance.transform)

    @property
    def complete(self) -> bool:
        """Whether every picture is done or known to be bad."""
        return not (self.status == MISSING).any()

    def ids(self) -> list[str]:
        """Of each row's picture, as text."""
        return self._handle()["id"].asstr()[:].tolist()

    def require(self, images_sha256: str) -> None:
        """ValueError unless the file is complete and of these pictures."""
        if self.shard != "1/1":
            raise ValueError(
                f"{self.path}: shard {self.shard}; join the shards with prepro.features --merge"
            )
        if self.provenance.images != images_sha256:
            raise ValueError(
                f"{self.path}: of the pictures {self.provenance.images[:12]}..., but labels.json "
                f"lists {images_sha256[:12]}...; remove it and run prepro.features"
            )
        missing = int((self.status == MISSING).sum())
        if missing:
            raise ValueError(
                f"{self.path}: {missing:,} of {len(self):,} pictures missing; "
                "run prepro.features again, it goes on where it stopped"
            )

    def fc(self, rows: np.ndarray) -> np.ndarray:
        """(b, D) float16 of the rows, in the order asked for. ValueError for a damaged row."""
        return self._read("fc", rows)

    def att(self, rows: np.ndarray) -> np.ndarray:
        """(b, R, D) float16 of the rows, in the order asked for. ValueError for a damaged row."""
        return self._read("att", rows)

    def mask(self, rows: np.ndarray) -> np.ndarray:
        """(b, R) bool: which regions are real. All, unless the number differs by picture."""
        places = np.arange(self.provenance.regions)
        if self.count is None:
            return np.ones((len(rows), len(places)), bool)
        return places < self.count[rows][:, None]

    def _read(self, name: str, rows: np.ndarray) -> np.ndarray:
        rows = np.asarray(rows, np.int64)
        if len(rows) and not 0 <= rows.min() <= rows.max() < len(self):
            raise IndexError(f"{self.path}: rows {rows.min()}..{rows.max()} of {len(self)}")
        data = self._handle()[name]
        out = np.empty((len(rows), *data.shape[1:]), data.dtype)
        for start, stop in contiguous_ranges(rows):
            first = int(rows[start])
            try:
                data.read_direct(out, np.s_[first : first + stop - start], np.s_[start:stop])
            except OSError:
                raise ValueError(self._damage(name, rows[start:stop])) from None
        return out

    def _damage(self, name: str, rows: Iterable[int]) -> str:
        data = self._handle()[name]
        for row in map(int, rows):
            try:
                data[row]
            except OSError as error:
                why = f"its checksum is wrong ({error})"
                return f"{self.path}: {name} of row {row} is damaged: {why}"
        return f"{self.path}: {name} cannot be read"

    def _handle(self) -> h5py.File:
        """Opened at first use in each process; a handle from before a fork is left alone."""
        if self._file is None or self._owner != os.getpid():
            self._file = open_h5(self.path, ("fc",), rdcc_nbytes=0)  # a chunk is read once, whole
            self._owner = os.getpid()
        return self._file

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_file": None}


def contiguous_ranges(rows: np.ndarray) -> list[tuple[int, int]]:
    """[start, stop) of the stretches in which each row is the one before plus 1."""
    if not len(rows):
        return []
    breaks = (np.flatnonzero(np.diff(rows) != 1) + 1).tolist()
    return list(zip([0, *breaks], [*breaks, len(rows)], strict=True))


def _provenance(file: h5py.File, path: Path) -> Provenance:
    version = file.attrs.get("version")
    if version != VERSION:
        raise ValueError(f"{path}: schema version {version}, this code reads {VERSION}")
    fields = Provenance.__dataclass_fields__
    lost = [name for name in fields if name not in file.attrs]
    if lost:
        raise ValueError(f"{path}: no attribute {', '.join(lost)}")
    return Provenance(**{n: fields[n].type(file.attrs[n]) for n in fields})  # to plain values


def _check_shapes(file: h5py.File, found: Provenance, path: Path) -> None:
    """Every dataset of the shape that the attributes promise."""
    rows = len(file["status"])
    wanted = dict.fromkeys(LAYOUT, (rows,)) | {"fc": (rows, found.dim)}
    wanted["att"] = (rows, found.regions, found.dim)
    for name, shape in wanted.items():
        if name in file and file[name].shape != shape:
            raise ValueError(f"{path}: {name} has the shape {file[name].shape}, expected {shape}")
    if bool(found.regions) != ("att" in file):
        raise ValueError(f"{path}: regions is {found.regions}, which does not fit its datasets")
