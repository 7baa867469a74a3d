"""How fast the decoders train: captions/s, next to their bound and to the earlier system's.

    python -m tests.bench.models [--decoders topdown transformer] [--regions 36 196] [--runs 5]

A step is forward, loss on the real words, backward, clipping and fused Adam, on features in memory:
10 images x 5 captions of 16 words at most (COCO's lengths), vocabulary 9,487, 512 hidden, features
of 2,048. The bound (tests.bench.arithmetic) is the arithmetic of that step as bare PyTorch
operations on tensors in memory. Each pair is timed in turns; medians. Trust the ratios.
"""

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from eval import command

EARLIER = {
    ("show_tell", 0): 71,  # its `fc`
    ("newfc", 0): 61,
    ("att2in", 36): 62,
    ("att2in", 196): 41,
    ("topdown", 36): 50,
    ("topdown", 196): 35,
    ("transformer", 36): 14,
    ("transformer", 196): 2.5,
}
"""captions/s of self-critical.pytorch at 4c48a33 on two AVX2 cores, by decoder and regions"""


@dataclass(frozen=True)
class Options:
    """Training speed of the decoders, e.g. python -m tests.bench.models --decoders newfc."""

    decoders: tuple[str, ...] = ()
    """which ones; all by default"""
    regions: tuple[int, ...] = (36, 196)
    """R, for the decoders that look at regions"""
    runs: int = 5
    """timed steps, after one that is not"""


def main(options: Options) -> None:
    import torch

    from caption.models import DECODERS
    from tests.bench.arithmetic import arithmetic

    print(f"{torch.get_num_threads()} threads; captions/s", file=sys.stderr)
    print(f"{'decoder':16} {'R':>4} {'ours':>7} {'bound':>7} {'of it':>6} {'earlier':>7} {'x':>5}")
    for name in options.decoders or DECODERS:
        for regions in options.regions if DECODERS[name].needs_regions else (0,):
            step, size = training_step(name, regions)
            mine, bare = alternate([step, arithmetic(name, regions, size)], options.runs)
            earlier = EARLIER.get((name, regions))
            then = f"{earlier:7} {50 / mine / earlier:5.1f}" if earlier else ""
            row = (
                f"{name:16} {regions:4} {50 / mine:7.1f} {50 / bare:7.1f} {bare / mine:6.0%} {then}"
            )
            print(row, flush=True)


@dataclass(frozen=True)
class Size:
    """What the arithmetic of a step depends on."""

    steps: int
    """T, the longest caption and its end"""
    words: int
    """real words of the batch, ends included"""
    parameters: int


def training_step(name: str, regions: int) -> tuple[Callable[[], None], Size]:
    """One step of a real decoder on captions of COCO's lengths, and its size."""
    import torch
    from torch.nn import functional as F

    from caption.models import Features, Shape, build

    torch.manual_seed(0)
    deep = name == "transformer"
    decoder = build(name, Shape(9488, 2048, layers=6 if deep else 1, dropout=0.1 if deep else 0.5))
    features = Features(torch.randn(10, 2048), torch.randn(10, regions, 2048) if regions else None)
    lengths = (10.5 + 2.2 * torch.randn(10, 5)).round().clamp(6, 16).long()
    words = torch.randint(1, 9488, (10, 5, int(lengths.max())))
    words = words.masked_fill(torch.arange(words.shape[2]) >= lengths[..., None], 0)
    inputs, targets = F.pad(words, (1, 0)), F.pad(words, (0, 1))
    real = torch.arange(inputs.shape[2]) <= lengths[..., None]
    optimiser = torch.optim.Adam(decoder.parameters(), 4e-4, fused=True)

    def step() -> None:
        hidden = decoder.hidden(features, inputs)
        loss = F.cross_entropy(decoder.logits(hidden[real]), targets[real])
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_value_(decoder.parameters(), 0.1)
        optimiser.step()

    count = sum(p.numel() for p in decoder.parameters())
    return step, Size(inputs.shape[2], int(real.sum()), count)


def alternate(works: list[Callable[[], None]], runs: int) -> list[float]:
    """The median seconds of each of `works`, timed in turns."""
    times: list[list[float]] = [[] for _ in works]
    for run in range(runs + 1):
        for work, mine in zip(works, times, strict=True):
            start = time.perf_counter()
            work()
            if run:
                mine.append(time.perf_counter() - start)
    return [statistics.median(mine) for mine in times]


if __name__ == "__main__":
    sys.exit(command.run(Options, main))
