"""The folder of a training run: who may write into it, and which run is the latest."""

import contextlib
import fcntl
import os
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path

LATEST = "latest"


def require_resumable(run: Path) -> None:
    """FileNotFoundError if the folder holds no run.

    A run that was killed before its first checkpoint starts again from its seed.
    """
    if not (run / "config.json").is_file():
        raise FileNotFoundError(f"{run}/config.json: nothing to resume; leave out --resume")


@contextlib.contextmanager
def lock_run(run: Path) -> Iterator[None]:
    """Hold the lock of a run's folder, so that only one training writes into it.

    Creates the folder. RuntimeError if another process holds the lock; the operating system
    releases the lock of a process that was killed.
    """
    try:
        run.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise NotADirectoryError(f"{run}: this is a file; --out takes a folder") from None
    message = (
        f"{run}: another training is writing into this folder; wait for it or choose another --out"
    )
    with hold_lock(run / ".lock", message):
        yield


@contextlib.contextmanager
def hold_lock(path: Path, message: str) -> Iterator[None]:
    """Hold the lock of a file; RuntimeError with the message if another process holds it.

    The file is created if need be, and remains.
    """
    with open(path, "a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RuntimeError(message) from None
        except OSError:  # the file system has no locks
            pass
        yield


def archive_existing(run: Path) -> None:
    """Rename a finished run of the same name, so that nothing is overwritten by accident."""
    with lock_run(run):
        if not (run / "last.json").is_file():
            return
        number = next(n for n in count(1) if not run.with_name(f"{run.name}.{n}").exists())
        run.rename(run.with_name(f"{run.name}.{number}"))
    print(f"{run}: renamed the earlier run to {run}.{number}", file=sys.stderr)


def link_latest(run: Path) -> None:
    """Point the symbolic link runs/latest to this run."""
    link = run.resolve().parent / LATEST
    if link.is_symlink() or not link.exists():
        temporary = link.with_name(f".{LATEST}.{os.getpid()}")
        temporary.symlink_to(run.resolve().name, target_is_directory=True)
        os.replace(temporary, link)
