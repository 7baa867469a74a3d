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


@pytest.mark.parametrize(
    ("features", "expected"),
    [((), None), (("avx512_bf16",), torch.bfloat16), (("amx_tile",), torch.bfloat16)],
)
def test_the_format_of_a_cpu_is_that_of_its_instructions(features, expected, monkeypatch):
    for name in ("avx512_bf16", "amx_tile"):
        supported = name in features
        monkeypatch.setattr(torch.cpu, f"_is_{name}_supported", lambda s=supported: s)
    assert precision.reduced_precision(CPU) is expected
    assert precision.reduced_precision(torch.device("mps")) is None
    with precision.autocast(CPU):
        assert torch.is_autocast_enabled("cpu") == bool(features)


@pytest.mark.parametrize(("native", "expected"), [(True, torch.bfloat16), (False, torch.float16)])
def test_a_gpu_that_only_emulates_bfloat16_computes_in_float16(native, expected, monkeypatch):
    monkeypatch.setattr(
        torch.cuda,
        "is_bf16_supported",
        lambda including_emulation=True: native or including_emulation,
    )
    assert precision.reduced_precision(CUDA) is expected
    assert training_precision("float16", CUDA) == "float16"


@pytest.mark.parametrize("half", [None, torch.float16, torch.bfloat16])
def test_what_a_device_cannot_is_refused_and_nothing_else(half, monkeypatch):
    monkeypatch.setattr(precision, "reduced_precision", lambda _: half)
    for device in (CPU, CUDA):
        assert training_precision("float32", device) == "float32"
        if half is torch.bfloat16:
            assert training_precision("bfloat16", device) == "bfloat16"
        else:
            with pytest.raises(ValueError, match=f"bfloat16: this {device.type} has no"):
                training_precision("bfloat16", device)
    with pytest.raises(ValueError, match="float16: needs a GPU"):
        training_precision("float16", CPU)
