"""What every decoder promises, each promise checked against another way to the same numbers."""

import pytest
import torch

from caption.models import DECODERS, Decoder, Features, Shape, build

B, K, T, R, D, CLASSES = 3, 2, 6, 5, 8, 11
SHAPE = Shape(CLASSES, features=D, embedding=8, hidden=8, layers=2, heads=2)


def batch(dtype: torch.dtype = torch.float32) -> tuple[Features, torch.Tensor]:
    """Features of B images, the last two with a region of padding, and captions that begin at 0."""
    mask = torch.ones(B, R, dtype=torch.bool)
    mask[1, -1] = mask[2, 0] = False
    words = torch.randint(1, CLASSES, (B, K, T))
    words[:, :, 0] = 0
    return Features(torch.randn(B, D, dtype=dtype), torch.randn(B, R, D, dtype=dtype), mask), words


@pytest.fixture(params=DECODERS)
def decoder(request: pytest.FixtureRequest) -> Decoder:
    torch.manual_seed(1)
    return build(request.param, SHAPE).eval()


@torch.no_grad()
def test_teacher_forcing_equals_steps(decoder: Decoder) -> None:
    features, words = batch()
    forced = decoder(features, words)
    state = decoder.begin(features).expand(K)
    for t in range(T):
        log_probs, state, _ = decoder.step(words[:, :, t], state)
        assert torch.allclose(log_probs, forced[:, :, t], atol=1e-5)
    assert torch.allclose(forced.exp().sum(-1), torch.ones(B, K, T), atol=1e-5)


@torch.no_grad()
def test_reading_goes_on_from_any_word(decoder: Decoder) -> None:
    features, words = batch()
    first = decoder.read(words[:, :, :2], decoder.begin(features).expand(K))
    rest = decoder.read(words[:, :, 2:], first.state)
    joined = torch.cat([first.hidden, rest.hidden], 2)
    assert torch.allclose(joined, decoder.hidden(features, words), atol=1e-6)


def test_gradients_in_double_precision(decoder: Decoder) -> None:
    decoder = decoder.double()
    features, words = batch(torch.double)
    names, values = zip(*decoder.named_parameters(), strict=True)

    def loss(fc: torch.Tensor, att: torch.Tensor, *weights: torch.Tensor) -> torch.Tensor:
        arguments = (Features(fc, att, features.mask), words[:, :, :3])
        out = torch.func.functional_call(decoder, dict(zip(names, weights, strict=True)), arguments)
        return (out * torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)).sum()

    inputs = (features.fc.requires_grad_(), features.att.requires_grad_(), *values)
    assert torch.autograd.gradcheck(loss, inputs, fast_mode=True)
