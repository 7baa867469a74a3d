"""Annotation files in, a checked list of ImageRecord out, with one report of all that is wrong.

The files may be COCO captions JSON, Karpathy's dataset_*.json, Flickr8k/30k token files, a table
(CSV or JSON lines) beside a folder of pictures, neuraltalk2's raw list, or its cocotalk.json;
`prepro/formats.py` reads each. A record's split comes from the file, from `--split` lists, from
the file's name, or, when nothing says, from its id.
"""

import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from eval.files import read_json

SPLITS = ("train", "val", "test")
# Karpathy's `restval` images belong to training; Flickr8k calls its validation split `dev`.
ALIASES = {"restval": "train", "dev": "val", "valid": "val", "validation": "val"}


@dataclass(frozen=True)
class ImageRecord:
    """One picture and what people said of it; `path` is relative to the folder of pictures."""

    id: int | str
    path: str
    split: str
    captions: tuple[str, ...]


def read(
    files: Sequence[Path], format: str = "auto", splits: Sequence[Path] = ()
) -> tuple[list[ImageRecord], list[str]]:
    """The records of all `files`, each with its split, and remarks worth telling the user.

    Raises ValueError with every defect that makes the data unusable, FileNotFoundError.
    """
    from prepro.formats import read_file  # which needs ImageRecord from here

    records: list[ImageRecord] = []
    for file in files:
        guess = _split_in_name(Path(file).stem)
        for record in read_file(Path(file), format):
            split = ALIASES.get(record.split, record.split) or guess
            records.append(record if split == record.split else replace(record, split=split))
    if splits:
        records = _apply_lists(records, splits)
    records, remarks = _give_splits(records)
    return _check(records, remarks)


def _split_in_name(stem: str) -> str:
    """`train` in captions_train2017, `val` in Flickr_8k.devImages; empty when the name is mute."""
    found = [name for name in (*SPLITS, *ALIASES) if name in stem.lower()]
    return ALIASES.get(found[0], found[0]) if found else ""


def _apply_lists(records: list[ImageRecord], lists: Sequence[Path]) -> list[ImageRecord]:
    """Keep the pictures that the lists name, each in its list's split.

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
            split = _split_in_name(path.stem)
            if not split:
                raise ValueError(f"{path}: its name must say train, val, dev or test")
            table = {split: path.read_text(encoding="utf-8-sig").split("\n")}
        for split, names in table.items():
            split_of |= {str(name).strip(): ALIASES.get(split, split) for name in names}
    chosen = []
    for record in records:
        split = split_of.get(record.path) or split_of.get(str(record.id))
        if split or (split := split_of.get(Path(record.path).name)):
            chosen.append(replace(record, split=split))
    if not chosen:
        raise ValueError(f"{lists[0]}: names none of the {len(records):,} pictures")
    return chosen


def _give_splits(records: list[ImageRecord]) -> tuple[list[ImageRecord], list[str]]:
    """Records without a split get one from their id: 80 % train, 10 % val, 10 % test."""
    mute = sum(not record.split for record in records)
    if not mute:
        return records, []
    if mute < len(records):
        first = next(record for record in records if not record.split)
        raise ValueError(
            f"{mute:,} of {len(records):,} pictures have no split (first: {first.path})"
        )
    order = sorted(records, key=lambda record: (zlib.crc32(str(record.id).encode()), record.path))
    tenth = max(1, len(order) // 10)
    names = ["val"] * tenth + ["test"] * tenth
    split_of = {id(record): name for record, name in zip(order, names, strict=False)}
    given = [replace(record, split=split_of.get(id(record), "train")) for record in records]
    return given, ["no split given: drew 80 % train, 10 % val and 10 % test by the pictures' ids"]


def _check(records: list[ImageRecord], remarks: list[str]) -> tuple[list[ImageRecord], list[str]]:
    """Every defect in one pass: the fatal ones in one ValueError, the others as remarks."""
    if not records:
        raise ValueError("the annotations name no picture")
    fatal = []
    for what, values in (("id", [r.id for r in records]), ("path", [r.path for r in records])):
        twice = [str(value) for value, count in Counter(map(str, values)).items() if count > 1]
        fatal += _offenders(f"{what}s that occur more than once", twice)
    odd = [repr(r.path) for r in records if leads_out(r.path)]
    fatal += _offenders("paths that are not names inside the picture folder", odd)
    unknown = sorted({r.split for r in records} - set(SPLITS))
    fatal += _offenders(f"splits other than {', '.join(SPLITS)}", unknown)
    clean = [replace(r, captions=tuple(c for c in r.captions if c.strip())) for r in records]
    pairs = zip(records, clean, strict=True)
    empty = [str(r.id) for r, c in pairs if len(c.captions) < len(r.captions)]
    remarks = remarks + _offenders("pictures with empty captions, which are left out", empty)
    mute = [str(r.id) for r in clean if not r.captions and r.split != "test"]
    fatal += _offenders("pictures outside the test split without a caption", mute)
    if not any(r.split == "train" for r in clean):
        fatal.append("no picture in the train split")
    if fatal:
        raise ValueError("; ".join(fatal))
    return clean, remarks


def leads_out(path: str) -> bool:
    """Whether a name is absolute, climbs, or is none: what no list of pictures needs."""
    odd = not path or path[0] == "/" or "\\" in path or "\0" in path or path[1:2] == ":"
    return odd or ".." in path.split("/")


def _offenders(what: str, names: list[str]) -> list[str]:
    """[] for none, else one phrase with their number and the first five."""
    if not names:
        return []
    return [f"{len(names):,} {what} ({', '.join(names[:5])}{', ...' if len(names) > 5 else ''})"]
