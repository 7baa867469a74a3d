"""Fetch a file over HTTP: resumed where it stopped, checked by its size and its hash.

In: an `Archive`. Out: the file, under its name only when it is whole and right. What has arrived
stays in a hidden file beside it when the connection or the program ends.
"""

import fcntl
import hashlib
import http.client
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from prepro.downloads.archives import Archive

BLOCK = 1 << 20  # bytes read at a time
TIMEOUT = 20  # seconds without a byte
TRIES = 6  # in a row that bring nothing
PAUSE = 1.0  # seconds before the second try; it doubles

Report = Callable[[int], None]
"""called with the bytes that have arrived, negative if some were thrown away"""


class Damaged(RuntimeError):
    """The file that a server sent is not the one that was expected."""


def fetch(archive: Archive, folder: Path, report: Report) -> Path:
    """The archive in `folder`. Returns at once if it is there.

    Damaged for a wrong size or hash; RuntimeError if another process fetches it, or after TRIES
    tries that brought nothing; OSError of the disk.
    """
    path, partial = folder / archive.name, folder / f".{archive.name}.download"
    if path.exists():
        report(archive.size)
        return path
    with open(partial, "ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise RuntimeError(f"{path}: another process downloads this file") from None
        if file.tell() > archive.size:
            _empty(file)
        report(file.tell())
        _receive(archive, file, report)
        file.flush()
        os.fsync(file.fileno())
        _check(archive, partial)
        os.replace(partial, path)
    return path


def arrived(archive: Archive, folder: Path) -> int:
    """Bytes of the archive that are in `folder` already."""
    if (folder / archive.name).exists():
        return archive.size
    partial = folder / f".{archive.name}.download"
    return min(partial.stat().st_size, archive.size) if partial.exists() else 0


def _receive(archive: Archive, file: BinaryIO, report: Report) -> None:
    """Append what is missing; connections may end as often as they like, if they bring bytes."""
    failures = 0
    while file.tell() < archive.size:
        before = file.tell()
        try:
            _append(archive, file, report)
            reason = "the connection ended"
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError,
                ConnectionError) as error:  # fmt: skip
            if isinstance(error, urllib.error.HTTPError) and 400 <= error.code < 500:
                raise RuntimeError(f"{archive.url}: {error.code} {error.reason}") from None
            reason = getattr(error, "reason", error)
        failures = 0 if file.tell() > before else failures + 1
        if failures == TRIES:
            raise RuntimeError(
                f"{archive.url}: {reason}; {file.tell():,} of {archive.size:,} bytes are kept; "
                "run the command again to go on"
            )
        if file.tell() < archive.size:
            time.sleep(PAUSE * 2**failures if failures else 0)


def _append(archive: Archive, file: BinaryIO, report: Report) -> None:
    start = file.tell()
    headers = {"Range": f"bytes={start}-", "User-Agent": "prepro.download"}
    request = urllib.request.Request(archive.url, headers=headers)
    with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
        span = f"bytes {start}-{archive.size - 1}/{archive.size}"
        if response.status == 200:  # a server that knows no ranges begins anew
            report(-start)
            _empty(file)
        elif response.headers.get("Content-Range") != span:
            raise Damaged(
                f"{archive.url}: the server has {response.headers.get('Content-Range')!r}, "
                f"expected {span!r}; the file there is another one than this program knows"
            )
        while block := response.read(BLOCK):
            if file.tell() + len(block) > archive.size:
                raise Damaged(f"{archive.url}: more than the expected {archive.size:,} bytes")
            file.write(block)
            report(len(block))


def _empty(file: BinaryIO) -> None:
    file.seek(0)
    file.truncate()


def _check(archive: Archive, partial: Path) -> None:
    algorithm, _, expected = archive.hash.partition(":")
    with open(partial, "rb") as file:
        found = hashlib.file_digest(file, algorithm).hexdigest()
    if found != expected:
        partial.unlink()
        raise Damaged(
            f"{archive.url}: {algorithm} is {found}, expected {expected}; what arrived was removed;"
            " run the command again"
        )
