"""Merge the shards that many machines have computed into one features.h5.

    python -m prepro.features --data data/coco --merge

First every shard is checked: each image must be present exactly once, and all shards must come from
the same encoder and transform. Rows are copied, which checks their checksums; HDF5's virtual
datasets would be quicker but read a lost shard as NaN. A merge that is stopped continues where it
was when the same command runs again, as prepro.features does.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from prepro.extraction.image_list import ImageList
from prepro.extraction.shards import Shard
from prepro.runtime.progress_bar import ProgressBar
from prepro.storage.feature_file import BAD, DONE, MISSING, FeatureFile
from prepro.storage.feature_writer import FeatureWriter, create

NAME = re.compile(r"features\.(\d+)-of-(\d+)\.h5")
ROWS = 64  # copied at a time


def merge_shards(folder: Path, images: ImageList) -> Path:
    """Write features.h5 and return its path; the shards remain. ValueError for bad shards."""
    shards = find_shards(folder)
    ids = [str(i) for i in images.ids]
    files = [FeatureFile(shard.path(folder)) for shard in shards]
    for shard, file in zip(shards, files, strict=True):
        _check_shard(shard, file, files[0], ids, images.sha256)
    path = folder / "features.h5"
    counted = files[0].count is not None
    if path.is_file():
        files[0].provenance.check(FeatureFile(path).provenance, path)
    else:
        create(path, files[0].provenance, ids, counted)
    with FeatureWriter(path) as writer, ProgressBar(len(ids), "merge") as progress:
        for shard, file in zip(shards, files, strict=True):
            _copy_rows(file, shard.rows(len(ids)), writer, progress)
    return path


def find_shards(folder: Path) -> list[Shard]:
    """All shards 1/N to N/N of a folder; ValueError if one is missing, or if N differs."""
    found = [NAME.fullmatch(path.name) for path in folder.glob("features.*-of-*.h5")]
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
        writer.write(good + rows.start, file.fc(good), att, bad, count)
        progress.add(len(source))
