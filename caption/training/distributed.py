"""Training in several processes: what they add up, gather and agree on.

    torchrun --nproc-per-node 8 -m caption.train --data data/coco --out runs/topdown

In: the environment that torchrun sets. Out: a Place; sums and lists over all processes. With one
process everything here returns what it was given. --batch-size counts the pictures of all
processes together, so that a run does not depend on how many there are.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from prepro.pretraining.processes import Place, join, leave

__all__ = [
    "Place", "clear_errors", "first", "gathered", "join", "leave", "seed_step", "share_buffers",
    "totals", "wrapped",
]  # fmt: skip


NETWORK = ("gloo", "nccl", "connection", "timed out")


def totals(place: Place, *values: float) -> list[float]:
    """Each value's sum over all processes, exact for counts up to 2^53."""
    if place.world == 1:
        return list(values)
    kind = torch.float32 if place.device.type == "mps" else torch.float64
    return place.sum(torch.tensor(values, dtype=kind, device=place.device)).tolist()


def gathered(place: Place, value: object) -> list:
    """Every process's value, by rank, on each of them."""
    if place.world == 1:
        return [value]
    found: list = [None] * place.world
    dist.all_gather_object(found, value)
    return found


def first(place: Place, work: Callable[[], None]) -> None:
    """The first process does it while the others wait; what it raises, all raise."""
    error = None
    if place.rank == 0:
        try:
            work()
        except (OSError, ValueError, RuntimeError) as found:
            error = found
    error = gathered(place, error)[0]
    if error is not None:
        raise error


def share_buffers(place: Place, network: nn.Module) -> None:
    """Give all processes the first one's buffers, as DistributedDataParallel does before a step.

    After a step the statistics of BatchNorm are each process's own; only the first one's are kept.
    """
    if place.world > 1:
        for buffer in network.buffers():
            dist.broadcast(buffer, 0)


def wrapped(network: nn.Module, place: Place) -> nn.Module:
    """The network whose backward pass sums gradients over all processes.

    DistributedDataParallel divides by the number of processes; `backward` multiplies by it.
    """
    if place.world == 1:
        return network
    parallel = DistributedDataParallel(network)
    if place.device.type == "cpu":
        parallel.register_comm_hook(None, _in_order)
    return parallel


def _in_order(_: object, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:
    """The mean of a bucket of gradients, added up in the order of the processes.

    gloo's own order depends on where in its bucket a gradient lies, and that changes after the
    first step of a process's life: a resumed run of three would differ in the last bit.
    """
    mine = bucket.buffer()
    parts = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
    gathered = dist.all_gather(parts, mine, async_op=True).get_future()
    return gathered.then(lambda _: functools.reduce(torch.add, parts) / len(parts))


def seed_step(seed: int, step: int, rank: int) -> None:
    """Make all that is random in a step a function of (seed, step, rank).

    A resumed run needs no saved random state, and what a validation draws changes nothing.
    """
    (mixed,) = np.random.SeedSequence((seed, step, rank)).generate_state(1, np.uint64)
    torch.manual_seed(int(mixed))


@contextlib.contextmanager
def clear_errors(place: Place) -> Iterator[None]:
    """One line for the death of another process, in place of the network layer's message."""
    try:
        yield
    except RuntimeError as error:
        about_network = any(word in str(error).lower() for word in NETWORK)
        if place.world > 1 and about_network:
            raise RuntimeError(
                f"rank {place.rank} of {place.world}: another process of this run is gone; "
                "go on from the last checkpoint with --resume"
            ) from None
        raise
