"""Two batches through a network at the same time, on a CPU; results in order.

In: a function and items. Out: (item, result) pairs.
Two batches, each on half of the cores, are faster than one batch on all of them: the cores that
share a batch wait for each other at the end of every layer, and wait for any core that is also
decoding or writing.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")
WORKERS = 2


@contextmanager
def run_concurrently(
    function: Callable[[Item], Result], items: Iterable[Item], device: torch.device
) -> Iterator[Iterator[tuple[Item, Result]]]:
    """An iterator of each item with function(item), in order.

    On a CPU of several cores two items are computed at a time, each on half of the cores. On other
    devices items are computed one by one in the calling thread, which CUDA graphs need. Leaving the
    context waits for the computations that have begun.
    """
    cores = torch.get_num_threads()
    if device.type != "cpu" or cores < WORKERS:
        yield ((item, function(item)) for item in items)
        return
    torch.set_num_threads(cores // WORKERS)
    try:
        with ThreadPoolExecutor(WORKERS) as pool:
            yield _in_order(function, items, pool)
    finally:
        torch.set_num_threads(cores)


def _in_order(
    function: Callable[[Item], Result], items: Iterable[Item], pool: ThreadPoolExecutor
) -> Iterator[tuple[Item, Result]]:
    """One item is queued, so that no thread is ever idle; no more, because items take memory."""
    pending: deque = deque()
    for item in items:
        pending.append((item, pool.submit(function, item)))
        if len(pending) > WORKERS:
            first, future = pending.popleft()
            yield first, future.result()
    for item, future in pending:
        yield item, future.result()
