"""Dropout: independent elements of the right share, scaled, the same mask forward and back."""

import pytest
import torch
from torch import nn

from caption.models.layers.dropout import Dropout


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_share_mean_and_gradient(p):
    torch.manual_seed(0)
    x = torch.ones(1001, 999, requires_grad=True)
    y = Dropout(p)(x)
    kept = y != 0
    n = x.numel()
    assert abs(kept.double().mean() - (1 - p)) < 5 * (p * (1 - p) / n) ** 0.5 + 2**-16
    assert torch.allclose(y[kept], torch.tensor(1 / (1 - p)), rtol=2**-15 / (1 - p))
    assert abs(y.double().mean() - 1) < 5 * (p / (1 - p) / n) ** 0.5
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())


@pytest.mark.parametrize("p", [0.25, 1 / 65536, 65535 / 65536])
def test_of_all_random_numbers_the_very_share_is_dropped(p, monkeypatch):
    """65,536 numbers of 16 bits, each once."""

    def random_(numbers, *_):
        numbers.view(torch.int16).copy_(torch.arange(-(2**15), 2**15))
        return numbers

    monkeypatch.setattr(torch.Tensor, "random_", random_)
    assert (Dropout(p)(torch.ones(65_536)) == 0).sum() == 65_536 * p


def test_elements_are_independent():
    """Also the four that share a random number: correlation with each of the next eight."""
    torch.manual_seed(1)
    kept = (Dropout(0.5)(torch.ones(1_000_000)) != 0).double() - 0.5
    for lag in range(1, 9):
        correlation = 4 * (kept[:-lag] * kept[lag:]).mean()
        assert abs(correlation) < 5e-3  # five standard deviations


@pytest.mark.parametrize("p, training", [(0.5, False), (0.0, True), (1.0, True), (1e-6, True)])
def test_the_ends_are_those_of_pytorch(p, training):
    x = torch.randn(5, 7)
    torch.manual_seed(3)
    expected = nn.Dropout(p).train(training)(x)
    torch.manual_seed(3)
    assert torch.equal(Dropout(p).train(training)(x), expected)


def test_a_seed_repeats_the_mask():
    draws = []
    for _ in range(2):
        torch.manual_seed(7)
        draws.append(Dropout(0.3)(torch.ones(13, 3)))
    assert torch.equal(*draws)


def test_bfloat16_stays_bfloat16():
    assert Dropout(0.5)(torch.ones(4, 4, dtype=torch.bfloat16)).dtype == torch.bfloat16
