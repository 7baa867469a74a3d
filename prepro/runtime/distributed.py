"""One process or several (torchrun): the same calls for both.

    torchrun --nproc-per-node 8 -m caption.train --data data/coco --out runs/topdown

In: the environment variables that torchrun sets. Out: a DistributedContext with the rank, the world
size and the device; sums and lists over all processes. With one process, every function here
returns its argument.
"""

import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from prepro.runtime.device import choose_device

NETWORK_ERRORS = ("gloo", "nccl", "connection", "timed out")


@dataclass(frozen=True)
class DistributedContext:
    """The rank, the world size and the device of this process. Only rank 0 writes files."""

    device: torch.device
    rank: int = 0
    world: int = 1

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """Sum a tensor over all processes, in place; every process gets the result."""
        if self.world > 1:
            dist.all_reduce(values)
        return values


SINGLE_PROCESS = DistributedContext(torch.device("cpu"))


def init_distributed(device: str) -> DistributedContext:
    """Join torchrun's process group if there is one. ValueError for a device that is missing."""
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    chosen = choose_device(device)
    if world > 1:
        if chosen.type == "cuda":
            chosen = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
            torch.cuda.set_device(chosen)
        dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    return DistributedContext(chosen, rank, world)


def shutdown_distributed() -> None:
    """Leave the process group, if there is one."""
    if dist.is_initialized():
        dist.destroy_process_group()


def all_sum(context: DistributedContext, *values: float) -> list[float]:
    """The sum of each value over all processes; exact for counts up to 2^53."""
    if context.world == 1:
        return list(values)
    dtype = torch.float32 if context.device.type == "mps" else torch.float64
    return context.sum(torch.tensor(values, dtype=dtype, device=context.device)).tolist()


def all_gather(context: DistributedContext, value: object) -> list:
    """The values of all processes, ordered by rank; every process gets the list."""
    if context.world == 1:
        return [value]
    values: list = [None] * context.world
    dist.all_gather_object(values, value)
    return values


def run_on_rank_zero(context: DistributedContext, work: Callable[[], None]) -> None:
    """Call `work` on rank 0 while the others wait. If it raises, every process raises the error."""
    error = None
    if context.rank == 0:
        try:
            work()
        except (OSError, ValueError, RuntimeError) as caught:
            error = caught
    error = all_gather(context, error)[0]
    if error is not None:
        raise error


def broadcast_buffers(context: DistributedContext, network: nn.Module) -> None:
    """Copy rank 0's buffers to all processes, as DistributedDataParallel does before a step.

    After a step each process has its own BatchNorm statistics, and only those of rank 0 are saved.
    """
    if context.world > 1:
        for buffer in network.buffers():
            dist.broadcast(buffer, 0)


def wrap_for_gradients(network: nn.Module, context: DistributedContext) -> nn.Module:
    """The network, wrapped so that its backward pass averages gradients over all processes."""
    if context.world == 1:
        return network
    parallel = DistributedDataParallel(network)
    if context.device.type == "cpu":
        parallel.register_comm_hook(None, _mean_in_rank_order)
    return parallel


def _mean_in_rank_order(_: object, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:
    """The mean of a bucket of gradients, summed in the order of the ranks.

    The order in which gloo sums depends on the position of a gradient in its bucket, which changes
    after the first step of a process: a resumed run of three processes would differ in a last bit.
    """
    local = bucket.buffer()
    gradients = [torch.empty_like(local) for _ in range(dist.get_world_size())]
    gathered = dist.all_gather(gradients, local, async_op=True).get_future()
    return gathered.then(lambda _: functools.reduce(torch.add, gradients) / len(gradients))


def seed_step(seed: int, step: int, rank: int) -> None:
    """Seed torch as a function of (seed, step, rank).

    A resumed run then needs no saved random state, and validation may draw random numbers without
    changing the training.
    """
    (mixed,) = np.random.SeedSequence((seed, step, rank)).generate_state(1, np.uint64)
    torch.manual_seed(int(mixed))


@contextlib.contextmanager
def report_lost_processes(context: DistributedContext) -> Iterator[None]:
    """Replace the network layer's error by one line when another process has died."""
    try:
        yield
    except RuntimeError as error:
        is_network_error = any(word in str(error).lower() for word in NETWORK_ERRORS)
        if context.world > 1 and is_network_error:
            raise RuntimeError(
                f"rank {context.rank} of {context.world}: another process of this run has died; "
                "continue from the last checkpoint with --resume"
            ) from None
        raise
