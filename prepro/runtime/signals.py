"""SIGINT (Ctrl-C) and SIGTERM, handled between two steps of a loop.

An exception in the middle of queue.Queue's locking can leave the lock taken for ever. So the first
signal is only recorded, and the loop stops at the next safe point. The second signal ends the
process at once.
"""

import contextlib
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
STOPPED_ELSEWHERE = 128 + signal.SIGTERM  # exit status if only another rank got the signal


@dataclass
class StopRequest:
    """Whether a signal has asked the process to stop."""

    status: int = 0
    """the exit status: 128 + the signal's number; 0 while no signal has come"""


@contextlib.contextmanager
def trap_signals() -> Iterator[StopRequest]:
    """Yields a StopRequest that the first SIGINT or SIGTERM sets."""
    request = StopRequest()

    def record(number: int, frame: object) -> None:
        request.status = 128 + number
        signal.signal(number, previous[number])

    previous = {number: signal.signal(number, record) for number in STOP_SIGNALS}
    try:
        yield request
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def resume_command(module: str, *flags: str) -> str:
    """What to type after a stop: the command line of this process, with `flags` at its end."""
    arguments = [argument for argument in sys.argv[1:] if argument not in flags]
    return f"python -m {module} {shlex.join([*arguments, *flags])}".rstrip()


@contextlib.contextmanager
def defer_sigint() -> Iterator[Callable[[], None]]:
    """Yields a function to call between batches: it raises KeyboardInterrupt after a Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None  # Python delivers signals to the main thread only
        return
    received = []

    def record(*_: object) -> None:
        signal.signal(signal.SIGINT, previous)
        received.append(True)

    def check() -> None:
        if received:
            raise KeyboardInterrupt

    previous = signal.signal(signal.SIGINT, record)
    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, previous)
