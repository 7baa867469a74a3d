"""Objects elsewhere, s3://bucket/shards/00000.tar, read through fsspec (the extra `remote`).

In: paths, as a user types them. Out: a RemotePath for an address; the bytes of either kind of path.
fsspec is imported when an address is first read. Whether a path is an address is its type, not its
text: `typed` alone makes a RemotePath, and a name below one stays below it (prepro.images.inside).
"""

import functools
import io
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from eval.files import ADDRESS

PROTOCOLS = ("s3", "gs", "gcs", "az", "abfs", "hf", "http", "https")
BLOCK = 4 << 20  # bytes that a stream reads at a time


class RemotePath(PurePosixPath):
    """An address; its parents, name, suffix and / are those of a path."""

    def __str__(self) -> str:
        protocol, *rest = self.parts
        return f"{protocol}//{'/'.join(rest)}"

    def relative_to(self, *other: str | PurePosixPath) -> PurePosixPath:
        return PurePosixPath(*super().relative_to(*other).parts)

    def resolve(self) -> "RemotePath":
        return self


def typed(path: str | Path) -> Path | RemotePath:
    """What a user means by `path`. ValueError for a chain of addresses and unknown protocols."""
    found = ADDRESS.fullmatch(str(path))
    if found is None:
        return Path(path)
    protocol, rest = found.groups()
    address = f"{protocol}://{rest}"
    if protocol == "file":
        return Path("/" + rest)
    if protocol not in PROTOCOLS:
        raise ValueError(f"{address}: not read from there; known are {', '.join(PROTOCOLS)}")
    if "::" in rest or ".." in rest.split("/") or not rest:
        raise ValueError(f"{address}: not the plain address of a file or a folder")
    return RemotePath(f"{protocol}:", rest)


def require(path: Path | RemotePath) -> None:
    """ValueError for an address whose protocol needs a package that is not installed."""
    if isinstance(path, RemotePath):
        _filesystem(path)


@contextmanager
def opened(path: Path | RemotePath) -> Iterator[BinaryIO]:
    """The file, open for reading; an object is read ahead, block by block."""
    if not isinstance(path, RemotePath):
        with open(path, "rb") as file:
            yield file
        return
    with _errors_named(path):
        system, name = _filesystem(path)
        with system.open(name, "rb", block_size=BLOCK, cache_type="readahead") as raw:
            yield io.BufferedReader(raw)


def read_range(path: Path | RemotePath, start: int, size: int) -> bytes:
    """`size` bytes from `start` on, fewer where the file ends; nothing else is read."""
    if isinstance(path, RemotePath):
        with _errors_named(path):
            system, name = _filesystem(path)
            return system.cat_file(name, start, start + size)
    with open(path, "rb", buffering=0) as file:
        return os.pread(file.fileno(), size, start)


def version(path: Path | RemotePath) -> tuple:
    """A value that changes with the file; of an object, that of this process's first look."""
    if isinstance(path, RemotePath):
        return _remote_version(path)
    found = os.stat(path)
    return found.st_size, found.st_mtime_ns


@functools.lru_cache(100_000)
def _remote_version(path: RemotePath) -> tuple:
    with _errors_named(path):
        system, name = _filesystem(path)
        return system.info(name)["size"], system.ukey(name)


@contextmanager
def copied(files: Sequence[Path | RemotePath]) -> Iterator[list[Path]]:
    """The files, those from elsewhere copied into a temporary folder under their names."""
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for number, file in enumerate(files):
            paths.append(file)
            if isinstance(file, RemotePath):
                paths[-1] = Path(folder, f"{number}", file.name)
                paths[-1].parent.mkdir()
                with opened(file) as source, open(paths[-1], "wb") as copy:
                    shutil.copyfileobj(source, copy, BLOCK)
        yield paths


def _filesystem(path: RemotePath) -> tuple:
    """fsspec's file system, which it keeps, and the name of the object in it."""
    try:
        from fsspec import url_to_fs

        return url_to_fs(str(path))
    except ImportError as error:
        raise ValueError(f"{path}: {error} (README, object storage)") from None
    except Exception as error:  # of any client: wrong settings, say
        raise ValueError(f"{path}: cannot be read ({_reason(error)})") from None


@contextmanager
def _errors_named(path: RemotePath) -> Iterator[None]:
    """FileNotFoundError and ValueError that name the address; clients fail in many ways.

    That of http says that there is no file where nobody answers.
    """
    try:
        yield
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such object, or no answer") from None
    except ValueError:
        raise
    except Exception as error:
        raise ValueError(f"{path}: cannot be read ({_reason(error)})") from None


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
