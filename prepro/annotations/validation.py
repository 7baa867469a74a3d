"""Validate annotations: records in, one report out. Errors stop the command, warnings do not.

    prepro.labels: defects of captions.json
      error    ids that occur more than once: 2 (7, 9)
      warning  pictures with empty captions, which are left out: 1 (4)

Each kind of defect is one line: the count and the first five.
"""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING

from eval.files import printable
from prepro.remote import RemotePath

if TYPE_CHECKING:
    from prepro.annotations.records import ImageRecord

SPLITS = ("train", "val", "test")
SHOWN = 5  # entries that a line names


@dataclass
class Report:
    """The defects found, one line for each kind."""

    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def error(self, kind: str, entries: Iterable[object]) -> None:
        """Add a line; `kind` in the plural, "ids that ...". No line without entries."""
        self.errors += _line(kind, list(entries))

    def warning(self, kind: str, entries: Iterable[object]) -> None:
        """As `error`, for a defect that does not stop the command."""
        self.warnings += _line(kind, list(entries))

    def __str__(self) -> str:
        """The lines of the report, errors first; "" without defects."""
        lines = [f"  error    {line}" for line in self.errors]
        return "\n".join(lines + [f"  warning  {line}" for line in self.warnings])


def _line(kind: str, entries: list) -> list[str]:
    if not entries:
        return []
    more = ", ..." if len(entries) > SHOWN else ""
    named = ", ".join(map(printable, entries[:SHOWN]))
    return [f"{kind}: {len(entries):,} ({named}{more})"]


def check(records: Sequence["ImageRecord"], report: Report) -> list["ImageRecord"]:
    """The records without their empty captions; all defects go into `report`."""
    if not records:
        report.errors.append("the annotations list no picture")
        return []
    _check_names(records, report)
    report.error(
        "pictures with a caption that is no text",
        (record.id for record in records if not {str}.issuperset(map(type, record.captions))),
    )
    cleaned = [_without_empty(record) for record in records]
    empty = (old.id for old, new in zip(records, cleaned, strict=True) if old is not new)
    report.warning("pictures with empty captions, which are left out", empty)
    uncaptioned = (
        record.id for record in cleaned if not record.captions and record.split != "test"
    )
    report.error("pictures outside the test split without a caption", uncaptioned)
    return cleaned


def _check_names(records: Sequence["ImageRecord"], report: Report) -> None:
    ids, paths = [record.id for record in records], [record.path for record in records]
    invalid = (repr(id) for id in ids if isinstance(id, bool) or not isinstance(id, int | str))
    report.error("ids that are neither a number nor a text", invalid)
    report.error("ids that occur more than once", _duplicates(ids))
    outside = (repr(path) for path in paths if not isinstance(path, str) or escapes_folder(path))
    report.error("paths outside the picture folder", outside)
    report.error("paths that occur more than once", _duplicates(paths))
    splits = {record.split for record in records}
    report.error(f"splits other than {', '.join(SPLITS)}", sorted(splits - {*SPLITS, ""}))
    report.error("pictures without a split", (r.path for r in records if not r.split))
    if "train" not in splits:
        report.errors.append("no picture in the train split")


def _duplicates(values: Iterable[object]) -> list[str]:
    return [value for value, count in Counter(map(str, values)).items() if count > 1]


def _without_empty(record: "ImageRecord") -> "ImageRecord":
    with suppress(TypeError):  # of a caption that is no text
        if all(map(str.strip, record.captions)):
            return record
    kept = [isinstance(text, str) and bool(text.strip()) for text in record.captions]
    tokens = None if record.tokens is None else tuple(compress(record.tokens, kept))
    return replace(record, captions=tuple(compress(record.captions, kept)), tokens=tokens)


def escapes_folder(path: str) -> bool:
    """Whether a path is empty, absolute, or has "..", a backslash, a NUL or a drive letter."""
    odd = not path or path[0] == "/" or "\\" in path or "\0" in path or path[1:2] == ":"
    return odd or ".." in path.split("/")


def warn_missing_images(records: Sequence["ImageRecord"], folder: Path, report: Report) -> None:
    """Warn of image files that do not exist in `folder`.

    This is no error, since external features need no images. Object storage is not asked.
    """
    if isinstance(folder, RemotePath):
        return
    names: dict[str, set[str]] = {}  # subfolder of `folder` -> names of its files
    missing = []
    for record in records:
        inner, _, name = record.path.rpartition("/")
        if inner not in names:
            exists = (folder / inner).is_dir()
            names[inner] = set(os.listdir(folder / inner)) if exists else set()
        if name not in names[inner]:
            missing.append(record.path)
    if len(missing) < len(records):
        report.warning(f"pictures missing in {folder}", missing)
    else:
        none = f"none of the {len(records):,} pictures is in {folder} (--images): no {missing[0]}"
        report.warnings.append(none)
