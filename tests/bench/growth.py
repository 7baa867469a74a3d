"""Time and memory of prepro.features by the number of images: linear and constant.

    python -m tests.bench.growth [COUNT ...]

Tiny images and a tiny encoder, so that the network takes little of the time. Prints for each count
the seconds, their growth since the previous count, peak memory of the command and of a worker, and
bytes of features.h5 an image.
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
    print(f"{'images':>8} {'seconds':>8} {'ms each more':>17} {'MiB':>7} {'worker':>7} bytes")
    before, earlier = 0.0, 0
    with tempfile.TemporaryDirectory() as temporary:
        for count in map(int, counts or COUNTS):
            names = write_images(Path(temporary), count)
            seconds, memory, length = extract(Path(temporary), names, ENCODER, 16)
            slope = (seconds - before) / (count - earlier) * 1000 if earlier else float("nan")
            command, worker = (kib / 1024 for kib in memory)
            print(
                f"{count:>8,} {seconds:>8.1f} {slope:>17.2f} {command:>7,.0f} {worker:>7,.0f} "
                f"{length / count:,.0f}"
            )
            before, earlier = seconds, count


def write_images(folder: Path, count: int) -> list[str]:
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
