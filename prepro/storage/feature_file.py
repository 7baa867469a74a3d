"""features.h5, the features of a data folder: its layout and its lazy reader.

    fc      (N, D) float16, the mean feature of each image
    att     (N, R, D) float16, R regions in row-major order
    count   (N,) uint16, the number of valid regions; only where it differs by image
    boxes   (N, R, 4) float32, of a detector's regions: left, top, right and bottom as fractions of
            the picture's width and height; zeros where they are unknown
    picture (N, 3) int64: BLAKE2b of the bytes of each picture's file, in 8 bytes; its size and its
            time of change in ns; not in files of earlier versions and of other systems
    id      (N,) text; status (N,) uint8: MISSING, DONE or BAD; reason (N,) why an image is bad

Each image is one chunk with a checksum (fletcher32), uncompressed. Attributes hold the Provenance
and the shard, and in a complete file one hash of the hashes in `picture` (`pictures`).
prepro/storage/feature_writer.py writes the file. In a file that `prepro.features --merge` wrote, fc
and att are virtual datasets: their rows lie in the files of the shards, which are checked when it
is opened, since HDF5 reads a file that is not there as NaN.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import h5py
import numpy as np

from prepro.storage.hdf5 import check_datasets, damage_named, open_h5

VERSION = 1
SHARD_FILE = re.compile(r"features\.(\d{1,9})-of-(\d{1,9})\.h5")
MISSING, DONE, BAD = 0, 1, 2
LAYOUT = {  # dataset -> rank and dtype; att, count, boxes and picture are optional
    "fc": (2, np.float16),
    "att": (3, np.float16),
    "count": (1, np.uint16),
    "boxes": (3, np.float32),
    "picture": (2, np.int64),
    "id": (1, None),
    "status": (1, np.uint8),
    "reason": (1, np.dtype("S120")),
}


@dataclass(frozen=True)
class Provenance:
    """The encoder and the images of the features; files of equal provenance have equal features."""

    encoder: str
    weights: str
    weights_sha256: str
    transform: str
    """the Transform as JSON"""
    images: str
    """prepro.storage.label_file.images_sha256 of the images"""
    dim: int
    regions: int
    """R, 0 without att"""
    precision: str = "float32"
    """the dtype of the network's computation"""

    def check(self, other: "Provenance", path: Path) -> None:
        """Raise ValueError for the first field in which the file at `path` (other) differs."""
        for name, wanted in asdict(self).items():
            found = getattr(other, name)
            if name != "weights" and wanted != found:  # the hash decides, not the name
                raise ValueError(
                    f"{path}: made with {name} {found}, but asked for {wanted}; "
                    "ask for the same, or remove the file"
                )


class FeatureFile:
    """Lazy reader of features.h5; picklable, so that each worker process opens its own handle.

    status: (N,) uint8 of MISSING, DONE, BAD. bad: {row: reason}. provenance: see Provenance.
    Raises ValueError for a file of another version or layout, FileNotFoundError.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise FileNotFoundError(f"{path}: no such file; make it with python -m prepro.features")
        names = ("fc", "id", "status", "reason")
        with open_h5(self.path, names, SHARD_FILE) as file, damage_named(self.path):
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
            self.has_boxes = "boxes" in file
            self.picture: np.ndarray | None = file["picture"][:] if "picture" in file else None
            sources = file["fc"].virtual_sources() if file["fc"].is_virtual else []
        self._check_shards([source.file_name for source in sources])
        self._file: h5py.File | None = None
        self._owner = 0

    def __len__(self) -> int:
        return len(self.status)

    @property
    def transform(self) -> dict:
        """Transform.to_dict's values; {} for features from another system."""
        return json.loads(self.provenance.transform)

    @property
    def complete(self) -> bool:
        """Whether every image is DONE or BAD."""
        return not (self.status == MISSING).any()

    def ids(self) -> list[str]:
        """The image id of each row, as text."""
        return self._handle()["id"].asstr()[:].tolist()

    def require(self, images_sha256: str, count: int | None = None) -> None:
        """Raise ValueError unless the file is complete and belongs to these `count` images."""
        if self.shard != "1/1":
            raise ValueError(
                f"{self.path}: shard {self.shard}; join the shards with prepro.features --merge"
            )
        if self.provenance.images != images_sha256:
            raise ValueError(
                f"{self.path}: of the pictures {self.provenance.images[:12]}..., but labels.json "
                f"lists {images_sha256[:12]}...; remove it and run prepro.features"
            )
        if count not in (None, len(self)):
            raise ValueError(f"{self.path}: damaged ({len(self):,} rows for {count:,} pictures)")
        missing = int((self.status == MISSING).sum())
        if missing:
            raise ValueError(
                f"{self.path}: {missing:,} of {len(self):,} pictures missing; "
                "run prepro.features again to resume"
            )

    def _check_shards(self, names: Sequence[str]) -> None:
        """ValueError unless the shards of a merged file are there, and those that were merged."""
        self.is_virtual, start = bool(names), 0
        for name in names:
            path = self.path.with_name(name)
            if not path.is_file():
                raise ValueError(f"{self.path}: its shard {name} is missing; copy it here too")
            shard = FeatureFile(path)
            stop = start + len(shard)
            own = self.picture if self.picture is None else self.picture[start:stop]
            same = np.array_equal(shard.status, self.status[start:stop])
            if shard.is_virtual or not same or _hashes_differ(shard.picture, own):
                raise ValueError(
                    f"{path}: changed since it was merged; run prepro.features --merge again"
                )
            self.provenance.check(shard.provenance, path)
            start = stop
        if names and start != len(self):
            raise ValueError(f"{self.path}: its shards have {start:,} rows, not {len(self):,}")

    def fc(self, rows: np.ndarray) -> np.ndarray:
        """(b, D) float16 of the rows, in the order asked for. ValueError for a damaged row."""
        return self._read("fc", rows)

    def att(self, rows: np.ndarray) -> np.ndarray:
        """(b, R, D) float16 of the rows, in the order asked for. ValueError for a damaged row."""
        return self._read("att", rows)

    def boxes(self, rows: np.ndarray) -> np.ndarray:
        """(b, R, 4) float32 of the rows; for a file that `has_boxes`. ValueError if damaged."""
        return self._read("boxes", rows)

    def mask(self, rows: np.ndarray) -> np.ndarray:
        """(b, R) bool, True for valid regions; all True unless the number differs by image."""
        positions = np.arange(self.provenance.regions)
        if self.count is None:
            return np.ones((len(rows), len(positions)), bool)
        return positions < self.count[rows][:, None]

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
        """The message for the first damaged row of `rows`."""
        data = self._handle()[name]
        for row in map(int, rows):
            try:
                data[row]
            except OSError as error:
                why = f"its checksum is wrong ({error})"
                return f"{self.path}: {name} of row {row} is damaged: {why}"
        return f"{self.path}: {name} cannot be read"

    def _handle(self) -> h5py.File:
        """The open file of this process; a handle from before a fork is not used."""
        if self._file is None or self._owner != os.getpid():
            self._file = open_h5(
                self.path, ("fc",), SHARD_FILE, rdcc_nbytes=0
            )  # each chunk is read once
            self._owner = os.getpid()
        return self._file

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_file": None}


