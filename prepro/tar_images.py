"""Pictures that stay in their tar files: `shards/00000.tar/NAME.jpg` is a member of a shard.

In: a tar file. Out: its members, header by header, and the bytes of one by its name. An index (24
bytes a member) is made when a shard is first read; the indexes of the last shards are kept, and
those of tar files in object storage also in the user's cache, since their making reads the file. A
file is opened for each read, so that no number of shards runs out of open files.
"""

import functools
import hashlib
import os
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from eval.files import whole_file
from prepro.remote import RemotePath, opened, read_range, version

BLOCK = tarfile.BLOCKSIZE
MAX_HEADER = 1 << 20  # bytes of a long name or of a pax header
INDEXES = 1024  # shards whose index is kept
REGULAR = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)


class BadTar(ValueError):
    """A tar file that is cut off or damaged; the message is the reason."""


class Member(NamedTuple):
    name: str
    """without a leading "./"; bytes that are not UTF-8 are surrogates"""
    is_file: bool
    """False for folders, links, devices and sparse files, which are not read"""
    offset: int
    """of its bytes in the tar file"""
    size: int


def members(file: BinaryIO) -> Iterator[Member]:
    """The members of an open, uncompressed tar file, in order; only headers are read.

    BadTar after the last whole member of a file that is cut off or damaged.
    """
    end, position = file.seek(0, os.SEEK_END), 0
    name, pax = "", {}
    while position < end:
        info = _header(file, position, end)
        if info is None:
            return
        size = info.size
        if info.type in REGULAR and "size" in pax:
            size = _number(pax["size"], position)
        start = position + BLOCK
        position = start + -(-size // BLOCK) * BLOCK
        if size < 0 or start + size > end:
            raise BadTar(f"cut off, or damaged, at byte {start - BLOCK:,}")
        if info.type in (tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE):
            if size > MAX_HEADER:
                raise BadTar(f"a header of {size:,} bytes at byte {start - BLOCK:,}")
            data = _read(file, size, start)
            if info.type == tarfile.GNUTYPE_LONGNAME:
                name = _text(data.split(b"\0")[0])
            else:
                pax = _pax(data, start)
        elif info.type not in (tarfile.GNUTYPE_LONGLINK, tarfile.XGLTYPE):
            sparse = any(key.startswith("GNU.sparse") for key in pax)
            found = pax.get("path") or name or info.name
            yield Member(found.removeprefix("./"), info.type in REGULAR and not sparse, start, size)
            name, pax = "", {}
    raise BadTar("cut off, without the mark that ends a tar file")


def _header(file: BinaryIO, position: int, end: int) -> tarfile.TarInfo | None:
    """The header at `position`; None for the block of zeros that ends a tar file."""
    block = _read(file, BLOCK, position)
    if len(block) == BLOCK and not any(block):
        return None
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError, OverflowError) as error:
        what = "not an uncompressed tar file" if not position else f"damaged at byte {position:,}"
        raise BadTar(f"{what} ({error})") from None


def _read(file: BinaryIO, size: int, position: int) -> bytes:
    file.seek(position)
    return file.read(size)


def _number(text: str, position: int) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise BadTar(f"damaged at byte {position:,} (a size of {text[:20]!r})")
    return int(text)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _pax(data: bytes, position: int) -> dict[str, str]:
    """The records "LENGTH KEY=VALUE\\n" of a pax header."""
    found = {}
    while data and data[0]:
        length = data[:20].partition(b" ")[0]
        if not length.isdigit() or not len(length) + 2 < int(length) <= len(data):
            raise BadTar(f"damaged at byte {position:,} (a pax header)")
        record, data = data[len(length) + 1 : int(length) - 1], data[int(length) :]
        key, _, value = record.partition(b"=")
        found[_text(key)] = _text(value)
    return found


def split_path(path: Path) -> tuple[Path, str] | None:
    """The tar file and the member that `path` names; None if no part of it is a tar file."""
    for parent in path.parents:
        is_tar = parent.suffix.lower() == ".tar"
        if is_tar and (isinstance(parent, RemotePath) or parent.is_file()):
            return parent, path.relative_to(parent).as_posix()
    return None


def read_member(path: Path, limit: int) -> bytes:
    """The bytes of a picture in a tar file. FileNotFoundError, or BadTar for more than `limit`."""
    found = split_path(path)
    if found is None or ".." in found[1].split("/"):
        raise FileNotFoundError(path)
    tar, name = found
    index = _index(tar, version(tar))
    key = _key(name)
    at = int(np.searchsorted(index[:, 0], key))
    if at == len(index) or index[at, 0] != key:
        raise FileNotFoundError(path)
    _, offset, size = index[at].tolist()
    if size > limit:
        raise BadTar(f"{size:,} bytes, more than {limit:,}")
    data = read_range(tar, offset, size)
    if len(data) != size:
        raise BadTar("cut off")
    return data


def indexed(tar: Path, found: Iterator[Member]) -> Iterator[Member]:
    """All members `found` in a tar file; when they are read, its index is kept if it is elsewhere.

    So what reads the captions of a tar file in object storage has read it for the pictures too.
    """
    rows = []
    try:
        for member in found:
            if member.is_file and isinstance(tar, RemotePath):
                rows.append((_key(member.name), member.offset, member.size))
            yield member
    except BadTar:
        _keep(tar, rows)
        raise
    _keep(tar, rows)


def _keep(tar: Path, rows: Sequence[tuple[int, int, int]]) -> None:
    if isinstance(tar, RemotePath) and rows:
        with (
            suppress(OSError),  # a full disk, say
            whole_file(_cache(tar, version(tar))) as partial,
            open(partial, "wb") as file,
        ):
            np.save(file, _sorted(rows))


def _cache(tar: Path, version: tuple) -> Path:
    """The file of the index of this version of a tar file."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    name = hashlib.sha256(f"{tar} {version}".encode()).hexdigest()[:32]
    return folder / "resnet-caption" / "tar" / f"{name}.npy"


@functools.lru_cache(INDEXES)
def _index(tar: Path, version: tuple) -> np.ndarray:
    """Key, offset and size of a tar file's members, (n, 3) int64, sorted by the key.

    Of members of one name, the first counts. A file that is cut off has the members before the cut.
    """
    if isinstance(tar, RemotePath):
        with suppress(OSError, ValueError):  # not there, or damaged
            kept = np.load(_cache(tar, version), allow_pickle=False)
            if kept.dtype == np.int64 and kept.ndim == 2 and kept.shape[1] == 3:
                return kept
    rows = []
    with opened(tar) as file:
        try:
            for member in indexed(tar, members(file)):
                if member.is_file:
                    rows.append((_key(member.name), member.offset, member.size))
        except BadTar:
            if not rows:
                raise
    return _sorted(rows)


def _sorted(rows: Sequence[tuple[int, int, int]]) -> np.ndarray:
    table = np.array(rows, np.int64).reshape(-1, 3)
    _, first = np.unique(table[:, 0], return_index=True)
    return table[first]


def _key(name: str) -> int:
    """A hash of a member's name, a signed number of 8 bytes."""
    digest = hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8)
    return int.from_bytes(digest.digest(), "little", signed=True)
