"""Shards: the parts of the images that independent machines compute, each into its own file.

In: "2/8". Out: a range of rows, and the name of the shard's file.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Shard:
    """Part `number` of `total`, counted from 1."""

    number: int = 1
    total: int = 1

    def __str__(self) -> str:
        return f"{self.number}/{self.total}"

    def rows(self, count: int) -> range:
        """The rows of this shard out of `count`: consecutive, and of nearly equal number."""
        return range(
            count * (self.number - 1) // self.total,
            count * self.number // self.total,
        )

    def path(self, folder: Path) -> Path:
        if self.total == 1:
            return folder / "features.h5"
        return folder / f"features.{self.number}-of-{self.total}.h5"


def parse_shard(text: str) -> Shard:
    """ "2/8" is the second of eight; "" is everything."""
    if not text:
        return Shard()
    number, _, total = text.partition("/")
    if not (number.isdecimal() and total.isdecimal() and 1 <= int(number) <= int(total)):
        raise ValueError(f"--shard {text}: expected I/N with I from 1 to N, such as 2/8")
    return Shard(int(number), int(total))


def local_device(name: str, environment: Mapping[str, str] = os.environ) -> str:
    """The device name; `auto` under torchrun is a GPU of its own for each process."""
    import torch

    if name == "auto" and "LOCAL_RANK" in environment and torch.cuda.is_available():
        return f"cuda:{int(environment['LOCAL_RANK']) % torch.cuda.device_count()}"
    return name