def _hashes_differ(one: np.ndarray | None, two: np.ndarray | None) -> bool:
    """Whether two datasets `picture` are known and of other pictures; their times do not matter."""
    return one is not None and two is not None and not np.array_equal(one[:, 0], two[:, 0])


def hash_of_pictures(picture: np.ndarray) -> str:
    """One hash of the hashes (N, 3) of all pictures' bytes."""
    return hashlib.sha256(picture[:, 0].astype("<i8").tobytes()).hexdigest()


def contiguous_ranges(rows: np.ndarray) -> list[tuple[int, int]]:
    """Split `rows` (n,) into the ranges [start, stop) of consecutive row numbers."""
    if not len(rows):
        return []
    breaks = (np.flatnonzero(np.diff(rows) != 1) + 1).tolist()
    return list(zip([0, *breaks], [*breaks, len(rows)], strict=True))


def _provenance(file: h5py.File, path: Path) -> Provenance:
    version = file.attrs.get("version")
    if version != VERSION:
        raise ValueError(f"{path}: schema version {version}, this code reads {VERSION}")
    fields = Provenance.__dataclass_fields__
    absent = [name for name in fields if name not in file.attrs]
    if absent:
        raise ValueError(f"{path}: no attribute {', '.join(absent)}")
    values = {name: _attribute(file, name, fields[name].type, path) for name in fields}
    try:
        is_object = isinstance(json.loads(values["transform"]), dict)
    except (ValueError, RecursionError):
        is_object = False
    if not is_object:
        raise ValueError(f"{path}: attribute transform is not a JSON object")
    return Provenance(**values)


def _attribute(file: h5py.File, name: str, kind: type, path: Path) -> str | int:
    """A text, or a whole number from 0 to 65,536."""
    value = file.attrs[name]
    if kind is int and isinstance(value, np.integer) and 0 <= value <= 1 << 16:
        return int(value)
    if kind is str and isinstance(value, str):
        return value
    raise ValueError(f"{path}: attribute {name} is {str(value)[:60]!r}, expected {kind.__name__}")


def _check_shapes(file: h5py.File, found: Provenance, path: Path) -> None:
    """Raise ValueError unless each dataset has the shape that the attributes give."""
    rows = len(file["status"])
    wanted = dict.fromkeys(LAYOUT, (rows,)) | {"fc": (rows, found.dim)}
    wanted["att"] = (rows, found.regions, found.dim)
    wanted["boxes"] = (rows, found.regions, 4)
    wanted["picture"] = (rows, 3)
    for name, shape in wanted.items():
        if name in file and file[name].shape != shape:
            raise ValueError(f"{path}: {name} has the shape {file[name].shape}, expected {shape}")
    if bool(found.regions) != ("att" in file):
        raise ValueError(f"{path}: regions is {found.regions}, which does not fit its datasets")
