"""The order of the pictures of an epoch, and what takes the place of those that cannot be read."""

from types import SimpleNamespace

import numpy as np
import torch

from prepro.images import BadImage
from prepro.pretraining.batches import ImageReader, collate, epoch_order, make_loader


def test_processes_divide_an_epoch_evenly():
    order = epoch_order(10, seed=1, epoch=2)
    assert sorted(order) == list(range(10)) and order != epoch_order(10, 1, 3)
    per_rank = [epoch_order(10, 1, 2, rank, 4) for rank in range(4)]
    assert {len(part) for part in per_rank} == {3}
    assert set().union(*per_rank) == set(range(10))
    assert [len(epoch_order(12, 1, 2, rank, 4)) for rank in range(4)] == [3] * 4


class Pictures:
    """`count` pictures, of which those in `bad` cannot be read; picture i has the target 10 i."""

    def __init__(self, count: int, bad: set[int]) -> None:
        self.targets, self.bad = 10 * np.arange(count), bad

    def __len__(self) -> int:
        return len(self.targets)

    def name(self, index: int) -> str:
        return f"picture {index}"

    def open(self, index: int):
        if index in self.bad:
            raise BadImage("torn")
        return SimpleNamespace(number=index)


def pixels(image, index):
    """The number of the picture, and of the place that it takes."""
    return np.array([image.number, index], np.float32)


def reader(count: int, *bad: int, replace: bool = True) -> ImageReader:
    return ImageReader(Pictures(count, set(bad)), pixels, replace)


def test_the_next_readable_picture_takes_the_place_of_a_bad_one(capsys):
    """Its own label goes with it, and the augmentation of the place; each is named once."""
    images = reader(5, 1, 2, 4)
    for _ in range(2):
        found = [(*images[i][0].tolist(), int(images[i][1])) for i in range(5)]
        assert found == [(0, 0, 0), (3, 1, 30), (3, 2, 30), (3, 3, 30), (0, 4, 0)]
    lines = capsys.readouterr().err.splitlines()
    assert lines == [f"left out picture {i}: torn" for i in (1, 2, 4)]


def test_a_hundred_bad_pictures_in_a_row_are_given_up(capsys):
    assert reader(102, *range(99))[0][1] == 990
    assert reader(102, *range(100))[0] is None
    assert reader(3, 0, 1, 2)[0] is None
    assert len(capsys.readouterr().err.splitlines()) == 99 + 100 + 3


def test_evaluation_leaves_bad_pictures_out(capsys):
    loader = make_loader(reader(7, 1, 4, 5, replace=False), range(7), batch=2)
    batches = [batch and batch[1].tolist() for batch in loader]
    assert batches == [[0], [20, 30], None, [60]]
    assert collate([None, None]) is None


def test_reading_leaves_the_global_generator_unchanged():
    torch.manual_seed(3)
    state = torch.get_rng_state()
    numbers = [targets.tolist() for _, targets in make_loader(reader(5), [4, 0, 3], batch=2)]
    assert numbers == [[40, 0], [30]]
    assert torch.equal(torch.get_rng_state(), state)
