"""Write features.h5 so that a killed process leaves a valid file.

All space is allocated at the start, so that no index changes later. A batch is written, flushed,
and then marked as done, so that the status is correct after a kill at any moment. The file has
HDF5's oldest layout: in the newer one, a file that was open for writing when its process died does
not open until h5clear is run.
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import h5py
import numpy as np

from eval.files import partial_name
from prepro.storage.feature_file import (
    BAD,
    DONE,
    MISSING,
    VERSION,
    Provenance,
    contiguous_ranges,
    hash_of_pictures,
)

OVERHEAD = 184  # bytes per image besides features: reason, id, hash, chunk index


def bytes_needed(provenance: Provenance, count: int, boxed: bool = False) -> int:
    """The approximate size in bytes of a file of `count` images."""
    boxes = 16 * provenance.regions * boxed
    return count * (2 * provenance.dim * (1 + provenance.regions) + boxes + OVERHEAD) + 10_000


def create(
    path: Path,
    provenance: Provenance,
    ids: Sequence[int | str],
    counted: bool = False,
    shard: str = "1/1",
    boxed: bool = False,
    hashed: bool = False,
) -> None:
    """Create a file with space for all images; without enough space, no file remains.

    counted: the number of regions differs by image. boxed: regions have boxes. hashed: with the
    dataset `picture`. Raises OSError when the disk is too small.
    """
    needed, free = bytes_needed(provenance, len(ids), boxed), shutil.disk_usage(path.parent).free
    if needed > free:
        raise OSError(
            f"{path}: needs {needed / 1e6:,.1f} MB, but {path.parent} has {free / 1e6:,.1f} MB left"
        )
    partial = partial_name(path)
    try:
        with h5py.File(partial, "w", libver="earliest") as file:
            _limit_index_cache(file)
            _fill(file, provenance, ids, counted, boxed)
            if hashed:
                file["picture"] = np.zeros((len(ids), 3), np.int64)
                file.attrs["pictures"] = np.bytes_("0" * 64)  # of the size that it will have
            file.attrs.update(asdict(provenance) | {"version": VERSION, "complete": False})
            file.attrs["shard"] = shard
        _publish(partial, path)
    except FileExistsError:
        raise OSError(
            f"{path}: another process has just created it; run the command again"
        ) from None
    except (OSError, RuntimeError) as error:  # h5py raises RuntimeError for a failed flush
        raise OSError(f"{path}: no room for its {needed / 1e6:,.1f} MB ({error})") from None
    finally:
        partial.unlink(missing_ok=True)


def _publish(partial: Path, path: Path) -> None:
    """Give the file its name; FileExistsError if another process was faster."""
    try:
        os.link(partial, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        partial.replace(path)


def _fill(
    file: h5py.File, provenance: Provenance, ids: Sequence, counted: bool, boxed: bool
) -> None:
    count, dim, regions = len(ids), provenance.dim, provenance.regions
    file["status"] = np.full(count, MISSING, np.uint8)  # first, so that it is early in the file
    file["reason"] = np.zeros(count, "S120")
    file.create_dataset("id", data=[str(i) for i in ids], dtype=h5py.string_dtype())
    if counted:
        file["count"] = np.zeros(count, np.uint16)
    _allocate(file, "fc", (count, dim))
    if regions:
        _allocate(file, "att", (count, regions, dim))
    if regions and boxed:
        _allocate(file, "boxes", (count, regions, 4), np.float32)


def _allocate(file: h5py.File, name: str, shape: tuple[int, ...], dtype: type = np.float16) -> None:
    """Create a dataset with its space allocated now, so that writes change no index."""
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk((1, *shape[1:]))
    plist.set_fletcher32()
    plist.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    kind = h5py.h5t.py_create(np.dtype(dtype))
    h5py.h5d.create(file.id, name.encode(), kind, h5py.h5s.create_simple(shape), plist)


class FeatureWriter:
    """Writes batches into features.h5; a context manager.

    status: (N,) uint8, the current status of each row. Raises OSError for a file that is locked.
    """

    def __init__(self, path: Path) -> None:
        self.file = _open_exclusive(path)
        self.status: np.ndarray = self.file["status"][:]

    def __enter__(self) -> "FeatureWriter":
        return self

    def __exit__(self, kind: type | None, *rest: object) -> None:
        try:
            if (self.status != MISSING).all():
                self.file.attrs.modify("complete", np.bool_(True))
                if "picture" in self.file:
                    found = hash_of_pictures(self.file["picture"][:])
                    self.file.attrs.modify("pictures", np.bytes_(found))
            self.file.close()
        except (OSError, RuntimeError):  # full disk: the first error is reported
            if kind is None:
                raise

    def write(
        self,
        rows: np.ndarray,
        fc: np.ndarray,
        att: np.ndarray | None,
        bad: Mapping[int, str] = {},
        count: np.ndarray | None = None,
        boxes: np.ndarray | None = None,
        picture: np.ndarray | None = None,
    ) -> None:
        """Write the features of a batch, then its status.

        rows: (b,) ascending. fc: (b, D) float16. att: (b, R, D) float16. bad: {row: reason}.
        count: (b,), the number of valid regions. boxes: (b, R, 4) float32.
        picture: (b, 3) int64, left out where the file has no such dataset.
        """
        blocks = {"fc": fc, "att": att, "count": count, "boxes": boxes, "picture": picture}
        for name, block in blocks.items():
            if block is None or name not in self.file:
                continue
            for start, stop in contiguous_ranges(rows):
                first = int(rows[start])
                self.file[name][first : first + stop - start] = block[start:stop]
        for row, reason in bad.items():
            self.file["reason"][row] = reason.encode()[:120]
        self.file.flush()  # features reach the file before their status
        self._mark(np.asarray(rows, np.int64), DONE)
        self._mark(np.array(sorted(bad), np.int64), BAD)
        self.file.flush()

    def forget(self, rows: np.ndarray) -> None:
        """Mark rows (b,) ascending as missing, since their pictures have changed."""
        for start, stop in contiguous_ranges(rows):  # none may keep a hash that is not its own
            self.file["picture"][int(rows[start]) : int(rows[stop - 1]) + 1] = 0
        self.file.attrs.modify("complete", np.bool_(False))
        self._mark(rows, MISSING)
        self.file.flush()

    def restamp(self, stamps: Mapping[int, tuple[int, int]]) -> None:
        """Note {row: (size, time of change)} of pictures whose bytes are still the same."""
        for row, stamp in stamps.items():
            self.file["picture"][row, 1:] = stamp

    def _mark(self, rows: np.ndarray, status: int) -> None:
        for start, stop in contiguous_ranges(rows):
            self.file["status"][int(rows[start]) : int(rows[stop - 1]) + 1] = status
        self.status[rows] = status


def _open_exclusive(path: Path) -> h5py.File:
    """Open for writing, locked where the file system has locks; uncached, for early errors."""
    try:
        file = h5py.File(path, "r+", locking="best-effort", rdcc_nbytes=0)
    except BlockingIOError:
        raise OSError(f"{path}: another process is writing it") from None
    _limit_index_cache(file)
    return file


def _limit_index_cache(file: h5py.File) -> None:
    """Cache at most 1 MiB of the chunk index, which is read once, in order."""
    cache = file.id.get_mdc_config()
    cache.set_initial_size = True
    cache.initial_size = cache.min_size = cache.max_size = 1 << 20
    file.id.set_mdc_config(cache)
