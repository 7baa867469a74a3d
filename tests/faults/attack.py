"""Attack the commands with hostile input, for as long as you like.

    python -m tests.faults.attack --minutes 60 --seed 1      (make attack)

Out: for each area, how many cases were tried, passed and failed; a line on stderr for each failure,
with the seed that repeats it. Exit status 1 if a case failed.
"""

import importlib
import itertools
import os
import random
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from eval import command
from eval.files import printable

AREAS = {
    "pictures": 50, "annotations": 50, "models": 50, "data_folders": 50, "checkpoints": 50,
    "scores": 50, "requests": 50, "kills": 5, "full_disks": 3, "ranks": 1,
}  # fmt: skip
"""how many cases of each area are tried in turn"""
MEMORY = 2 << 30  # bytes that the process may have used at its peak


@dataclass(frozen=True)
class Options:
    """Attack the commands with hostile input.

    Example: python -m tests.faults.attack --minutes 60
    """

    minutes: float = 60
    """how long"""
    cases: int = 0
    """stop after this many cases of each area; 0: only by time"""
    seed: int = 1
    """random seed; case i of an area depends on the seed and on i alone"""
    areas: tuple[str, ...] = tuple(AREAS)
    """areas to attack"""

    def __post_init__(self) -> None:
        if unknown := set(self.areas) - set(AREAS):
            raise ValueError(f"--areas {min(unknown)}: expected some of {', '.join(AREAS)}")


def cases(area: str, seed: int, folder: Path) -> Iterator[tuple[str, str | None]]:
    """Yields a description of each case, and why it failed or None."""
    module = importlib.import_module(f"tests.faults.attacks.{area}")
    (folder / "good").mkdir(parents=True)
    made, number = module.prepare(folder / "good"), 0
    while True:
        rng = random.Random(f"{area} {seed} {number}")
        case = folder / "case"
        case.mkdir(exist_ok=True)
        text, outcome = module.attack(rng, case, made)
        yield f"{area} --seed {seed}, case {number}: {text}", outcome.fault
        number += 1


def main(options: Options) -> int:
    import torch

    torch.set_num_threads(1)
    tried, failed, end = Counter(), Counter(), time.monotonic() + 60 * options.minutes
    with tempfile.TemporaryDirectory() as folder:
        streams = {area: cases(area, options.seed, Path(folder) / area) for area in options.areas}
        turn = itertools.cycle(area for area in options.areas for _ in range(AREAS[area]))
        while time.monotonic() < end:
            area = next(turn)
            if options.cases and tried[area] >= options.cases:
                if all(tried[name] >= options.cases for name in options.areas):
                    break
                continue
            text, fault = next(streams[area])
            tried[area] += 1
            if fault:
                failed[area] += 1
                print(f"{printable(text)}\n  {fault}", file=sys.stderr, flush=True)
    for area in options.areas:
        good = tried[area] - failed[area]
        print(f"{area:14} {tried[area]:6} tried  {good:6} passed  {failed[area]:6} failed")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(f"peak memory {peak / 1e6:,.0f} MB")
    return 1 if sum(failed.values()) or peak > MEMORY else 0


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(command.run(Options, main))
