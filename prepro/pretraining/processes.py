"""Several processes that train one network (torchrun), or a single one: the same calls for both.

In: the environment that torchrun sets. Out: rank, world and device; sums over all processes.
"""

import os
from dataclasses import dataclass

import torch
import torch.distributed as dist

from prepro.device import choose


@dataclass(frozen=True)
class Place:
    """Where this process stands; rank 0 alone writes."""

    device: torch.device
    rank: int = 0
    world: int = 1

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """The sum of a tensor over all processes, on each."""
        if self.world > 1:
            dist.all_reduce(values)
        return values


def join(device: str) -> Place:
    """Join torchrun's group where there is one. Raises ValueError for a missing device."""
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    chosen = choose(device)
    if world > 1:
        if chosen.type == "cuda":
            chosen = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
            torch.cuda.set_device(chosen)
        dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    return Place(chosen, rank, world)


def leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()
