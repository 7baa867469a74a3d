"""Mirror the training pictures of a data folder: twice as many to learn from.

    python -m prepro.mirror --data data/mine --out data/mirrored

In: a data folder that prepro.labels wrote. Out: another, with the same vocabulary, to extract
features of. Its images/original links to the pictures (copies where the disk is another one), its
images/mirrored holds the mirrored training pictures as JPEG. A picture whose captions mention left
or right is not mirrored, since they would be false. Fine-tuning mirrors by itself; this gives the
same to a decoder that learns from stored features. A stopped run continues when the same command
runs again.
"""

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from eval import command

if TYPE_CHECKING:
    import numpy as np

    from prepro.annotations.records import ImageRecord
    from prepro.storage.label_file import Labels

QUALITY = 95  # of a mirrored JPEG
THREADS = min(8, os.cpu_count() or 1)  # Pillow decodes and encodes without holding Python's lock


@dataclass(frozen=True)
class Options:
    """Make a data folder that has the training pictures mirrored, too.

    Example: python -m prepro.mirror --data data/mine --out data/mirrored
    """

    data: Path
    """the data folder that prepro.labels wrote"""
    out: Path
    """data folder to write labels and pictures to"""


def main(options: Options) -> int:
    from prepro.extraction.summary import count_pictures
    from prepro.storage.label_file import read_labels
    from prepro.storage.left_right import mentions_left_or_right

    if options.out.resolve() == options.data.resolve():
        raise ValueError(f"--out {options.out}: this is the folder of --data; give another")
    labels = read_labels(options.data)
    sources = _sources(labels)
    is_train = [record.split == "train" for record in labels.records]
    rows = (~mentions_left_or_right(labels) & is_train).nonzero()[0]
    bad = _write_pictures(options.out / "images", labels.records, sources, rows.tolist())
    kept = [row for row in rows.tolist() if row not in bad]
    _write_labels(options.out, labels, kept)
    for row, reason in list(bad.items())[:20]:
        print(f"prepro.mirror: {labels.records[row].path}: {reason}", file=sys.stderr)
    count = count_pictures(len(sources))
    told = f"{options.out}: {count}, {len(kept):,} of them mirrored, too"
    print(told + (f"; {len(bad):,} could not be read" if bad else ""))
    return 1 if bad else 0


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
    images: Path, records: Sequence["ImageRecord"], sources: Sequence[Path], rows: Sequence[int]
) -> dict[int, str]:
    """Link or copy all pictures and mirror those at `rows`; returns row -> why it is bad."""
    from concurrent.futures import ThreadPoolExecutor

    from prepro.images import BadImage, inside
    from prepro.runtime.progress_bar import ProgressBar

    def mirror(row: int) -> str:
        try:
            write_mirrored(sources[row], inside(images, mirrored_name(records[row].path)))
        except BadImage as error:
            return str(error)
        return ""

    bad, pool = {}, ThreadPoolExecutor(THREADS)
    try:
        with ProgressBar(len(records) + len(rows), "pictures") as progress:
            for record, source in zip(records, sources, strict=True):
                _link(source, inside(images / "original", record.path))
                progress.add(1)
            for row, reason in zip(rows, pool.map(mirror, rows), strict=True):
                progress.add(not reason, bad=bool(reason))
                if reason:
                    bad[row] = reason
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


def mirrored_name(name: str) -> str:
    """The name of a mirrored picture, under images/."""
    is_jpeg = name.lower().endswith((".jpg", ".jpeg"))
    return f"mirrored/{name}" + ("" if is_jpeg else ".jpg")


def write_mirrored(source: Path, path: Path) -> None:
    """Write the picture with left and right exchanged, as it is seen. BadImage."""
    from PIL import ImageOps

    from eval.files import whole_file
    from prepro.images import open_rgb

    if path.exists() and path.stat().st_mtime >= source.stat().st_mtime:
        return
    picture = ImageOps.mirror(open_rgb(source))
    with whole_file(path) as partial:
        picture.save(partial, "JPEG", quality=QUALITY)


def _write_labels(out: Path, labels: "Labels", rows: Sequence[int]) -> None:
    """The labels of all pictures, followed by those of the mirrored pictures at `rows`."""
    from prepro.labels import BY_ROW
    from prepro.storage.label_file import write_labels
    from prepro.storage.label_row_writer import write_label_rows

    facts = {"dataset": out.name, "image_root": "images"}
    vocabulary, max_length = labels.vocabulary, labels.labels.shape[1]
    found = _rows(labels, rows)
    if len(labels.labels) + sum(len(labels.records[row].captions) for row in rows) > BY_ROW:
        write_label_rows(out, found, vocabulary, max_length, facts)
        return
    records, captions = zip(*found, strict=True)
    encoded = [ids for own in captions for ids in own]
    write_labels(out, records, vocabulary, encoded, max_length, facts)


def _rows(
    labels: "Labels", mirrored: Sequence[int]
) -> Iterator[tuple["ImageRecord", list["np.ndarray"]]]:
    """Each record with the token ids of its captions."""
    for row, record in enumerate(labels.records):
        yield replace(record, path=f"original/{record.path}"), _captions(labels, row)
    for row in mirrored:
        record = labels.records[row]
        path = mirrored_name(record.path)
        yield replace(record, id=path, path=path), _captions(labels, row)


def _captions(labels: "Labels", row: int) -> list["np.ndarray"]:
    first, last = labels.ranges[row]
    return [labels.labels[i, : labels.lengths[i]] for i in range(first, last)]


if __name__ == "__main__":
    sys.exit(command.run(Options, main))
