"""The shards that many machines made, joined into one features.h5.

    python -m prepro.features --data data/coco --merge

Nothing is joined before every picture is known to be present exactly once and every shard to have
been made in the same way. Rows are copied, and their checksums checked on the way; virtual datasets
would be quicker and read a lost shard as NaN. Stopped, it goes on like prepro.features does.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from prepro.extraction.image_list import ImageList
from prepro.extraction.shards import Shard
from prepro.runtime.progress import Progress
from prepro.storage.feature_file import BAD, DONE, MISSING, FeatureFile
from prepro.storage.feature_writer import FeatureWriter, create

NAME = re.compile(r"features\.(\d+)-of-(\d+)\.h5")
ROWS = 64  # copied at a time


def merge(folder: Path, listing: ImageList) -> Path:
    """Write features.h5 and return its path; the shards stay. ValueError names what is amiss."""
    shards = find(folder)
    ids = [str(i) for i in listing.ids]
    parts = [FeatureFile(shard.path(folder)) for shard in shards]
    for shard, part in zip(shards, parts, strict=True):
        _check(shard, part, parts[0], ids, listing.sha256)
    path = folder / "features.h5"
    counted = parts[0].count is not None
    if path.is_file():
        parts[0].provenance.check(FeatureFile(path).provenance, path)
    else:
        create(path, parts[0].provenance, ids, counted)
    with FeatureWriter(path) as writer, Progress(len(ids), "merge") as progress:
        for shard, part in zip(shards, parts, strict=True):
            _copy(part, shard.rows(len(ids)), writer, progress)
    return path


def find(folder: Path) -> list[Shard]:
    """All shards 1/N to N/N of a folder; ValueError when one is missing, or N is not one number."""
    found = [NAME.fullmatch(path.name) for path in folder.glob("features.*-of-*.h5")]
    totals = {int(match[2]) for match in found if match}
    if not totals:
        raise FileNotFoundError(f"{folder}: no shards (features.1-of-N.h5, ...); see --shard")
    if len(totals) > 1:
        raise ValueError(f"{folder}: shards of {sorted(totals)} parts; remove those not meant")
    shards = [Shard(number, *totals) for number in range(1, max(totals) + 1)]
    for shard in shards:
        if not shard.path(folder).is_file():
            raise ValueError(f"{shard.path(folder)}: shard {shard} is not there")
    return shards


def _check(
    shard: Shard, part: FeatureFile, first: FeatureFile, ids: Sequence[str], images: str
) -> None:
    """The shard is made like the first, of these pictures, holds its own rows and is complete."""
    first.provenance.check(part.provenance, part.path)
    if part.provenance.images != images or part.shard != str(shard):
        raise ValueError(
            f"{part.path}: shard {part.shard}, not {shard} of the pictures image_paths now"
        )
    rows = shard.rows(len(ids))
    if part.ids() != ids[rows.start : rows.stop]:
        raise ValueError(f"{part.path}: its pictures are not the {len(rows):,} of shard {shard}")
    missing = int((part.status == MISSING).sum())
    if missing:
        raise ValueError(
            f"{part.path}: {missing:,} of {len(part):,} pictures missing; run its command again"
        )


def _copy(part: FeatureFile, rows: range, writer: FeatureWriter, progress: Progress) -> None:
    for start in range(0, len(part), ROWS):
        some = np.arange(start, min(start + ROWS, len(part)))
        here = some + rows.start
        if (writer.status[here] == part.status[some]).all():
            progress.add(len(some))
            continue
        good = some[part.status[some] == DONE]
        bad = {rows.start + int(r): part.bad[int(r)] for r in some[part.status[some] == BAD]}
        att = part.att(good) if part.provenance.regions else None
        count = None if part.count is None else part.count[good]
        writer.write(good + rows.start, part.fc(good), att, bad, count)
        progress.add(len(some))
