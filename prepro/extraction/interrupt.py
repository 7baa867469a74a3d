"""Ctrl-C at a moment of our choosing.

An interrupt that falls between the taking of a lock and its `with` leaves the lock taken for ever
(queue.Queue has such moments); so the first Ctrl-C only leaves word, and a second one is obeyed.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def patient() -> Iterator[Callable[[], None]]:
    """Yields a function to call between batches: it raises KeyboardInterrupt if Ctrl-C came."""
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None  # no signal comes here
        return
    came = []

    def remember(*_: object) -> None:
        signal.signal(signal.SIGINT, before)
        came.append(True)

    def check() -> None:
        if came:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, remember)
    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, before)
