"""Randomness against the published generator and its independence of everything but the image."""

import numpy as np
import torch

from caption.decoding.rng import gumbel, image_keys, uniform

# the first outputs of SplitMix64 from the seed 1234567, as published with it
SPLITMIX = (6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431)


def test_the_numbers_are_those_of_splitmix():
    key = torch.tensor([1234567])
    found = [float(uniform(key, 1, 0, turn)) for turn in range(4)]
    assert found == [(number >> 41) / 2**23 for number in SPLITMIX]


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


def test_gumbel_has_its_mean_and_variance():
    g = gumbel(image_keys(0, range(100)), 1000, 3)
    assert abs(g.mean() - np.euler_gamma) < 0.02
    assert abs(g.var() - np.pi**2 / 6) < 0.05
