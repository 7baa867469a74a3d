"""Merge the shards that many machines have computed into one features.h5.

    python -m prepro.features --data data/coco --merge          in a second, and nothing is copied
    python -m prepro.features --data data/coco --merge --copy

First every shard is checked: each image must be present exactly once, and all shards must come from
the same encoder and transform. Then features.h5 becomes a file of virtual datasets, whose rows stay
in the files of the shards; both must stay in one folder, which may be moved. With --copy the rows
are copied, which checks their checksums, and the shards are not needed any more. A copy that is
stopped continues where it was when the same command runs again, as prepro.features does.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import h5py
import numpy as np

from prepro.extraction.image_list import ImageList
from prepro.extraction.shards import Shard
from prepro.runtime.progress_bar import ProgressBar
from prepro.storage.feature_file import (
    BAD,
    DONE,
    LAYOUT,
    MISSING,
    SHARD_FILE,
    VERSION,
    FeatureFile,
    hash_of_pictures,
)
from prepro.storage.feature_writer import FeatureWriter, create
from prepro.storage.new_hdf5 import new_h5

ROWS = 64  # copied at a time


def merge_shards(folder: Path, images: ImageList, copy: bool = False) -> Path:
    """Write features.h5 and return its path; the shards remain. ValueError for bad shards."""
    shards = find_shards(folder)
    ids = [str(i) for i in images.ids]
    files = [FeatureFile(shard.path(folder)) for shard in shards]
    for shard, file in zip(shards, files, strict=True):
        _check_shard(shard, file, files[0], ids, images.sha256)
    path = folder / "features.h5"
    if has_own_rows(path):
        files[0].provenance.check(FeatureFile(path).provenance, path)
    (_copy if copy else _join)(path, shards, files, ids)
    return path


def has_own_rows(path: Path) -> bool:
    """Whether there is a file that is not made of shards, which may be those of another merge."""
    if not path.is_file():
        return False
    with h5py.File(path, "r", locking=False) as file:
        return not (isinstance(file.get("fc"), h5py.Dataset) and file["fc"].is_virtual)


def _join(
    path: Path, shards: Sequence[Shard], files: Sequence[FeatureFile], ids: Sequence[str]
) -> None:
    """Write the virtual datasets; what is small (ids, status, reasons, counts) is copied."""
    provenance = files[0].provenance
    names = ("fc", "att") if provenance.regions else ("fc",)
    rows = [shard.rows(len(ids)) for shard in shards]
    with new_h5(path) as joined:
        for name in names:
            tail = (provenance.dim,) if name == "fc" else (provenance.regions, provenance.dim)
            layout = h5py.VirtualLayout((len(ids), *tail), np.float16)
            for file, part in zip(files, rows, strict=True):
                shape = (len(part), *tail)
                layout[part.start : part.stop] = h5py.VirtualSource(file.path.name, name, shape)
            joined.create_virtual_dataset(name, layout, fillvalue=np.nan)
        joined["status"] = np.concatenate([file.status for file in files])
        reasons = np.zeros(len(ids), LAYOUT["reason"][1])
        for file, part in zip(files, rows, strict=True):
            for row, reason in file.bad.items():
                reasons[part.start + row] = reason.encode()[:120]
        joined["reason"] = reasons
        joined.create_dataset("id", data=list(ids), dtype=h5py.string_dtype())
        if files[0].count is not None:
            joined["count"] = np.concatenate([file.count for file in files])
        if all(file.picture is not None for file in files):
            joined["picture"] = picture = np.concatenate([file.picture for file in files])
            joined.attrs["pictures"] = np.bytes_(hash_of_pictures(picture))
        joined.attrs.update(asdict(provenance) | {"version": VERSION, "complete": True})
        joined.attrs["shard"] = "1/1"


def _copy(
    path: Path, shards: Sequence[Shard], files: Sequence[FeatureFile], ids: Sequence[str]
) -> None:
    if not has_own_rows(path):
        path.unlink(missing_ok=True)
        hashed = all(file.picture is not None for file in files)
        create(path, files[0].provenance, ids, files[0].count is not None, hashed=hashed)
    with FeatureWriter(path) as writer, ProgressBar(len(ids), "merge") as progress:
        for shard, file in zip(shards, files, strict=True):
            _copy_rows(file, shard.rows(len(ids)), writer, progress)


def find_shards(folder: Path) -> list[Shard]:
    """All shards 1/N to N/N of a folder; ValueError if one is missing, or if N differs."""
    found = [SHARD_FILE.fullmatch(path.name) for path in folder.glob("features.*-of-*.h5")]
    totals = {int(match[2]) for match in found if match}
    if not totals:
        raise FileNotFoundError(
            f"{folder}: no shards (features.1-of-N.h5); make them with --shard 1/N to N/N"
        )
    if len(totals) > 1:
        raise ValueError(
            f"{folder}: shards of runs with N = {sorted(totals)}; remove those of the wrong run"
        )
    shards = [Shard(number, *totals) for number in range(1, max(totals) + 1)]
    for shard in shards:
        if not shard.path(folder).is_file():
            path = shard.path(folder)
            raise ValueError(f"{path}: shard {shard} is missing; make it with --shard {shard}")
    return shards


def _check_shard(
    shard: Shard, file: FeatureFile, first: FeatureFile, ids: Sequence[str], images: str
) -> None:
    """ValueError unless the shard is complete, has the right rows and matches `first`."""
    first.provenance.check(file.provenance, file.path)
    if file.provenance.images != images or file.shard != str(shard):
        raise ValueError(
            f"{file.path}: it holds shard {file.shard} of another list of pictures, not shard "
            f"{shard} of labels.json; run its command again"
        )
    rows = shard.rows(len(ids))
    if file.ids() != ids[rows.start : rows.stop]:
        raise ValueError(
            f"{file.path}: its pictures are not those of shard {shard}; run its command again"
        )
    missing = int((file.status == MISSING).sum())
    if missing:
        raise ValueError(
            f"{file.path}: {missing:,} of {len(file):,} pictures missing; run its command again"
        )


def _copy_rows(
    file: FeatureFile, rows: range, writer: FeatureWriter, progress: ProgressBar
) -> None:
    for start in range(0, len(file), ROWS):
        source = np.arange(start, min(start + ROWS, len(file)))
        target = source + rows.start
        if (writer.status[target] == file.status[source]).all():
            progress.add(len(source))
            continue
        good = source[file.status[source] == DONE]
        bad = {rows.start + int(r): file.bad[int(r)] for r in source[file.status[source] == BAD]}
        att = file.att(good) if file.provenance.regions else None
        count = None if file.count is None else file.count[good]
        picture = None if file.picture is None else file.picture[good]
        writer.write(good + rows.start, file.fc(good), att, bad, count, picture=picture)
        progress.add(len(source))
