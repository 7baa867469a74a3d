"""Pictures a second of training, against the network's bare arithmetic in the same process.

    python -m tests.bench.pretrain

The loop reads, augments, normalises, counts errors and steps; the bound is forward and backward
of torchvision's network in the same precision, on one batch that is already there.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from prepro import encoders
from prepro.encoders.memory import autocast, reduced_precision
from prepro.encoders.pretrained import torchvision
from prepro.pretraining import trainer
from prepro.pretraining.image_folder import Files
from prepro.pretraining.recipes import choose
from prepro.pretraining.run_folder import RunFolder
from prepro.pretraining.targets import Classes
from prepro.runtime.distributed import DistributedContext

BATCH, CROP, BATCHES, ROUNDS = 32, 96, 4, 5
NAMES = ("a", "b", "c", "d", "e")


def pictures(folder: Path, count: int) -> Files:
    """JPEG files of 160 x 160 noise over a gradient, about as large as photographs."""
    rng = np.random.default_rng(0)
    slope = np.linspace(0, 180, 160)[None, :, None]
    paths = []
    for index in range(count):
        pixels = slope + rng.integers(0, 60, (160, 160, 3))
        paths.append(str(folder / f"{index}.jpg"))
        Image.fromarray(pixels.astype("uint8")).save(paths[-1], quality=80)
    return Files(paths, rng.integers(0, len(NAMES), count))


def loop(folder: Path) -> Callable[[], None]:
    """An epoch of our loop."""
    files, place = pictures(folder, BATCH * BATCHES), DistributedContext(torch.device("cpu"))
    recipe, labels = choose("small", batch=BATCH), Classes(NAMES)
    encoder = encoders.reset_classifier(encoders.create_encoder("resnet18"), NAMES)
    job = trainer.Job(recipe, files, files, labels, place, RunFolder(folder), CROP)
    training = trainer.begin(encoder, job)
    return lambda: trainer.train_epoch(training, encoder.network, job)


def bound() -> Callable[[], None]:
    """As many forward and backward passes."""
    network = torchvision().models.resnet18(num_classes=len(NAMES)).train()
    network = network.to(memory_format=torch.channels_last)
    pixels = torch.randn(BATCH, 3, CROP, CROP).contiguous(memory_format=torch.channels_last)

    def run() -> None:
        for _ in range(BATCHES):
            with autocast(pixels.device):
                loss = network(pixels).float().sum()
            network.zero_grad(set_to_none=True)
            loss.backward()

    return run


def seconds(run: Callable[[], None]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        ours, arithmetic = loop(Path(folder)), bound()
        ours(), arithmetic()
        pairs = [(seconds(ours), seconds(arithmetic)) for _ in range(ROUNDS)]
    count = BATCH * BATCHES
    mine, best = (count / statistics.median(times) for times in zip(*pairs, strict=True))
    ratio = statistics.median(bare / whole for whole, bare in pairs)
    precision = reduced_precision(torch.device("cpu")) or torch.float32
    print(f"ResNet-18 at {CROP}, batch {BATCH}, {precision}, {torch.get_num_threads()} threads")
    print(f"training {mine:.1f} pictures/s, arithmetic alone {best:.1f}, ratio {ratio:.2f}")


if __name__ == "__main__":
    sys.exit(main())
