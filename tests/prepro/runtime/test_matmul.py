"""The library of products: chosen by speed and error, never with AVX2 alone or AMX."""

import pytest
import torch

from prepro.runtime import matmul


@pytest.fixture(autouse=True)
def restored():
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    matmul.choose_matmul.cache_clear()
    yield
    matmul.choose_matmul.cache_clear()
    torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize(
    "capability, amx, seconds, error, expected",
    [
        ("AVX512", False, 0.5, 3e-5, "oneDNN"),
        ("AVX512", False, 0.9, 3e-5, "default"),  # hardly faster
        ("AVX512", False, 0.5, 1e-2, "default"),  # computed in bfloat16
        ("AVX512", True, 0.5, 3e-5, "default"),
        ("AVX2", False, 0.5, 3e-5, "default"),
    ],
)
def test_the_choice(capability, amx, seconds, error, expected, monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    measured = {"highest": (1.0, 1e-5), "medium": (seconds, error)}
    monkeypatch.setattr(matmul, "_measure", measured.get)
    assert matmul.choose_matmul() == expected
    found = torch.get_float32_matmul_precision()
    assert found == ("medium" if expected == "oneDNN" else "highest")


def test_what_is_chosen_here_is_float32():
    generator = torch.Generator().manual_seed(1)
    x, w = (torch.randn(n, 512, generator=generator) for n in (50, 2048))
    exact = x.double() @ w.double().T
    plain = (x @ w.T - exact).abs().max()
    matmul.choose_matmul()
    assert (x @ w.T - exact).abs().max() <= 10 * plain


def test_random_numbers_stay_as_they_were():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    matmul._measure("highest")
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(
    ("seconds", "error", "expected"),
    [(0.999, 1, "oneDNN"), (1, 1, "default"), (1.001, 1, "default"), (0.999, 1.001, "default")],
)
def test_what_is_just_fast_and_exact_enough(seconds, error, expected, monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    fast = seconds / matmul.SPEEDUP, error * matmul.ERROR * 2.0
    monkeypatch.setattr(matmul, "_measure", {"highest": (1.0, 2.0), "medium": fast}.get)
    assert matmul.choose_matmul() == expected


def test_the_users_choice_stays(monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    monkeypatch.setattr(matmul, "_measure", {"highest": (1.0, 1.0), "medium": (0.1, 1.0)}.get)
    torch.set_float32_matmul_precision("high")
    assert matmul.choose_matmul() == "default" and torch.get_float32_matmul_precision() == "high"


def test_whose_products_go_through_onednn(monkeypatch):
    if not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        assert not matmul.uses_onednn(torch.float32)
        return
    assert matmul.uses_onednn(torch.bfloat16) == torch.ops.mkldnn._is_mkldnn_bf16_supported()
    for precision, expected in (("highest", False), ("medium", True)):
        torch.set_float32_matmul_precision(precision)
        assert matmul.uses_onednn(torch.float32) == expected
        assert not matmul.uses_onednn(torch.float64)


def test_what_is_measured_is_the_error_of_one_rounded_product(monkeypatch):
    """Sums of 1,024 products of normal numbers: about 1e-5 in float32, 0.1 in bfloat16."""
    times = iter([3, 1, 2, 5, 4])
    monkeypatch.setattr(matmul, "_seconds", lambda x, w: next(times))
    seconds, error = matmul._measure("highest")
    assert seconds == 1 and 1e-6 < error < 1e-3
