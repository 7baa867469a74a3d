"""Randomness against the published generator and its independence of everything but the image."""

import math

import numpy as np
import pytest
import torch

from caption.decoding import rng
from caption.decoding.rng import gumbel, image_keys, uniform

# the first outputs of SplitMix64 from the seed 1234567, as published with it
SPLITMIX = (6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431)


def test_the_numbers_are_those_of_splitmix():
    key = torch.tensor([1234567])
    found = [float(uniform(key, 1, 0, turn)) for turn in range(4)]
    assert found == [(number >> 41) / 2**23 for number in SPLITMIX]
    assert float(uniform(key, 1, 0)) == found[0]


def splitmix(seed, count):
    """The `count`-th output from the seed, in plain integers, as the paper has it."""
    z = (seed + count * 0x9E3779B97F4A7C15) % 2**64
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
    return z ^ (z >> 31)


def test_a_sample_has_2_to_the_16_steps_of_2_to_the_16_draws():
    """The same seed gives the same captions in later versions."""
    assert tuple(splitmix(1234567, i) for i in range(1, 5)) == SPLITMIX
    keys = [-7, 2**62 + 3]
    for step, draw in ((0, 0), (3, 0), (0, 2), (5, 31)):
        found = uniform(torch.tensor(keys), 3, step, draw)
        for row, key in zip(found.tolist(), keys, strict=True):
            counts = [sample * 2**32 + step * 2**16 + draw + 1 for sample in range(3)]
            assert row == [(splitmix(key, count) >> 41) / 2**23 for count in counts]


def test_numbers_belong_to_an_image():
    together = uniform(image_keys(7, [3, "a.jpg", 5]), 4, 2)
    assert torch.equal(uniform(image_keys(7, [5]), 2, 2)[0], together[2, :2])
    assert not torch.equal(uniform(image_keys(8, [5]), 4, 2)[0], together[2])


def test_numbers_are_uniform_and_uncorrelated():
    u = torch.cat([uniform(image_keys(0, range(2000)), 5, step) for step in range(10)], 1).numpy()
    counts = np.histogram(u, 100, (0, 1))[0]
    assert ((counts - u.size / 100) ** 2 / (u.size / 100)).sum() < 160  # chi-square, 99 degrees
    correlations = np.corrcoef(u.T) - np.eye(u.shape[1])
    assert abs(correlations).max() < 0.12  # 5 standard deviations of 1 / sqrt(2000)


def test_gumbel_of_the_middle_of_each_step_of_a_uniform_number(monkeypatch):
    """Numbers are multiples of 2^-23; 0 would be minus infinity."""
    u = [0.0, 0.25, 1 - 2.0**-23]
    monkeypatch.setattr(rng, "uniform", lambda *_: torch.tensor([u]))
    expected = [-math.log(-math.log(x + 2.0**-24)) for x in u]
    assert gumbel(torch.tensor([0]), 3, 0)[0].tolist() == pytest.approx(expected, rel=1e-6)


def test_gumbel_has_its_mean_and_variance():
    g = gumbel(image_keys(0, range(100)), 1000, 3)
    assert abs(g.mean() - np.euler_gamma) < 0.02
    assert abs(g.var() - np.pi**2 / 6) < 0.05
