"""A background thread that does work in order, with a short queue.

with BackgroundWriter(writer.write) as background:
    background.put(rows, fc, att)           # returns at once unless the queue is full
"""

import queue
import threading
from collections.abc import Callable

_END = object()


class BackgroundWriter:
    """`put(*arguments)` calls `function(*arguments)` later, in one background thread.

    Leaving the context waits until everything that was put is done, also after Ctrl-C, so that no
    computed result is lost. If `function` raises, the rest of the queue is dropped and the error is
    raised by the next `put` or when the context is left.
    """

    def __init__(self, function: Callable[..., None], depth: int = 4) -> None:
        self.function, self.error = function, None
        self.queue: queue.Queue = queue.Queue(depth)
        self.thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "BackgroundWriter":
        self.thread.start()
        return self

    def __exit__(self, kind: type | None, *rest: object) -> None:
        self.queue.put(_END)
        self.thread.join()
        if self.error and kind is None:
            raise self.error

    def put(self, *arguments: object) -> None:
        if self.error:
            raise self.error
        self.queue.put(arguments)

    def _run(self) -> None:
        while (item := self.queue.get()) is not _END:
            if self.error:
                continue
            try:
                self.function(*item)
            except BaseException as error:  # raised again in the caller's thread
                self.error = error
