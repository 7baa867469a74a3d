"""What --precision means on each device."""

import pytest
import torch

from prepro.runtime import precision
from prepro.runtime.precision import autocast_to, training_precision

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    "device, half, name, expected",
    [
        (CPU, torch.bfloat16, "auto", "float32"),
        (CPU, torch.bfloat16, "bfloat16", "bfloat16"),
        (CPU, None, "auto", "float32"),
        (CUDA, torch.bfloat16, "auto", "bfloat16"),
        (CUDA, torch.float16, "auto", "float16"),
        (CUDA, torch.bfloat16, "float32", "float32"),
    ],
)
def test_meaning(device, half, name, expected, monkeypatch):
    monkeypatch.setattr(precision, "reduced_precision", lambda _: half)
    assert training_precision(name, device) == expected


def test_bfloat16_needs_instructions(monkeypatch):
    monkeypatch.setattr(precision, "reduced_precision", lambda _: None)
    with pytest.raises(ValueError, match="try --precision float32"):
        training_precision("bfloat16", CPU)


def test_the_context_of_each():
    with autocast_to("float32", CPU):
        assert not torch.is_autocast_enabled("cpu")
    with autocast_to("bfloat16", CPU):
        assert torch.get_autocast_dtype("cpu") is torch.bfloat16
