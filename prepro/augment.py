"""Mirror and crop the training pictures of a data folder: more pictures to learn from.

    python -m prepro.augment --data data/mine --out data/augmented --crops 2

In: a data folder that prepro.labels wrote. Out: another, with the same vocabulary, to extract
features of. Its images/original links to the pictures (copies where the disk is another one). Each
training picture is there mirrored, too, and with --crops N as N random crops and N crops of its
mirror image, as JPEG: the captions are the picture's. A picture whose captions mention left or
right is not mirrored, since they would be false. Fine-tuning does this by itself; here a decoder
that learns from stored features gets the same. A stopped run continues when the same command runs
again.
"""

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from eval import command

if TYPE_CHECKING:
    import numpy as np

    from prepro.annotations.records import ImageRecord
    from prepro.storage.label_file import Labels

QUALITY = 95  # of a JPEG
SMALLEST = 0.8  # least part of a picture's width and of its height that a crop keeps
MOST_CROPS = 100
THREADS = min(8, os.cpu_count() or 1)  # Pillow decodes and encodes without holding Python's lock


@dataclass(frozen=True)
class Options:
    """Make a data folder that has the training pictures mirrored and cropped, too.

    Example: python -m prepro.augment --data data/mine --out data/augmented --crops 2
    """

    data: Path
    """the data folder that prepro.labels wrote"""
    out: Path
    """data folder to write labels and pictures to"""
    crops: int = 0
    """random crops of each training picture, and as many of its mirror image"""


class Change(NamedTuple):
    """One changed picture: the row of its labels, the number of its crop (0: all of it)."""

    row: int
    crop: int
    is_mirrored: bool

    @property
    def folder(self) -> str:
        """Where it lies under images/."""
        return ("mirrored" if self.is_mirrored else "crop") + str(self.crop or "")


def main(options: Options) -> int:
    from prepro.extraction.summary import count_pictures
    from prepro.storage.label_file import read_labels

    if options.out.resolve() == options.data.resolve():
        raise ValueError(f"--out {options.out}: this is the folder of --data; give another")
    if not 0 <= options.crops <= MOST_CROPS:
        raise ValueError(f"--crops {options.crops}: it must be from 0 to {MOST_CROPS}")
    labels = read_labels(options.data)
    sources = _sources(labels)
    changes = _changes(labels, options.crops)
    bad = _write_pictures(options.out / "images", labels.records, sources, changes)
    kept = [one for one in changes if one.row not in bad]
    _write_labels(options.out, labels, kept)
    for row, reason in list(bad.items())[:20]:
        print(f"prepro.augment: {labels.records[row].path}: {reason}", file=sys.stderr)
    mirrored = sum(one.is_mirrored for one in kept)
    told = f"{options.out}: {count_pictures(len(sources) + len(kept))}, {len(sources):,} of them"
    told += f" as they were, {len(kept):,} changed ({mirrored:,} mirrored)"
    print(told + (f"; {len(bad):,} could not be read" if bad else ""))
    return 1 if bad else 0


def _changes(labels: "Labels", crops: int) -> list[Change]:
    """All training pictures changed in one way, then in the next."""
    from prepro.storage.left_right import mentions_left_or_right

    train = [row for row, record in enumerate(labels.records) if record.split == "train"]
    has_side = mentions_left_or_right(labels)
    whole = [Change(row, 0, True) for row in train]
    cropped = [
        Change(row, crop, is_mirrored)
        for crop in range(1, crops + 1)
        for is_mirrored in (False, True)
        for row in train
    ]
    return [one for one in whole + cropped if not (one.is_mirrored and has_side[one.row])]


def _sources(labels: "Labels") -> list[Path]:
    """The picture files. ValueError for pictures in tar files or in object storage."""
    from prepro.images import inside
    from prepro.remote import RemotePath
    from prepro.tar_images import split_path

    found = [inside(labels.image_root, record.path) for record in labels.records]
    if isinstance(labels.image_root, RemotePath) or any(map(split_path, found)):
        raise ValueError(
            f"{labels.folder}: its pictures lie in tar files or on a server; unpack them into a "
            "folder and run prepro.labels on that"
        )
    return found


