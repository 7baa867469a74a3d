"""Writing features.h5 so that nothing can spoil it.

All space is allocated at the start, so that no index changes later; a batch is written, flushed,
and only then marked as done: a kill at any moment leaves a file that opens and knows what it lacks.
HDF5's oldest layout is used on purpose: since version 1.10 a file that was open for writing when
its process died is refused until somebody runs h5clear.
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import h5py
import numpy as np

from prepro.storage.feature_file import BAD, DONE, MISSING, VERSION, Provenance, contiguous_ranges

OVERHEAD = 160  # bytes a picture beside the numbers: the reason, the id, the index of chunks


def bytes_needed(provenance: Provenance, count: int) -> int:
    """About how large the file of `count` pictures will be."""
    return count * (2 * provenance.dim * (1 + provenance.regions) + OVERHEAD) + 10_000


def create(
    path: Path,
    provenance: Provenance,
    ids: Sequence[int | str],
    counted: bool = False,
    shard: str = "1/1",
) -> None:
    """An empty file with room for all pictures; nothing is left behind when there is no room.

    `counted`: the number of regions differs by picture. OSError when the disk is too small.
    """
    for left in path.parent.glob(f".{path.name}.*.partial"):  # of a run that was killed in here
        left.unlink(missing_ok=True)
    needed, free = bytes_needed(provenance, len(ids)), shutil.disk_usage(path.parent).free
    if needed > free:
        raise OSError(
            f"{path}: needs {needed / 1e9:,.2f} GB, but {path.parent} has {free / 1e9:,.2f} GB left"
        )
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with h5py.File(partial, "w", libver="earliest") as file:
            _forget_soon(file)
            _fill(file, provenance, ids, counted)
            file.attrs.update(asdict(provenance) | {"version": VERSION, "complete": False})
            file.attrs["shard"] = shard
        partial.replace(path)
    except (OSError, RuntimeError) as error:  # RuntimeError: h5py's word for a failed flush
        raise OSError(f"{path}: no room for its {needed / 1e9:,.2f} GB ({error})") from None
    finally:
        partial.unlink(missing_ok=True)


def _fill(file: h5py.File, provenance: Provenance, ids: Sequence, counted: bool) -> None:
    count, dim, regions = len(ids), provenance.dim, provenance.regions
    file["status"] = np.full(count, MISSING, np.uint8)  # first: small and early in the file
    file["reason"] = np.zeros(count, "S120")
    file.create_dataset("id", data=[str(i) for i in ids], dtype=h5py.string_dtype())
    if counted:
        file["count"] = np.zeros(count, np.uint16)
    _allocate(file, "fc", (count, dim))
    if regions:
        _allocate(file, "att", (count, regions, dim))


def _allocate(file: h5py.File, name: str, shape: tuple[int, ...]) -> None:
    """Space on disk now rather than at the first write: a killed writer then spoils no index."""
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk((1, *shape[1:]))
    plist.set_fletcher32()
    plist.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    kind = h5py.h5t.py_create(np.dtype(np.float16))
    h5py.h5d.create(file.id, name.encode(), kind, h5py.h5s.create_simple(shape), plist)


class FeatureWriter:
    """Writes into features.h5, batch by batch; use as a context manager.

    status: (N,) uint8, what is in the file so far.
    """

    def __init__(self, path: Path) -> None:
        self.file = _open_alone(path)
        self.status: np.ndarray = self.file["status"][:]

    def __enter__(self) -> "FeatureWriter":
        return self

    def __exit__(self, kind: type | None, *rest: object) -> None:
        try:
            if (self.status != MISSING).all():
                self.file.attrs.modify("complete", np.bool_(True))
            self.file.close()
        except (OSError, RuntimeError):  # the disk is full: the first error is the one to tell
            if kind is None:
                raise

    def write(
        self,
        rows: np.ndarray,
        fc: np.ndarray,
        att: np.ndarray | None,
        bad: Mapping[int, str] = {},
        count: np.ndarray | None = None,
    ) -> None:
        """`rows` (b,) rising positions; `fc` (b, D), `att` (b, R, D) float16; `bad` {row: why}."""
        blocks = {"fc": fc, "att": att, "count": count}
        for name, block in blocks.items():
            if block is None:
                continue
            for start, stop in contiguous_ranges(rows):
                first = int(rows[start])
                self.file[name][first : first + stop - start] = block[start:stop]
        for row, reason in bad.items():
            self.file["reason"][row] = reason.encode()[:120]
        self.file.flush()  # the numbers are in the file before the mark that vouches for them
        self._mark(np.asarray(rows, np.int64), DONE)
        self._mark(np.array(sorted(bad), np.int64), BAD)
        self.file.flush()

    def _mark(self, rows: np.ndarray, status: int) -> None:
        for start, stop in contiguous_ranges(rows):
            self.file["status"][int(rows[start]) : int(rows[stop - 1]) + 1] = status
        self.status[rows] = status


def _open_alone(path: Path) -> h5py.File:
    """Open for writing, with a lock where the file system has locks; no cache, so no late error."""
    try:
        file = h5py.File(path, "r+", locking="best-effort", rdcc_nbytes=0)
    except BlockingIOError:
        raise OSError(f"{path}: another process is writing it") from None
    _forget_soon(file)
    return file


def _forget_soon(file: h5py.File) -> None:
    """At most 1 MiB of the index of chunks in memory: it is walked through once, in order."""
    cache = file.id.get_mdc_config()
    cache.set_initial_size = True
    cache.initial_size = cache.min_size = cache.max_size = 1 << 20
    file.id.set_mdc_config(cache)
