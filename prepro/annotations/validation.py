"""Are the annotations fit for use? Records in, one report out: errors stop, warnings do not.

    prepro.labels: what is wrong with captions.json
      error    ids that occur more than once: 2 (7, 9)
      warning  pictures with empty captions, which are left out: 1 (4)

Every kind of defect is one line: how many, and the first five.
"""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prepro.annotations.records import ImageRecord

SPLITS = ("train", "val", "test")
SHOWN = 5  # offenders that a line names


@dataclass
class Report:
    """What was found, a line for each kind of defect."""

    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def error(self, what: str, offenders: Iterable[object]) -> None:
        """`what` in the plural, "ids that are odd"; no line when there are no offenders."""
        self.errors += _line(what, list(offenders))

    def warning(self, what: str, offenders: Iterable[object]) -> None:
        self.warnings += _line(what, list(offenders))

    def __str__(self) -> str:
        """The lines of the report, the errors first; "" when nothing is wrong."""
        lines = [f"  error    {line}" for line in self.errors]
        return "\n".join(lines + [f"  warning  {line}" for line in self.warnings])


def _line(what: str, offenders: list) -> list[str]:
    if not offenders:
        return []
    more = ", ..." if len(offenders) > SHOWN else ""
    named = ", ".join(map(str, offenders[:SHOWN]))
    return [f"{what}: {len(offenders):,} ({named}{more})"]


def check(records: Sequence["ImageRecord"], report: Report) -> list["ImageRecord"]:
    """The records without their empty captions; all that is wrong with them goes into `report`."""
    if not records:
        report.errors.append("no picture at all")
        return []
    _check_names(records, report)
    report.error(
        "pictures with a caption that is no text",
        (record.id for record in records if not {str}.issuperset(map(type, record.captions))),
    )
    spoken = [_without_empty(record) for record in records]
    empty = (old.id for old, new in zip(records, spoken, strict=True) if old is not new)
    report.warning("pictures with empty captions, which are left out", empty)
    mute = (record.id for record in spoken if not record.captions and record.split != "test")
    report.error("pictures outside the test split without a caption", mute)
    return spoken


def _check_names(records: Sequence["ImageRecord"], report: Report) -> None:
    ids, paths = [record.id for record in records], [record.path for record in records]
    strange = (repr(id) for id in ids if not isinstance(id, int | str))
    report.error("ids that are neither a number nor a text", strange)
    report.error("ids that occur more than once", _twice(ids))
    odd = (repr(path) for path in paths if not isinstance(path, str) or escapes_folder(path))
    report.error("paths that are no names inside the picture folder", odd)
    report.error("paths that occur more than once", _twice(paths))
    splits = {record.split for record in records}
    report.error(f"splits other than {', '.join(SPLITS)}", sorted(splits - {*SPLITS, ""}))
    report.error("pictures without a split", (r.path for r in records if not r.split))
    if "train" not in splits:
        report.errors.append("no picture in the train split")


def _twice(values: Iterable[object]) -> list[str]:
    return [value for value, count in Counter(map(str, values)).items() if count > 1]


def _without_empty(record: "ImageRecord") -> "ImageRecord":
    with suppress(TypeError):  # of a caption that is no text
        if all(map(str.strip, record.captions)):
            return record
    kept = (text for text in record.captions if isinstance(text, str) and text.strip())
    return replace(record, captions=tuple(kept))


def escapes_folder(path: str) -> bool:
    """Whether a name is absolute, climbs, or is none: what no list of pictures needs."""
    odd = not path or path[0] == "/" or "\\" in path or "\0" in path or path[1:2] == ":"
    return odd or ".." in path.split("/")


def warn_missing_images(records: Sequence["ImageRecord"], folder: Path, report: Report) -> None:
    """Warn of pictures that are not there: a few are missed, or `folder` is another one.

    No error, since features that somebody else made need no pictures.
    """
    names: dict[str, set[str]] = {}  # folder inside `folder` -> what it holds
    missing = []
    for record in records:
        inner, _, name = record.path.rpartition("/")
        if inner not in names:
            there = (folder / inner).is_dir()
            names[inner] = set(os.listdir(folder / inner)) if there else set()
        if name not in names[inner]:
            missing.append(record.path)
    if len(missing) < len(records):
        report.warning(f"pictures missing in {folder}", missing)
    else:
        none = f"none of the {len(records):,} pictures is in {folder} (--images): no {missing[0]}"
        report.warnings.append(none)
