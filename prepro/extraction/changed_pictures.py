"""Pictures whose files have changed since their features were computed.

In: the reader of the pictures and a FeatureFile. Out: the rows whose features are of other bytes.
As git does, a file whose size and time of change are those of then is taken to be the same; of the
others the bytes are read and hashed. A picture that is not there any more keeps its features.
"""

import numpy as np

from prepro.extraction.image_loader import NO_STAMP, ImageFolderReader, digest
from prepro.extraction.summary import print_message
from prepro.images import BadImage
from prepro.runtime.progress_bar import ProgressBar
from prepro.storage.feature_file import DONE, FeatureFile

NAMED = 20  # pictures that are named


def changed_rows(
    file: FeatureFile, reader: ImageFolderReader
) -> tuple[np.ndarray, dict[int, tuple[int, int]]]:
    """Rows (n,) of `file`, rising, which a message names; {row: stamp} of other files that are new.

    Nothing of a file without hashes.
    """
    rows, stamps = [], {}
    if file.picture is None:
        return np.empty(0, np.int64), stamps
    touched = touched_rows(file, reader)
    with ProgressBar(len(touched), "check") as progress:
        for row in touched:
            stamp = reader.stamp(row)
            if _bytes_differ(file, reader, row):
                rows.append(row)
            else:
                stamps[row] = stamp
            progress.add(1)
    for row in rows[:NAMED]:
        print_message(f"{reader.names[row]}: changed since its features were computed")
    if len(rows) > NAMED:
        print_message(f"{len(rows):,} pictures changed since their features were computed")
    return np.array(rows, np.int64), stamps


def touched_rows(file: FeatureFile, reader: ImageFolderReader) -> list[int]:
    """The rows, rising, of pictures whose file has another size or time of change than then."""
    if file.picture is None:
        return []
    done = np.flatnonzero(file.status == DONE).tolist()
    return [row for row in done if reader.stamp(row) not in (NO_STAMP, _stamp(file, row))]


def _stamp(file: FeatureFile, row: int) -> tuple[int, int]:
    _, size, changed = file.picture[row].tolist()
    return size, changed


def _bytes_differ(file: FeatureFile, reader: ImageFolderReader, row: int) -> bool:
    try:
        return digest(reader.read(row)) != file.picture[row, 0]
    except BadImage:
        return False