def _write_pictures(
    images: Path,
    records: Sequence["ImageRecord"],
    sources: Sequence[Path],
    changes: Sequence[Change],
) -> dict[int, str]:
    """Link or copy all pictures and write the changed ones; returns row -> why it is bad."""
    from concurrent.futures import ThreadPoolExecutor

    from prepro.images import BadImage, inside
    from prepro.runtime.progress_bar import ProgressBar

    def write(one: Change) -> str:
        try:
            write_changed(sources[one.row], inside(images, _path(records, one)), one)
        except BadImage as error:
            return str(error)
        return ""

    bad, pool = {}, ThreadPoolExecutor(THREADS)
    try:
        with ProgressBar(len(records) + len(changes), "pictures") as progress:
            for record, source in zip(records, sources, strict=True):
                _link(source, inside(images / "original", record.path))
                progress.add(1)
            for one, reason in zip(changes, pool.map(write, changes), strict=True):
                progress.add(not reason, bad=bool(reason))
                if reason:
                    bad[one.row] = reason
    finally:
        pool.shutdown(cancel_futures=True)  # Ctrl-C does not wait for the rest
    return bad


def _link(source: Path, path: Path) -> None:
    """One file under two names, or a copy. A picture that is missing is left out."""
    from eval.files import whole_file

    if not source.is_file() or (path.exists() and path.stat().st_mtime >= source.stat().st_mtime):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    try:
        os.link(source.resolve(), path)
    except OSError:
        with whole_file(path) as partial:
            shutil.copyfile(source, partial)


def _path(records: Sequence["ImageRecord"], one: Change) -> str:
    """The name of a changed picture, under images/."""
    name = records[one.row].path
    is_jpeg = name.lower().endswith((".jpg", ".jpeg"))
    return f"{one.folder}/{name}" + ("" if is_jpeg else ".jpg")


def write_changed(source: Path, path: Path, one: Change) -> None:
    """Write the changed picture, as it is seen, unless it is there already. BadImage.

    The crop depends on the change only.
    """
    from PIL import ImageOps

    from eval.files import whole_file
    from prepro.images import open_rgb

    if path.exists() and path.stat().st_mtime >= source.stat().st_mtime:
        return
    picture = open_rgb(source)
    if one.crop:
        picture = picture.crop(random_box(picture.size, one))
    if one.is_mirrored:
        picture = ImageOps.mirror(picture)
    with whole_file(path) as partial:
        picture.save(partial, "JPEG", quality=QUALITY)


def random_box(size: tuple[int, int], seed: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of a crop: 80 to 100 % of the width and of the height (pixels)."""
    import numpy as np

    rng = np.random.default_rng(seed)
    kept = [int(rng.integers(round(SMALLEST * side), side + 1)) for side in size]
    left, top = (
        int(rng.integers(0, side - part + 1)) for side, part in zip(size, kept, strict=True)
    )
    return left, top, left + kept[0], top + kept[1]


def _write_labels(out: Path, labels: "Labels", changes: Sequence[Change]) -> None:
    """The labels of all pictures, followed by those of the changed ones."""
    from prepro.labels import BY_ROW
    from prepro.storage.label_file import write_labels
    from prepro.storage.label_row_writer import write_label_rows

    facts = {"dataset": out.name, "image_root": "images"}
    vocabulary, max_length = labels.vocabulary, labels.labels.shape[1]
    found = _rows(labels, changes)
    first, last = labels.ranges.T
    counts = (last - first).tolist()
    if sum(counts) + sum(counts[one.row] for one in changes) > BY_ROW:
        write_label_rows(out, found, vocabulary, max_length, facts)
        return
    records, captions = zip(*found, strict=True)
    encoded = [ids for own in captions for ids in own]
    write_labels(out, records, vocabulary, encoded, max_length, facts)


def _rows(
    labels: "Labels", changes: Sequence[Change]
) -> Iterator[tuple["ImageRecord", list["np.ndarray"]]]:
    """Each record with the token ids of its captions."""
    for row, record in enumerate(labels.records):
        yield replace(record, path=f"original/{record.path}"), _captions(labels, row)
    for one in changes:
        path = _path(labels.records, one)
        record = replace(labels.records[one.row], id=path, path=path)
        yield record, _captions(labels, one.row)


def _captions(labels: "Labels", row: int) -> list["np.ndarray"]:
    first, last = labels.ranges[row]
    return [labels.labels[i, : labels.lengths[i]] for i in range(first, last)]


if __name__ == "__main__":
    sys.exit(command.run(Options, main))
