"""Images a second of the training loop, against the network alone in the same process.

    python -m tests.bench.pretrain

The loop reads, augments, normalises, counts errors and steps; the bound is forward and backward
of torchvision's network in the same precision, on one batch that is in memory.
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
from prepro.encoders.pretrained import torchvision
from prepro.pretraining import trainer
from prepro.pretraining.image_folder import ImageFiles
from prepro.pretraining.recipes import choose_recipe
from prepro.pretraining.setup import TrainingSetup
from prepro.pretraining.tasks import SingleLabel
from prepro.pretraining.training_log import TrainingLog
from prepro.runtime.distributed import SINGLE_PROCESS
from prepro.runtime.precision import autocast, reduced_precision
from prepro.runtime.signals import StopRequest

BATCH, CROP, BATCHES, ROUNDS = 32, 96, 4, 5
NAMES = ("a", "b", "c", "d", "e")


def write_images(folder: Path, count: int) -> ImageFiles:
    """JPEG files of 160 x 160 noise over a gradient, about as large as photographs."""
    rng = np.random.default_rng(0)
    slope = np.linspace(0, 180, 160)[None, :, None]
    paths = []
    for index in range(count):
        pixels = slope + rng.integers(0, 60, (160, 160, 3))
        paths.append(str(folder / f"{index}.jpg"))
        Image.fromarray(pixels.astype("uint8")).save(paths[-1], quality=80)
    return ImageFiles(paths, rng.integers(0, len(NAMES), count))


def loop(folder: Path) -> Callable[[], None]:
    """An epoch of the training loop."""
    files = write_images(folder, BATCH * BATCHES)
    recipe, task = choose_recipe("small", batch=BATCH), SingleLabel(NAMES)
    encoder = encoders.reset_classifier(encoders.create_encoder("resnet18"), NAMES)
    setup = TrainingSetup(recipe, files, files, task, SINGLE_PROCESS, folder, CROP)
    state, log = trainer.init_state(encoder, setup), TrainingLog(setup, epoch=0)
    return lambda: trainer.train_epoch(state, encoder.network, setup, log, StopRequest())


def bound() -> Callable[[], None]:
    """The same number of forward and backward passes."""
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
        training, network = loop(Path(folder)), bound()
        training(), network()
        pairs = [(seconds(training), seconds(network)) for _ in range(ROUNDS)]
    count = BATCH * BATCHES
    trained, bare = (count / statistics.median(times) for times in zip(*pairs, strict=True))
    ratio = statistics.median(bound / total for total, bound in pairs)
    precision = reduced_precision(torch.device("cpu")) or torch.float32
    print(f"ResNet-18 at {CROP}, batch {BATCH}, {precision}, {torch.get_num_threads()} threads")
    print(f"training {trained:.1f} images/s, network alone {bare:.1f}, ratio {ratio:.2f}")


if __name__ == "__main__":
    sys.exit(main())
