"""Mirror and crop the training pictures of a data folder: more pictures to learn from.

    python -m prepro.augment --data data/mine --out data/augmented --crops 2

In: a data folder that prepro.labels wrote. Out: another, with the same vocabulary, to extract
features of. Its images/original links to the pictures (copies where the disk is another one). Each
training picture is there mirrored, too, and with --crops N as N random crops and N crops of its
mirror image, as JPEG: the captions are the picture's. A picture whose captions mention left or
right is not mirrored, since they would be false. Fine-tuning does this by itself; here a decoder
that learns from stored features gets the same. A stopped run continues when the same command runs
again; pictures of crops that are no longer wanted stay, without labels.
"""

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from eval import command

if TYPE_CHECKING:
    import numpy as np

    from prepro.annotations.records import ImageRecord
    from prepro.picture_changes import Change
    from prepro.storage.label_file import Labels

MOST_CROPS = 100
AT_A_TIME = 4096  # pictures that wait for a thread
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
    """random crops of each training picture, and as many of its mirror image, each of 80 to 100 %
    of the width and of the height"""


def main(options: Options) -> int:
    from prepro.extraction.summary import count_pictures
    from prepro.storage.label_file import read_labels

    _check(options)
    labels = read_labels(options.data)
    sources = _picture_files(labels)
    changes = _changes(labels, options.crops)
    _require_distinct(labels, changes)
    bad = _write_pictures(options.out / "images", labels.records, sources, changes)
    kept = [change for change in changes if change.row not in bad]
    _write_labels(options.out, labels, kept)
    for row, reason in list(bad.items())[:20]:
        print(f"prepro.augment: {labels.records[row].path}: {reason}", file=sys.stderr)
    mirrored = sum(change.is_mirrored for change in kept)
    summary = f"{options.out}: {count_pictures(len(sources))} as they were, {len(kept):,} changed"
    summary += f" ({mirrored:,} mirrored)"
    print(summary + (f"; {len(bad):,} could not be read" if bad else ""))
    return 1 if bad else 0


def _check(options: Options) -> None:
    """ValueError for an --out that would lose another data folder's labels, and for --crops."""
    if options.out.resolve() == options.data.resolve():
        raise ValueError(f"--out {options.out}: this is the folder of --data; give another")
    if (options.out / "labels.json").exists() and not (options.out / "images/original").is_dir():
        raise ValueError(
            f"--out {options.out}: another data folder, not one of this command; give a new folder"
        )
    if not 0 <= options.crops <= MOST_CROPS:
        raise ValueError(f"--crops {options.crops}: it must be from 0 to {MOST_CROPS}")


def _picture_files(labels: "Labels") -> list[Path]:
    """ValueError for no pictures, and for pictures in tar files or in object storage."""
    from prepro.images import inside
    from prepro.remote import RemotePath
    from prepro.tar_images import split_path

    if not len(labels.records):
        raise ValueError(f"{labels.folder}/labels.json: no picture")
    found = [inside(labels.image_root, record.path) for record in labels.records]
    if isinstance(labels.image_root, RemotePath) or any(map(split_path, found)):
        raise ValueError(
            f"{labels.folder}: its pictures lie in tar files or on a server; unpack them into a "
            "folder and run prepro.labels on that"
        )
    return found


def _changes(labels: "Labels", crops: int) -> list["Change"]:
    """All training pictures changed in one way, then in the next."""
    from prepro.picture_changes import Change
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
    return [
        change for change in whole + cropped if not (change.is_mirrored and has_side[change.row])
    ]


def _require_distinct(labels: "Labels", changes: Iterable["Change"]) -> None:
    """ValueError where two pictures would get one name, such as a.png and a.png.jpg."""
    found = {str(record.id) for record in labels.records}
    for change in changes:
        name = labels.records[change.row].path
        if change.path(name) in found:
            raise ValueError(
                f"{labels.folder}: {change.path(name)} would be made twice, or is an id already; "
                f"rename {name}"
            )
        found.add(change.path(name))


def _write_pictures(
    images: Path,
    records: Sequence["ImageRecord"],
    sources: Sequence[Path],
    changes: Sequence["Change"],
) -> dict[int, str]:
    """Link or copy all pictures and write the changed ones; returns row -> why it is bad."""
    from concurrent.futures import ThreadPoolExecutor

    from prepro.images import BadImage, inside
    from prepro.picture_changes import link_picture, write_changed
    from prepro.runtime.progress_bar import ProgressBar

    def write(change: "Change") -> str:
        name = records[change.row].path
        try:
            write_changed(sources[change.row], inside(images, change.path(name)), name, change)
        except BadImage as error:
            return str(error)
        return ""

    bad, pool = {}, ThreadPoolExecutor(THREADS)
    try:
        with ProgressBar(len(records) + len(changes), "pictures") as progress:
            for row, (record, source) in enumerate(zip(records, sources, strict=True)):
                try:
                    link_picture(source, inside(images / "original", record.path))
                except BadImage as error:
                    bad[row] = str(error)
                progress.add(row not in bad, bad=row in bad)
            for start in range(0, len(changes), AT_A_TIME):
                some = changes[start : start + AT_A_TIME]
                for change, reason in zip(some, pool.map(write, some), strict=True):
                    progress.add(not reason, bad=bool(reason))
                    if reason:
                        bad[change.row] = reason
    finally:
        pool.shutdown(cancel_futures=True)  # Ctrl-C does not wait for the rest
    return bad


def _write_labels(out: Path, labels: "Labels", changes: Sequence["Change"]) -> None:
    """The labels of all pictures, followed by those of the changed ones."""
    from prepro.labels import BY_ROW
    from prepro.storage.label_file import write_labels
    from prepro.storage.label_row_writer import write_label_rows

    facts = {"dataset": out.resolve().name, "image_root": "images"}
    vocabulary, max_length = labels.vocabulary, labels.labels.shape[1]
    found = _rows(labels, changes)
    first, last = labels.ranges.T
    counts = (last - first).tolist()
    if sum(counts) + sum(counts[change.row] for change in changes) > BY_ROW:
        write_label_rows(out, found, vocabulary, max_length, facts)
        return
    records, captions = zip(*found, strict=True)
    encoded = [ids for own in captions for ids in own]
    write_labels(out, records, vocabulary, encoded, max_length, facts)


def _rows(
    labels: "Labels", changes: Sequence["Change"]
) -> Iterator[tuple["ImageRecord", list["np.ndarray"]]]:
    """Each record with the token ids of its captions."""
    for row, record in enumerate(labels.records):
        yield _row(labels, row, record.id, f"original/{record.path}")
    for change in changes:
        path = change.path(labels.records[change.row].path)
        yield _row(labels, change.row, path, path)


def _row(
    labels: "Labels", row: int, image_id: int | str, path: str
) -> tuple["ImageRecord", list["np.ndarray"]]:
    record, (first, last) = labels.records[row], labels.ranges[row]
    captions = [labels.labels[i, : labels.lengths[i]] for i in range(first, last)]
    # labels of earlier systems have tokens only
    texts = record.captions or tuple(labels.vocabulary.sentence(ids) for ids in captions)
    return replace(record, id=image_id, path=path, captions=texts), captions


if __name__ == "__main__":
    sys.exit(command.run(Options, main))
