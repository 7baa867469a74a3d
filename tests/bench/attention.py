"""The fast kernels of caption/models/layers/kernels.py beside the plain code, in one run.

    python -m tests.bench.attention

A step of each attention decoder, forward and backward, 10 images x 5 captions of 17 tokens,
hidden 512. Columns: milliseconds with the kernels, with the plain code, and the ratio. The plain
code is the reading of the papers; the kernels are used where the ratio is above 1.
"""

import statistics
import time

import torch

from caption.models import DECODERS, Features, Shape, build
from caption.models.layers import attention, recurrence

IMAGES, CAPTIONS, TOKENS, CLASSES, RUNS = 10, 5, 17, 2000, 7


def seconds(decoder: torch.nn.Module, features: Features, tokens: torch.Tensor) -> float:
    started = time.perf_counter()
    decoder.teacher_force(features, tokens).hidden.sum().backward()
    return time.perf_counter() - started


def compare(name: str, regions: int) -> tuple[float, float]:
    """Median seconds with the kernels and with the plain code, measured in turn."""
    decoder = build(name, Shape(CLASSES, 2048)).train()
    features = Features(torch.randn(IMAGES, 2048), torch.randn(IMAGES, regions, 2048))
    tokens = torch.randint(CLASSES, (IMAGES, CAPTIONS, TOKENS))
    found: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(RUNS):
        for fast in found:
            attention.use_kernels = recurrence.use_kernels = lambda _, fast=fast: fast
            found[fast].append(seconds(decoder, features, tokens))
    return statistics.median(found[True][1:]), statistics.median(found[False][1:])


def main() -> None:
    print(f"{'decoder':18}{'regions':>8}{'kernels':>9}{'plain':>9}{'ratio':>7}")
    for name, kind in DECODERS.items():
        if kind.needs_regions and name != "transformer":
            for regions in (36, 196):
                fast, plain = compare(name, regions)
                print(f"{name:18}{regions:8}{fast * 1e3:9.1f}{plain * 1e3:9.1f}{plain / fast:7.2f}")


if __name__ == "__main__":
    main()
