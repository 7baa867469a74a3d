"""Two batches through a network at once, on a CPU; their results in order.

In: a function and items. Out: (item, result) pairs.
Two batches, each on half of the cores, are faster than one on all of them: the cores of one batch
wait for each other at the end of every layer, and all of them for the one that must decode or
write meanwhile.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

Item, Result = TypeVar("Item"), TypeVar("Result")
LANES = 2


@contextmanager
def run_concurrently(
    function: Callable[[Item], Result], items: Iterable[Item], device: torch.device
) -> Iterator[Iterator[tuple[Item, Result]]]:
    """An iterator of each item with function(item), in order.

    Two at once on a CPU of several cores, which they share meanwhile; elsewhere one after the
    other in this thread, which CUDA graphs need. Leaving waits for what is being computed.
    """
    cores = torch.get_num_threads()
    if device.type != "cpu" or cores < LANES:
        yield ((item, function(item)) for item in items)
        return
    torch.set_num_threads(cores // LANES)
    try:
        with ThreadPoolExecutor(LANES) as pool:
            yield _in_order(function, items, pool)
    finally:
        torch.set_num_threads(cores)


def _in_order(
    function: Callable[[Item], Result], items: Iterable[Item], pool: ThreadPoolExecutor
) -> Iterator[tuple[Item, Result]]:
    """One item waits for a lane, so that none is ever idle; no more, for they take memory."""
    begun: deque = deque()
    for item in items:
        begun.append((item, pool.submit(function, item)))
        if len(begun) > LANES:
            first, future = begun.popleft()
            yield first, future.result()
    for item, future in begun:
        yield item, future.result()
