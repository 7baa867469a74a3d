"""Files that appear whole or not at all, and JSON that is read with care.

In: a path. Out: a file that either holds everything that was written to it or does not exist.
The only module that opens JSON files from outside the project.
"""

import errno
import functools
import json
import os
import re
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import orjson

MACHINE = f"{zlib.crc32(os.uname().nodename.encode()):08x}"  # process ids are those of one machine
PARTIAL = re.compile(rf"\..*\.{MACHINE}-(\d{{1,9}})\.partial")
ADDRESS = re.compile(r"([a-z][a-z0-9+.-]+):/+(.*)", re.DOTALL)
"""of an object elsewhere, s3://bucket/name, also after Path has made one slash of two"""
JSON_LIMIT = 2 << 30  # bytes; COCO's largest captions file has 92 MB, Karpathy's 409 MB


@contextmanager
def whole_file(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it becomes `path`, on failure it is gone.

    The bytes are on the disk before the name is (flush, fsync, rename, fsync of the folder), so a
    reader, a kill or a power cut sees the old file or the new one, never a part of one.
    """
    path = Path(path)
    if path.exists() and not path.is_file() and not path.is_dir():
        with _special_file(path) as partial:
            yield partial
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_name(path)
    try:
        partial.touch()
        mode = partial.stat().st_mode  # the user's own; safetensors makes files private
        yield partial
        partial.chmod(mode)
        with open(partial, "rb") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from None
    finally:
        with suppress(OSError):  # it is `path` now, or the folder cannot be written
            partial.unlink()


def partial_name(path: Path) -> Path:
    """The temporary path beside `path` of this process; removes those that killed ones left.

    IsADirectoryError for a path without a name, such as "." or an empty one.
    """
    if not path.name:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    _remove_partial_files(path.parent)
    return path.with_name(f".{path.name}.{MACHINE}-{os.getpid()}.partial")


@functools.cache  # once in a process
def _remove_partial_files(folder: Path) -> None:
    """Remove the temporary files whose process has ended, if it ran on this machine."""
    with suppress(OSError):  # no such folder, or no permission
        for entry in os.scandir(folder):
            found = PARTIAL.fullmatch(entry.name)
            if found and not _is_running(int(found[1])):
                os.unlink(entry.path)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # a process of somebody else
        pass
    return True


@contextmanager
def _special_file(path: Path) -> Iterator[Path]:
    """A temporary file that is copied into a pipe or a device, which cannot be replaced."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / path.name
        try:
            with open(Path(folder) / path.name, "rb") as file, open(path, "wb") as out:
                shutil.copyfileobj(file, out)
        except OSError as error:  # of a write; it does not name the file
            raise OSError(error.errno, os.strerror(error.errno), str(path)) from None


def require_readable(path: str | os.PathLike) -> None:
    """PermissionError for a file that may not be read, which some libraries call damaged."""
    if not os.access(path, os.R_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))


def printable(name: object) -> str:
    """A file name for a terminal: control characters and bytes that are not UTF-8 are escaped."""
    text = str(name)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def first_line(error: BaseException) -> str:
    """The first line of an error's message, at most 200 characters; its kind if it says nothing."""
    return str(error).strip().partition("\n")[0][:200] or type(error).__name__


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    with whole_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike, value: object, indent: int | None = None) -> None:
    """Write `value` as JSON, whole or not at all; NaN and infinity are refused (ValueError)."""
    text = json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)
    write_text(path, text.encode("utf-8", "backslashreplace").decode("utf-8") + "\n")


def read_json(path: str | os.PathLike, limit: int = JSON_LIMIT) -> object:
    """The value in a JSON file.

    Raises ValueError, in one line that names the file, when it is larger than `limit` bytes, is a
    Git LFS pointer instead of data, or is not JSON; FileNotFoundError when it is not there.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    size = path.stat().st_size
    if size > limit:
        raise ValueError(f"{path}: {size:,} bytes, more than the {limit:,} that are read")
    data = path.read_bytes()
    if data.startswith(b"version https://git-lfs"):
        raise ValueError(f"{path}: a Git LFS pointer, not the data; fetch it with `git lfs pull`")
    with suppress(orjson.JSONDecodeError):  # twice as fast, and stricter
        return orjson.loads(data)
    try:
        return json.loads(data.decode("utf-8-sig"), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not valid JSON ({error})") from None


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")
