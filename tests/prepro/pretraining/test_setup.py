"""The counts of a training run: what they mean, for one process and several."""

from pathlib import Path

import pytest
import torch

from prepro.pretraining.recipes import choose_recipe
from prepro.pretraining.setup import TrainingSetup
from prepro.pretraining.tasks import SingleLabel
from prepro.runtime.distributed import DistributedContext


def setup(pictures, batch, world=1, rank=0, folder=Path("run")):
    context = DistributedContext(torch.device("cpu"), rank, world)
    recipe = choose_recipe("small", batch=batch)
    images = range(pictures)
    return TrainingSetup(recipe, images, images, SingleLabel(("a", "b")), context, folder, 16)


@pytest.mark.parametrize(
    ("pictures", "batch", "world", "own_batch", "own", "all_of_them", "steps"),
    [
        (10, 4, 1, 4, 10, 10, 3),  # 4, 4 and 2
        (12, 4, 1, 4, 12, 12, 3),
        (10, 8, 4, 2, 3, 12, 2),  # two pictures are read twice
        (3, 2, 4, 1, 1, 4, 1),  # more processes than pictures a batch
    ],
)
def test_pictures_and_steps_of_an_epoch(pictures, batch, world, own_batch, own, all_of_them, steps):
    counts = setup(pictures, batch, world)
    assert (counts.batch, counts.images_per_process) == (own_batch, own)
    assert (counts.images_per_epoch, counts.steps_per_epoch) == (all_of_them, steps)
    assert (counts.seed, counts.workers) == (0, 0)


@pytest.mark.parametrize(
    ("steps", "window"),
    [(1, 1), (40, 40), (59, 59), (61, 31), (80, 40), (100, 50), (120, 40), (4000, 40)],
)
def test_a_row_of_the_log_averages_an_equal_part_of_about_forty_steps(steps, window):
    assert setup(steps, batch=1).log_every == window


@pytest.mark.parametrize("steps", range(800, 6000, 373))
def test_the_parts_of_an_epoch_differ_little(steps):
    window = setup(steps, batch=1).log_every
    assert 38 <= window <= 42
