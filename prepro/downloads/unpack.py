"""Unpack the wanted members of a ZIP file; a stopped run goes on with the next member.

In: an archive file. Out: its members below a folder, each whole or not at all.
"""

import shutil
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from eval.files import partial_name
from prepro.annotations.validation import escapes_folder
from prepro.downloads.archives import Archive


def unpack(archive: Archive, path: Path, folder: Path, report: Callable[[int], None]) -> int:
    """Unpack `archive.members` of the ZIP file `path`. Returns the number of files.

    `report` is called with the bytes of each file. The CRC-32 of each member is checked. ValueError
    for a file that is no ZIP, lacks a member, or has one that would lie outside `folder`.
    """
    try:
        with zipfile.ZipFile(path) as file:
            chosen = [info for info in file.infolist() if _is_wanted(info.filename, archive)]
            _require_all(archive, chosen, path)
            for info in chosen:
                _extract(file, info, folder)
                report(info.file_size)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        raise ValueError(f"{path}: {error}; remove it and run the command again") from None
    return len(chosen)


def _is_wanted(name: str, archive: Archive) -> bool:
    if name.endswith("/"):
        return False
    return any(
        name.startswith(member) if member.endswith("/") else name == member
        for member in archive.members
    )


def _require_all(archive: Archive, chosen: list[zipfile.ZipInfo], path: Path) -> None:
    for member in archive.members:
        if not any(info.filename.startswith(member) for info in chosen):
            raise ValueError(f"{path}: {member} is missing; remove it and run the command again")
    for info in chosen:
        if escapes_folder(info.filename):
            raise ValueError(f"{path}: the member {info.filename!r} lies outside the folder")
    total = sum(info.file_size for info in chosen)
    if total > 2 * archive.unpacked:
        raise ValueError(f"{path}: {total:,} bytes unpacked, expected {archive.unpacked:,}")


def _extract(file: zipfile.ZipFile, info: zipfile.ZipInfo, folder: Path) -> None:
    target = folder / info.filename
    if target.exists() and target.stat().st_size == info.file_size:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_name(target)  # without the fsync of whole_file: a lost file is unpacked again
    try:
        with file.open(info) as source, open(partial, "wb") as copy:
            shutil.copyfileobj(source, copy, 1 << 20)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
