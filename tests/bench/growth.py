"""Whether prepro.features takes time in proportion to the pictures, and memory not at all.

    python -m tests.bench.growth [COUNT ...]

Tiny pictures and a tiny encoder, so that what is not the network shows. Prints for each count the
seconds, what they grew by since the count before, peak memory of the command and of a worker, and
bytes of features.h5 a picture.
"""

import os
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from tests.bench.features import extract

COUNTS = ("1000", "4000", "16000", "20000")
ENCODER = "resnet8-w4"


def main(*counts: str) -> None:
    print(f"{'pictures':>8} {'seconds':>8} {'ms a further one':>17} {'MiB':>7} {'worker':>7} bytes")
    before, earlier = 0.0, 0
    with tempfile.TemporaryDirectory() as temporary:
        for count in map(int, counts or COUNTS):
            names = pictures(Path(temporary), count)
            seconds, memory, length = extract(Path(temporary), names, ENCODER, 16)
            slope = (seconds - before) / (count - earlier) * 1000 if earlier else float("nan")
            own, worker = (kib / 1024 for kib in memory)
            print(
                f"{count:>8,} {seconds:>8.1f} {slope:>17.2f} {own:>7,.0f} {worker:>7,.0f} "
                f"{length / count:,.0f}"
            )
            before, earlier = seconds, count


def pictures(folder: Path, count: int) -> list[str]:
    """`count` names of one JPEG of noise."""
    first = folder / "first.jpg"
    if not first.exists():
        noise = np.random.default_rng(0).integers(0, 256, (36, 48, 3), dtype=np.uint8)
        Image.fromarray(noise).save(first)
    names = [f"{i}.jpg" for i in range(count)]
    for name in names:
        if not (folder / name).exists():
            os.link(first, folder / name)
    return names


if __name__ == "__main__":
    main(*sys.argv[1:])
