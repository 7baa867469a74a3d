"""Extraction by several processes: each takes a piece of the pictures, then the next one.

    torchrun --nproc-per-node 4 -m -- prepro.features --data data/coco

In: options, images, rank and number of processes. Out: the pieces, in files of shards, which are
joined in features.h5. A slow process takes fewer pieces. The piece of a process that died is taken
again and goes on where it was, so the features are those of an undisturbed run.
"""

import time
from pathlib import Path

from prepro.extraction.changed_pictures import touched_rows
from prepro.extraction.image_list import ImageList
from prepro.extraction.merge import has_own_rows, merge_shards
from prepro.extraction.options import Options
from prepro.extraction.pipeline import Job, extract_shard, print_space
from prepro.extraction.shards import Shard
from prepro.extraction.summary import print_summary
from prepro.runtime.pieces import remove_claims, take_pieces
from prepro.storage.feature_file import SHARD_FILE, FeatureFile

PICTURES = 256  # of a piece, at least
PIECES = 256  # at most, since each is a file


def extract_pieces(options: Options, images: ImageList, rank: int, world: int) -> int:
    """Returns 1 if a picture could not be read, in every process. OSError, ValueError."""
    folder, started = options.data, time.time()
    total = _number_of_pieces(folder, len(images))
    shards = [Shard(number, total) for number in range(1, total + 1)]
    job, paths = Job.of(options, images), [shard.path(folder) for shard in shards]
    job.is_quiet = rank > 0 or total > 1
    if rank == 0 and total > 1 and not paths[0].is_file():
        print_space(folder / "features.h5", job.provenance, len(images))

    def is_done(number: int) -> bool:
        return _is_done(job, shards[number], paths[number], started)

    for number in take_pieces(paths, is_done, rank * total // world):
        extract_shard(job, shards[number])
    path = folder / "features.h5"
    for _ in take_pieces([path], lambda _: _is_joined(path)):
        merge_shards(folder, images)
    remove_claims([*paths, path])
    if rank == 0:
        return print_summary(path, images.names)
    return 1 if FeatureFile(path).bad else 0


def _number_of_pieces(folder: Path, count: int) -> int:
    """1 to go on with a file of one process, N to go on with shards I/N. ValueError for several."""
    if has_own_rows(folder / "features.h5"):
        return 1
    matches = map(SHARD_FILE.fullmatch, (path.name for path in folder.glob("features.*.h5")))
    totals = {int(match[2]) for match in matches if match}
    if len(totals) > 1:
        raise ValueError(
            f"{folder}: shards of runs with N = {sorted(totals)}; remove those of the wrong run"
        )
    return totals.pop() if totals else min(PIECES, -(-count // PICTURES))


def _is_done(job: Job, shard: Shard, path: Path, started: float) -> bool:
    """Whether all rows are there and of the pictures of today; bad ones are tried once a run."""
    if not path.is_file():
        return False
    file = FeatureFile(path)
    job.provenance.check(file.provenance, path)
    was_tried = not file.bad or path.stat().st_mtime >= started
    return file.complete and was_tried and not touched_rows(file, job.reader(shard))


def _is_joined(path: Path) -> bool:
    """Whether features.h5 is there, and its shards are as they were when it was joined."""
    try:
        return FeatureFile(path).complete
    except (ValueError, FileNotFoundError):
        return False
