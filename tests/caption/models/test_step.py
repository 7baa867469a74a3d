"""A step of decoding: its precision and its gradient; the gradients of biases."""

import itertools

import pytest
import torch
from torch.nn import functional as F

from caption.models import Decoder
from tests.caption.models.test_base import DECODERS, K, batch, build_decoder


@pytest.fixture(params=DECODERS)
def decoder(request: pytest.FixtureRequest) -> Decoder:
    return build_decoder(request.param)


def test_a_step_has_the_gradient_of_teacher_forcing(decoder: Decoder) -> None:
    features, tokens = batch()
    first, weights = tokens[:, :, :1], [*decoder.parameters()]
    step = decoder.step(first[..., 0], decoder.begin(features).expand(K)).log_probs
    found, expected = (
        torch.autograd.grad(log_probs[..., 1].sum(), weights, allow_unused=True)
        for log_probs in (step, decoder(features, first))
    )
    for one, two in zip(found, expected, strict=True):
        assert (one is None) == (two is None)
        assert one is None or torch.allclose(one, two, atol=1e-5)


@torch.no_grad()
def test_a_step_under_autocast_tells_words_apart_as_float32_does(decoder: Decoder) -> None:
    """Logits in bfloat16 have three digits: many words would be equally likely."""
    features, tokens = batch()
    with torch.backends.mkldnn.flags(enabled=False), torch.autocast("cpu", dtype=torch.bfloat16):
        state = decoder.begin(features).expand(K)
        hidden = decoder.decode_tokens(tokens[:, :, :1], state).hidden
        found = decoder.step(tokens[:, :, 0], state).log_probs
    layer = decoder.classify
    expected = F.linear(hidden.double(), layer.weight.double(), layer.bias.double())
    assert found.dtype == torch.float32
    assert torch.allclose(found.flatten(0, 1).double(), expected.log_softmax(-1), atol=1e-5)


def test_no_sum_has_two_biases(decoder: Decoder) -> None:
    """They would have the same gradient. nn.LSTM has two, for cuDNN."""
    features, tokens = batch(torch.double)
    weights = dict(decoder.double().named_parameters())
    biases = {name: w for name, w in weights.items() if w.dim() == 1 and "lstm" not in name}
    loss = decoder(features, tokens)[..., 1].sum()
    grads = dict(zip(biases, torch.autograd.grad(loss, biases.values()), strict=True))
    for (name, one), (other, two) in itertools.combinations(grads.items(), 2):
        assert one.shape != two.shape or not torch.allclose(one, two), (name, other)
