"""Messages about the state of a features.h5 file.

In: a path or a FeatureWriter. Out: a summary on stdout, bad images and other messages on stderr.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from prepro.storage.feature_file import BAD, DONE, FeatureFile
from prepro.storage.feature_writer import FeatureWriter

COMMAND = "prepro.features"


def print_summary(path: Path, names: Sequence[str]) -> int:
    """Print what the file holds; returns 1 if an image could not be read. names: of its rows."""
    file = FeatureFile(path)
    regions, dim = file.provenance.regions, file.provenance.dim
    done = int((file.status == DONE).sum())
    grid = f"{regions} regions and " if regions else ""
    size = path.stat().st_size / 2**20
    print(f"{path}: {count_pictures(done)}, {grid}a vector of {dim} each, {size:,.1f} MiB")
    for row, reason in list(file.bad.items())[:20]:
        print_message(f"{names[row]}: {reason}")
    if file.bad:
        print_message(f"{len(file.bad):,} of {count_pictures(len(file))} could not be read")
    return 1 if file.bad else 0


def count_rows(writer: FeatureWriter) -> str:
    done, bad = (int((writer.status == status).sum()) for status in (DONE, BAD))
    missing = len(writer.status) - done - bad
    return (
        f"{done:,} of {count_pictures(len(writer.status))} done, {bad:,} bad, {missing:,} missing"
    )


def count_pictures(count: int) -> str:
    return f"{count:,} picture" if count == 1 else f"{count:,} pictures"


def print_message(text: str) -> None:
    print(f"{COMMAND}: {text}", file=sys.stderr)
