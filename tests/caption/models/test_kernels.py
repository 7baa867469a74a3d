"""Attention in blocks: values and gradients of the formula, however few rows a block has."""

import pytest
import torch
from torch import Tensor

from caption.models.layers import kernels

R, A, D = 3, 4, 5
ROWS = [(4, 4, 4), (5, 0, 3), (2, 0, 2), (1, 1, 1), (7,)]


def numbers(*sizes: int) -> Tensor:
    return torch.randn(*sizes, dtype=torch.float64, requires_grad=True)


def same(found: Tensor, expected: Tensor, inputs: list[Tensor]) -> None:
    weights = torch.randn_like(expected)
    assert torch.allclose(found, expected, rtol=0, atol=1e-12)
    for one, two in zip(
        torch.autograd.grad((found * weights).sum(), inputs),
        torch.autograd.grad((expected * weights).sum(), inputs),
        strict=True,
    ):
        assert torch.allclose(one, two, rtol=0, atol=1e-12)


@pytest.mark.filterwarnings("error")  # PyTorch warns of a buffer that is too small
@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("most", [0, 1, 2, 3, 8, 100])
def test_scores_are_those_of_the_formula(
    rows: tuple[int, ...], most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`most` rows of R * A numbers fill a block."""
    torch.manual_seed(0)
    monkeypatch.setattr(kernels, "BLOCK", most * R * A)
    query, keys, v = numbers(sum(rows), A), numbers(len(rows), R, A), numbers(A)
    of_row = keys.repeat_interleave(torch.tensor(rows), 0)
    expected = (of_row + query[:, None]).tanh() @ v
    same(kernels.additive_scores(query, keys, v, rows), expected, [query, keys, v])
    blocks = kernels._blocked(rows, (query,), (keys,))
    assert max(buffer.numel() for *_, buffer in blocks) <= max(1, most) * R * A


@pytest.mark.parametrize("rows", ROWS)
def test_sums_are_those_of_the_formula(rows: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    weights, values = numbers(sum(rows), R), numbers(len(rows), R, D)
    expected = torch.einsum("nr,nrd->nd", weights, values.repeat_interleave(torch.tensor(rows), 0))
    same(kernels.weighted_sum(weights, values, rows), expected, [weights, values])
