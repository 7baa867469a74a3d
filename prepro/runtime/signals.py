"""SIGINT (Ctrl-C) and SIGTERM, handled between two steps of a loop.

A signal that arrives while a lock is being taken (queue.Queue has such moments) can leave the lock
taken for ever. So the first signal is only noted, and the loop checks for it when it is safe to
stop. The second signal ends the process at once.
"""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass
class StopRequest:
    """Whether a signal has asked the process to stop."""

    status: int = 0
    """the exit status: 128 + the signal's number; 0 while no signal has come"""


@contextlib.contextmanager
def trap_signals() -> Iterator[StopRequest]:
    """Yields a StopRequest that the first SIGINT or SIGTERM sets."""
    request = StopRequest()

    def note(number: int, frame: object) -> None:
        request.status = 128 + number
        signal.signal(number, previous[number])

    previous = {number: signal.signal(number, note) for number in STOP_SIGNALS}
    try:
        yield request
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def defer_sigint() -> Iterator[Callable[[], None]]:
    """Yields a function to call between batches: it raises KeyboardInterrupt after a Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None  # Python delivers signals to the main thread only
        return
    received = []

    def note(*_: object) -> None:
        signal.signal(signal.SIGINT, previous)
        received.append(True)

    def check() -> None:
        if received:
            raise KeyboardInterrupt

    previous = signal.signal(signal.SIGINT, note)
    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, previous)
