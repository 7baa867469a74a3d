"""DataLoader worker processes that end together with the process that started them."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Sequence


def identity(item: object) -> object:
    """A collate_fn for datasets whose items are whole batches already."""
    return item


def exit_with_parent(*_: int) -> None:
    """A worker_init_fn: the worker exits when its parent process dies.

    torch's own watchdog waits for ever when the parent is killed just after the fork, or when the
    worker was started by a forkserver.
    """
    threading.Thread(target=_wait_for_parent, daemon=True).start()


def ignore_sigint(*_: int) -> None:
    """A worker_init_fn: only the parent handles Ctrl-C, and it has priority for the CPU."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(5)
    exit_with_parent()


def forkserver(preload: Sequence[str]) -> multiprocessing.context.BaseContext:
    """A context whose workers never fork this process; `preload` modules are imported only once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(preload))
    return context


def _wait_for_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)
