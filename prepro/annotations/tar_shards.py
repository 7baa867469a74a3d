"""WebDataset's and img2dataset's shards: NAME.jpg beside NAME.txt or NAME.json in tar files.

In: a tar file. Out: an ImageRecord for each picture, in order, whose path is TAR/NAME.jpg. The
pictures are not read. What is malformed costs its own picture, and is counted.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from prepro.annotations.defects import Defects
from prepro.annotations.records import ImageRecord
from prepro.annotations.validation import escapes_folder
from prepro.remote import opened
from prepro.tar_images import BadTar, Member, indexed, members

PICTURES = ("jpg", "jpeg", "png", "webp")
TEXTS = ("json", "txt")
LIMIT = 1 << 20  # bytes of a NAME.txt or NAME.json
MOST = 1000  # captions of a picture
TWICE = "names that occur more than once in a shard"


def read(path: Path, prefix: str, split: str, defects: Defects) -> Iterator[ImageRecord]:
    """The pictures of one shard; `prefix` is its path in the picture folder."""
    names: set[int] = set()  # hashes of the samples of this shard, to notice a second one
    with opened(path) as file:
        group: dict[str, Member] = {}
        stem, is_second = None, False
        for member, key, kind in _members(file, path, prefix, defects):
            if key != stem:
                yield from _sample(file, prefix, group, split, defects)
                group, stem, is_second = {}, key, hash(key) in names
                names.add(hash(key))
                if is_second:
                    defects.add(TWICE, f"{prefix}/{key}")
            if kind in group:
                defects.add(TWICE, f"{prefix}/{member.name}")
            elif not is_second:
                group[kind] = member
        yield from _sample(file, prefix, group, split, defects)


def _members(
    file: BinaryIO, path: Path, prefix: str, defects: Defects
) -> Iterator[tuple[Member, str, str]]:
    """The members that are a picture or a text: the member, its sample and its kind."""
    try:
        for member in indexed(path, members(file)):
            folder, slash, name = member.name.rpartition("/")
            stem, _, kind = name.partition(".")
            kind = kind.lower()
            if kind not in PICTURES + TEXTS:
                continue
            if not member.is_file:
                defects.add("members that are links or sparse files", f"{prefix}/{member.name}")
            elif escapes_folder(member.name) or not member.name.isprintable():
                defects.add("members with a name that is none in a folder", member.name)
            else:
                yield member, folder + slash + stem, "picture" if kind in PICTURES else kind
    except BadTar as error:
        defects.add("shards that are damaged, read up to there", f"{path}: {error}")


def _sample(
    file: BinaryIO, prefix: str, group: dict[str, Member], split: str, defects: Defects
) -> Iterator[ImageRecord]:
    """The record of one sample; nothing, and a defect, if it has no picture or no caption."""
    if not group:
        return
    name = f"{prefix}/{next(iter(group.values())).name}"
    if "picture" not in group:
        defects.add("captions without a picture", name)
        return
    captions: tuple[str, ...] = ()
    for kind in TEXTS:
        member = group.get(kind)
        if member is not None and not captions:
            captions = _captions(file, member, kind, f"{prefix}/{member.name}", defects)
    if captions:
        path = f"{prefix}/{group['picture'].name}"
        yield ImageRecord(path, path, split, captions)
    else:
        defects.add("pictures without a caption", name)


def _captions(
    file: BinaryIO, member: Member, kind: str, name: str, defects: Defects
) -> tuple[str, ...]:
    if member.size > LIMIT:
        defects.add(f"captions of more than {LIMIT:,} bytes", name)
        return ()
    file.seek(member.offset)
    try:
        text = file.read(member.size).decode("utf-8-sig")
        value = [text] if kind == "txt" else _of_json(json.loads(text))
    except (ValueError, RecursionError):
        defects.add("captions that cannot be read", name)
        return ()
    found = [one.strip() for one in value if isinstance(one, str) and one.strip()]
    return tuple(found[:MOST])


def _of_json(value: object) -> list:
    if not isinstance(value, dict):
        raise ValueError
    found = value.get("captions", value.get("caption"))
    return found if isinstance(found, list) else [found]
