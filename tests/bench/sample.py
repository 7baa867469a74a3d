"""How fast `python -m caption.sample image.jpg` starts: whole processes, in pairs.

    python -m tests.bench.sample                        a tiny untrained run, made on the spot
    python -m tests.bench.sample --run runs/default --image data/scenes/images/000000.jpg

The pair of a run is `python -c "import torch"`, and the encoder's forward pass on that picture is
added to it, timed in this process after one to warm up. Target: the whole process within 1.5 times
that. Two figures: wall time, which wants a quiet machine, and CPU time.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from caption.captioner import Captioner
from prepro.images import open_rgb
from tests.caption import tiny_runs as maker

RUNS = 7


def spent(command: list[str]) -> tuple[float, float]:
    """Wall and CPU seconds of a process."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    user, system = after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime
    return wall, user + system


def forward(run: Path, image: Path) -> tuple[float, float]:
    """Wall and CPU seconds of the encoder on one picture: medians."""
    captioner = Captioner.load(run / "model.safetensors")
    pixels = [captioner.pixels(open_rgb(image, captioner.encoder.transform.resize))]
    walls, cpus = [], []
    for _ in range(RUNS + 1):
        wall, cpu = time.perf_counter(), time.process_time()
        captioner.encode_pixels(pixels)
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return statistics.median(walls[1:]), statistics.median(cpus[1:])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--run", type=Path)
    parser.add_argument("--image", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if not options.run:
            made = maker.make(Path(folder), ("topdown",))
            options.run, options.image = made.runs["topdown"], made.data / "images" / "000000.jpg"
        compare(options.run, options.image)


def compare(run: Path, image: Path) -> None:
    torch = [sys.executable, "-c", "import torch"]
    sample = [sys.executable, "-m", "caption.sample", str(image), "--run", str(run)]
    encoder = forward(run, image)
    pairs = [(spent(torch), spent(sample)) for _ in range(RUNS)]
    print(f"{RUNS} pairs, medians; {os.cpu_count()} CPUs; seconds")
    print(f"{'':6}{'import torch':>14}{'encoder':>9}{'sample':>8}{'ratio':>7}")
    for index, name in enumerate(("wall", "CPU")):
        alone = statistics.median(bare[index] for bare, _ in pairs)
        whole = statistics.median(ours[index] for _, ours in pairs)
        ratio = statistics.median(
            ours[index] / (bare[index] + encoder[index]) for bare, ours in pairs
        )
        print(f"{name:6}{alone:14.2f}{encoder[index]:9.3f}{whole:8.2f}{ratio:7.2f}")


if __name__ == "__main__":
    main()
