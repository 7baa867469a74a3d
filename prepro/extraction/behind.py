"""Work that goes on in a thread behind the one that computes, in order, with a short queue.

In: a function, and calls of it. An error in it stops the work and is raised in the caller.
"""

import queue
import threading
from collections.abc import Callable

END = object()


class Behind:
    """`put(*arguments)` calls `function(*arguments)` later, in one thread.

    Leaving the context waits for all that was put, also after Ctrl-C, so that nothing computed is
    lost. An error in `function` is raised by the next `put` or on leaving, and drops the rest.
    """

    def __init__(self, function: Callable[..., None], depth: int = 4) -> None:
        self.function, self.error = function, None
        self.queue: queue.Queue = queue.Queue(depth)
        self.thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Behind":
        self.thread.start()
        return self

    def __exit__(self, kind: type | None, *rest: object) -> None:
        self.queue.put(END)
        self.thread.join()
        if self.error and kind is None:
            raise self.error

    def put(self, *arguments: object) -> None:
        if self.error:
            raise self.error
        self.queue.put(arguments)

    def _run(self) -> None:
        while (item := self.queue.get()) is not END:
            if self.error:
                continue
            try:
                self.function(*item)
            except BaseException as error:  # raised again in the caller's thread
                self.error = error
