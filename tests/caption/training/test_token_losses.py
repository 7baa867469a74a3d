"""The loss of each token and its gradient beside PyTorch's cross entropy."""

import pytest
import torch
from torch.nn import functional as F

from caption.training import token_losses as module
from caption.training.token_losses import token_losses


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("block", [1, 100, 1 << 18])
def test_losses_and_gradients_are_pytorchs(smoothing, block, monkeypatch):
    monkeypatch.setattr(module, "BLOCK", block)
    torch.manual_seed(0)
    logits = 5 * torch.randn(23, 31, dtype=torch.float64)
    targets, weights = torch.randint(31, (23,)), torch.randn(23, dtype=torch.float64)
    results = []
    for function in (
        token_losses,
        lambda x, t, s: F.cross_entropy(x, t, reduction="none", label_smoothing=s),
    ):
        x = logits.clone().requires_grad_()
        losses = function(x, targets, smoothing)
        (losses * weights).sum().backward()
        results.append((losses.detach(), x.grad))
    for ours, expected in zip(*results, strict=True):
        assert torch.allclose(ours, expected, rtol=1e-12, atol=1e-14)


def test_a_word_that_is_all_but_impossible_has_a_finite_loss():
    logits = torch.tensor([[0.0, 300.0], [-1e4, 1e4]])
    assert token_losses(logits, torch.tensor([0, 0])).tolist() == [300.0, 20_000.0]


def test_bfloat16_logits_have_losses_in_float32():
    torch.manual_seed(0)
    logits = torch.randn(7, 50).bfloat16().requires_grad_()
    targets = torch.randint(50, (7,))
    losses = token_losses(logits, targets)
    expected = F.cross_entropy(logits.detach().float(), targets, reduction="none")
    assert losses.dtype == torch.float32 and torch.allclose(losses, expected, rtol=1e-6)
    losses.sum().backward()
    assert logits.grad.dtype == torch.bfloat16


def test_what_is_not_finite_stays_so():
    logits = torch.tensor([[0.0, torch.nan], [torch.inf, 1.0]])
    assert not token_losses(logits, torch.tensor([0, 1])).isfinite().any()
