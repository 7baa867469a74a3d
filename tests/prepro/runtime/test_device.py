"""Devices that this machine lacks are refused by name."""

import pytest
import torch

from prepro.runtime import device
from prepro.runtime.device import choose_device


def test_auto_takes_the_best_there_is(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert choose_device("auto").type == "mps"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("auto").type == "cuda"


@pytest.mark.parametrize(
    "name, word", [("mps", "no MPS"), ("cuda", "no CUDA"), ("tpu", "expected")]
)
def test_a_device_that_is_missing_is_refused(name, word, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(ValueError, match=word):
        choose_device(name)


def test_a_cuda_device_beyond_the_last_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("cuda:1").index == 1
    with pytest.raises(ValueError, match="2 CUDA devices"):
        choose_device("cuda:2")


def test_cuda_alone_is_the_first_device(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert choose_device("cuda").type == "cuda" and choose_device("mps").type == "mps"
    with pytest.raises(ValueError, match="--device cuda:1: this machine has 1 CUDA devices"):
        choose_device("cuda:1")


def test_products_and_memory_are_set_up_on_a_cpu_alone(monkeypatch):
    calls = []
    monkeypatch.setattr(device, "keep_freed_memory", lambda: calls.append("memory"))
    monkeypatch.setattr(device, "choose_matmul", lambda: calls.append("products"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert choose_device("mps").type == "mps" and calls == []
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for name in ("cpu", "auto"):
        assert choose_device(name).type == "cpu"
    assert calls == ["memory", "products"] * 2
