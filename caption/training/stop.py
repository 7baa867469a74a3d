"""SIGINT and SIGTERM, heard between two steps.

In: signals. Out: the exit status that they ask for, once the step that runs is done.
"""

import contextlib
import signal
from collections.abc import Iterator
from dataclasses import dataclass

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass
class Stop:
    status: int = 0
    """128 + the signal's number; 0 while none came"""


@contextlib.contextmanager
def heard() -> Iterator[Stop]:
    """The first signal is noted, the second one ends the process at once."""
    stop = Stop()

    def note(number: int, frame: object) -> None:
        stop.status = 128 + number
        signal.signal(number, old[number])

    old = {number: signal.signal(number, note) for number in SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
