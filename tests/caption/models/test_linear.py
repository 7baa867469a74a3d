"""The linear layer: nn.Linear's values by either library, also after its weight has changed."""

import copy

import pytest
import torch
from torch import nn

from caption.models import DECODERS, Features, Shape, build
from caption.models.layers.linear import Linear, _product_dtype


@pytest.fixture(params=["highest", "medium"])
def library(request):
    """MKL, and oneDNN where PyTorch has it."""
    if request.param == "medium" and torch.cpu._is_amx_tile_supported():
        pytest.skip("with AMX, oneDNN would compute in bfloat16; choose_matmul leaves MKL")
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(request.param)
    yield request.param
    torch.set_float32_matmul_precision(before)


def exact(layer: Linear, x: torch.Tensor, bias: bool = True) -> torch.Tensor:
    product = x.double() @ layer.weight.detach().double().T
    return product + layer.bias.detach().double() if bias else product


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (2, 3, 4), (7, 512), (50, 4)])
@pytest.mark.parametrize("out", [1, 4, 37, 256])
def test_values(library, shape, out):
    torch.manual_seed(0)
    layer, x = Linear(shape[-1], out), torch.randn(shape)
    with torch.no_grad():
        assert torch.allclose(layer(x).double(), exact(layer, x), atol=1e-5)
        h, other = x.flatten(0, -2), torch.randn(x.flatten(0, -2).shape[0], out)
        found = layer.add_product(other, h).double()
        assert torch.allclose(found, exact(layer, h, False) + other.double(), atol=1e-5)


def test_rows_that_are_not_contiguous(library):
    torch.manual_seed(0)
    layer, x = Linear(6, 5), torch.randn(6, 9).T
    with torch.no_grad():
        assert torch.allclose(layer(x).double(), exact(layer, x), atol=1e-5)
        expanded = torch.randn(1, 5).expand(9, 5)
        found = layer.add_product(expanded, x).double()
        assert torch.allclose(found, exact(layer, x, False) + expanded.double(), atol=1e-5)


def test_a_changed_weight_counts(library):
    torch.manual_seed(0)
    layer, x = Linear(8, 8), torch.randn(3, 8)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1, fused=True)
    for change in (
        lambda: layer.load_state_dict(Linear(8, 8).state_dict()),
        lambda: torch._foreach_lerp_([layer.weight.detach()], [torch.ones(8, 8)], 0.5),
        lambda: (layer(x).square().sum().backward(), optimizer.step()),
        lambda: setattr(layer, "weight", nn.Parameter(torch.randn(8, 8))),
    ):
        with torch.no_grad():
            layer(x)
        change()
        with torch.no_grad():
            assert torch.allclose(layer(x).double(), exact(layer, x), atol=1e-5)


def test_a_copy_has_its_own_weight(library):
    layer, x = Linear(8, 8), torch.randn(3, 8)
    with torch.no_grad():
        layer(x)
        other = copy.deepcopy(layer)
        other.weight.zero_()
        assert torch.allclose(other(x), other.bias.expand(3, 8), atol=1e-7)


def test_gradients_are_pytorchs(library):
    layer, x = Linear(4, 3), torch.randn(2, 4, requires_grad=True)
    layer(x).sum().backward()
    assert torch.allclose(x.grad, layer.weight.detach().sum(0).expand(2, 4))


@pytest.mark.parametrize("name", DECODERS)
def test_every_weight_of_a_decoder_that_training_changes_counts(name, library):
    """PyTorch's fused optimizers leave the version of a tensor as it was."""
    torch.manual_seed(0)
    shape = Shape(9, 16, embedding=16, hidden=16, heads=2, layers=1, dropout=0.0)
    model = build(name, shape)
    features = Features(torch.randn(2, 16), torch.randn(2, 5, 16))
    tokens = torch.randint(9, (2, 3, 4))
    with torch.no_grad():
        model.step(tokens[..., 0], model.begin(features).expand(3))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)
    model(features, tokens).sum().backward()
    optimizer.step()
    fresh = copy.deepcopy(model)
    with torch.no_grad():
        found, expected = (
            m.step(tokens[..., 0], m.begin(features).expand(3)) for m in (model, fresh)
        )
    assert torch.equal(found.log_probs, expected.log_probs)


@pytest.mark.skipif(torch.backends.cpu.get_cpu_capability() != "AVX512", reason="no AVX-512")
def test_onednn_is_used_where_it_was_chosen(library):
    expected = torch.float32 if library == "medium" else None
    assert _product_dtype(torch.ones(1, 1)) is expected


@pytest.mark.skipif(
    not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="oneDNN has no bfloat16 here"
)
def test_bfloat16_goes_through_onednn_whatever_float32_does(library):
    with torch.autocast("cpu", torch.bfloat16):
        assert _product_dtype(torch.ones(1, 1)) is torch.bfloat16
