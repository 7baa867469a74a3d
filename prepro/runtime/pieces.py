"""Pieces of a long job that many processes take, one after the other, until all are done.

In: the file of each piece, and what says that a piece is done. Out: the pieces that this process
has taken. A slow process takes few, and the piece of a process that died is taken again.

    for number in take_pieces(paths, is_done):
        ...  # write paths[number]; no other process does

A piece is held by a hidden file beside it, .NAME.claim-1, which appears locked (flock); the system
drops the lock of a process that dies. Other machines may not see the lock: they go by the time of
the file, which its holder renews, and take the piece TIMEOUT seconds after the last time. Their
clocks must agree to a part of that. The next holder makes .NAME.claim-2, and so on: a name is made
once, so that two never hold one piece. `remove_claims` removes the files when all is done.
"""

import contextlib
import fcntl
import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from glob import escape
from pathlib import Path

BEAT = 15.0  # seconds after which a holder renews the time of its file
TIMEOUT = 180.0  # seconds after which a holder on another machine counts as dead
PAUSE = 0.5  # seconds between two looks at pieces that others hold


def take_pieces(
    paths: Sequence[Path], is_done: Callable[[int], bool], first: int = 0
) -> Iterator[int]:
    """Numbers of pieces that are this process's until it asks for the next one.

    It ends when every piece is done, by whomever. The search begins at piece `first`, so that
    processes meet rarely. An error in the loop's body gives the piece back.
    """
    left = [*range(first, len(paths)), *range(min(first, len(paths)))]
    while left:
        took_one = False
        for number in list(left):
            if is_held(paths[number]):
                continue
            if not is_done(number):
                with hold(paths[number]) as held:
                    if not held:
                        continue
                    if not is_done(number):
                        took_one = True
                        yield number
                        continue
            left.remove(number)
        if left and not took_one:
            time.sleep(PAUSE)


@contextlib.contextmanager
def hold(path: Path) -> Iterator[bool]:
    """Whether this process holds the piece `path` now; False if another one does."""
    claims = _claims(path)
    if claims and _is_alive(claims[-1]):
        yield False
        return
    number = 1 + (_number(claims[-1]) if claims else 0)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    stopped = threading.Event()
    beat = threading.Thread(target=_beat, args=(handle, stopped), daemon=True)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        os.write(handle, socket.gethostname().encode())
        try:
            os.link(temporary, path.with_name(f".{path.name}.claim-{number}"))
        except FileExistsError:  # another process was faster
            yield False
            return
        finally:
            os.unlink(temporary)
        beat.start()
        yield True
    finally:
        stopped.set()
        if beat.ident is not None:
            beat.join()
            os.truncate(handle, 0)  # given back, which other machines read
            fcntl.flock(handle, fcntl.LOCK_UN)  # also where a child process has the file open
        os.close(handle)


def is_held(path: Path) -> bool:
    """Whether a living process holds the piece."""
    claims = _claims(path)
    return bool(claims) and _is_alive(claims[-1])


def remove_claims(paths: Sequence[Path]) -> None:
    """Remove the files of pieces that are all done; until then their numbers must not be lost."""
    for path in paths:
        for claim in _claims(path):
            claim.unlink(missing_ok=True)


def _claims(path: Path) -> list[Path]:
    """The files of a piece; its last holder's is the last."""
    return sorted(path.parent.glob(f".{escape(path.name)}.claim-*"), key=_number)


def _number(claim: Path) -> int:
    text = claim.name.rpartition("-")[2]
    return int(text) if text.isdecimal() else 0


def _is_alive(claim: Path) -> bool:
    try:
        with open(claim, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            host, age = file.read(256), time.time() - os.fstat(file.fileno()).st_mtime
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return host not in (b"", socket.gethostname().encode()) and age < TIMEOUT


def _beat(handle: int, stopped: threading.Event) -> None:
    while not stopped.wait(BEAT):
        os.utime(handle)
