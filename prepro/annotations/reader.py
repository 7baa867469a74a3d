"""Annotation files in, a list of ImageRecord out, with one report of all defects.

prepro/annotations/formats/ has a reader for each format. A record's split comes from `--split`
lists, else from the file, else from the file's name, else from a hash of the record's id.
"""

import re
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from eval.files import read_json
from prepro.annotations import formats
from prepro.annotations.records import ImageRecord, StoredVocabulary
from prepro.annotations.validation import SPLITS, Report, check

# Karpathy's `restval` are training images taken from COCO val; Flickr8k's `dev` is validation.
ALIASES = {"restval": "train", "dev": "val", "valid": "val", "validation": "val"}


def read(
    files: Sequence[Path], format: str = "auto", splits: Sequence[Path] = ()
) -> tuple[list[ImageRecord], Report]:
    """The records of all `files`, each with its split, and a report of their defects.

    Records are unusable when the report has errors. Raises ValueError for a file that
    cannot be read as annotations at all, FileNotFoundError.
    """
    records: list[ImageRecord] = []
    report = Report()
    for file in files:
        guess = split_in_name(Path(file).stem)
        for record in formats.read_file(Path(file), format, report):
            split = str(record.split or "")
            split = ALIASES.get(split, split) or guess
            records.append(record if split == record.split else replace(record, split=split))
    if splits:
        records = _apply_lists(records, splits, report)
    return check(_give_splits(records, report), report), report


def read_vocabulary(
    records: Sequence[ImageRecord], files: Sequence[Path], format: str = "auto"
) -> StoredVocabulary | None:
    """The vocabulary that all `files` of the `records` store; None if they hold texts.

    ValueError for several files of which one stores a vocabulary that another lacks.
    """
    if all(record.tokens is None for record in records):
        return None
    found = [formats.read_vocabulary(Path(file), format) for file in files]
    if len({stored and stored.words for stored in found}) > 1:
        raise ValueError(f"{files[0]}: the files do not share one vocabulary; read them one by one")
    return StoredVocabulary(found[0].words, max(stored.max_length for stored in found))


def split_in_name(stem: str) -> str:
    """`train` in captions_train2017, `val` in Flickr_8k.devImages; "" without a split.

    The name must be a word of its own: "captions_latest" and "retrieval" name no split.
    """
    words = re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", stem).lower())
    found = [name for name in (*SPLITS, *ALIASES) if name in words]
    return ALIASES.get(found[0], found[0]) if found else ""


def _apply_lists(
    records: list[ImageRecord], lists: Sequence[Path], report: Report
) -> list[ImageRecord]:
    """Keep the images that the lists name, each in its list's split.

    A list is a text file, one file name or id a line, with the split in its own name; or a JSON
    object {"train": [ids or names], "val": [...], ...}.
    """
    split_of: dict[str, str] = {}
    for path in map(Path, lists):
        if path.suffix == ".json":
            table = read_json(path)
            if not isinstance(table, dict):
                raise ValueError(f'{path}: expected {{"train": [...], "val": [...]}}')
        else:
            split = split_in_name(path.stem)
            if not split:
                raise ValueError(f"{path}: its name must contain train, val, dev or test")
            if not path.is_file():
                raise FileNotFoundError(f"{path}: no such list of a split (--split)")
            table = {split: path.read_text("utf-8-sig", "replace").split("\n")}
        for split, names in table.items():
            split_of |= {str(name).strip(): ALIASES.get(split, split) for name in names}
    chosen, unlisted = [], []
    for record in records:
        split = split_of.get(record.path) or split_of.get(str(record.id))
        if split or (split := split_of.get(Path(record.path).name)):
            chosen.append(replace(record, split=split))
        else:
            unlisted.append(record.path)
    if not chosen:
        raise ValueError(f"{lists[0]}: names none of the {len(records):,} pictures")
    report.warning("pictures left out, which no list of a split names", unlisted)
    return chosen


def _give_splits(records: list[ImageRecord], report: Report) -> list[ImageRecord]:
    """Draw splits from a hash of the ids if no record has one: 80 % train, 10 % val, 10 % test."""
    if not records or any(record.split for record in records):
        return records
    if len(records) < 3:
        report.errors.append(f"{len(records)} pictures: too few to draw splits; give --split")
        return [replace(record, split="train") for record in records]
    order = sorted(
        records,
        key=lambda record: (
            zlib.crc32(str(record.id).encode("utf-8", "surrogateescape")),
            record.path,
        ),
    )
    tenth = max(1, len(order) // 10)
    names = ["val"] * tenth + ["test"] * tenth
    split_of = {id(record): name for record, name in zip(order, names, strict=False)}
    report.warnings.append("no splits: drew 80 % train, 10 % val, 10 % test by the pictures' ids")
    return [replace(record, split=split_of.get(id(record), "train")) for record in records]
