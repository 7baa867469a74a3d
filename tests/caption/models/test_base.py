"""The interface that all decoders share, checked against a second computation of each result."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from caption.models import DECODERS, Decoder, Features, Shape, build
from caption.models.layers import attention, recurrence
from tests.caption.models.forcing import force

B, K, T, R, D, CLASSES = 3, 2, 6, 5, 8, 11
SHAPE = Shape(CLASSES, features=D, embedding=8, hidden=8, layers=2, heads=2)
WITH_ATTENTION = [name for name, kind in DECODERS.items() if kind.needs_regions]


def batch(dtype: torch.dtype = torch.float32) -> tuple[Features, Tensor]:
    """Features of B images, the last two with a region of padding, and captions that begin at 0."""
    mask = torch.ones(B, R, dtype=torch.bool)
    mask[1, -1] = mask[2, 0] = False
    tokens = torch.randint(1, CLASSES, (B, K, T))
    tokens[:, :, 0] = 0
    return Features(torch.randn(B, D, dtype=dtype), torch.randn(B, R, D, dtype=dtype), mask), tokens


def build_decoder(name: str, shape: Shape = SHAPE) -> Decoder:
    torch.manual_seed(1)
    return build(name, shape).eval()


@pytest.fixture(params=DECODERS)
def decoder(request: pytest.FixtureRequest) -> Decoder:
    return build_decoder(request.param)


@pytest.fixture(params=WITH_ATTENTION)
def attending(request: pytest.FixtureRequest) -> Decoder:
    return build_decoder(request.param)


@torch.no_grad()
def test_teacher_forcing_equals_steps(decoder: Decoder) -> None:
    features, tokens = batch()
    forced = decoder(features, tokens)
    _, attention = force(decoder, features, tokens)
    assert (attention is None) == (not decoder.needs_regions)
    state = decoder.begin(features).expand(K)
    for t in range(T):
        log_probs, state, alpha = decoder.step(tokens[:, :, t], state)
        assert torch.allclose(log_probs, forced[:, :, t], atol=1e-5)
        if attention is not None:
            assert torch.allclose(alpha, attention[:, :, t], atol=1e-6)
    assert torch.allclose(forced.exp().sum(-1), torch.ones(B, K, T), atol=1e-5)


@torch.no_grad()
def test_decoding_continues_from_any_token(decoder: Decoder) -> None:
    features, tokens = batch()
    first = decoder.decode_tokens(tokens[:, :, :2], decoder.begin(features).expand(K))
    rest = decoder.decode_tokens(tokens[:, :, 2:], first.state)
    joined = torch.cat([output.hidden.view(B, K, -1, 8) for output in (first, rest)], 2)
    assert torch.allclose(joined, force(decoder, features, tokens)[0], atol=1e-6)


def random_mask(tokens: Tensor) -> Tensor:
    """A token mask (B, K, T) of captions of 1 to T tokens."""
    lengths = torch.randint(1, T + 1, (B, K, 1))
    lengths[0, 0], lengths[1, 0] = T - 1, 1  # the first caption of image 1 ends after one token
    return torch.arange(T) < lengths


def test_token_mask_skips_only_padding(decoder: Decoder) -> None:
    """Hidden states, attention and gradients equal those computed with the padding."""
    features, tokens = batch()
    token_mask = random_mask(tokens)
    hidden, attention = force(decoder, features, tokens)
    packed, alpha, state = decoder.teacher_force(features, tokens, token_mask, need_attention=True)
    assert state is None
    assert packed.shape == (int(token_mask.sum()), SHAPE.hidden)
    assert torch.allclose(packed, hidden[token_mask], atol=1e-6)
    assert (alpha is None) == (attention is None)
    if alpha is not None:
        assert torch.allclose(alpha, attention[token_mask], atol=1e-6)
    weights = torch.randn_like(packed)
    one, two = (
        torch.autograd.grad((h * weights).sum(), [*decoder.parameters()], allow_unused=True)
        for h in (packed, hidden[token_mask])
    )
    for a, b in zip(one, two, strict=True):
        assert (a is None) == (b is None)
        assert a is None or torch.allclose(a, b, atol=1e-5)


def test_a_cpu_computes_no_padding(decoder: Decoder, monkeypatch: pytest.MonkeyPatch) -> None:
    features, tokens = batch()
    token_mask, decode_tokens, given = random_mask(tokens), decoder.decode_tokens, []
    monkeypatch.setattr(
        decoder, "decode_tokens", lambda *call: given.append(call[2]) or decode_tokens(*call)
    )
    decoder.teacher_force(features, tokens, token_mask)
    assert len(given) == 1 and given[0] is token_mask


@torch.no_grad()
def test_empty_token_mask_gives_empty_output(decoder: Decoder) -> None:
    """One of several processes may get a batch without tokens."""
    features, tokens = batch()
    packed, alpha, _ = decoder.teacher_force(features, tokens, tokens < 0, need_attention=True)
    assert packed.shape == (0, SHAPE.hidden)
    assert alpha is None or alpha.shape == (0, R)


@torch.no_grad()
def test_token_does_not_change_earlier_outputs(decoder: Decoder) -> None:
    features, tokens = batch()
    before = decoder(features, tokens)
    tokens[:, :, 3] = tokens[:, :, 3] % (CLASSES - 1) + 1
    after = decoder(features, tokens)
    assert torch.equal(before[:, :, :3], after[:, :, :3])
    assert (before[:, :, 3:] != after[:, :, 3:]).any(-1).all()


def test_gradients_in_double_precision(decoder: Decoder) -> None:
    """With respect to the features and to every parameter."""
    decoder = decoder.double()
    features, tokens = batch(torch.double)
    names, values = zip(*decoder.named_parameters(), strict=True)

    def loss(fc: Tensor, att: Tensor, *weights: Tensor) -> Tensor:
        given = Features(fc, att, features.mask)
        weights = dict(zip(names, weights, strict=True))
        out = torch.func.functional_call(decoder, weights, (given, tokens[:, :, :3]))
        return (out * torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)).sum()

    inputs = (features.fc.requires_grad_(), features.att.requires_grad_(), *values)
    assert torch.autograd.gradcheck(loss, inputs, fast_mode=True)


def test_gradient_of_attention(attending: Decoder) -> None:
    """The doubly stochastic term of Show, Attend and Tell, section 4.2.1."""
    attending = attending.double()
    features, tokens = batch(torch.double)

    def doubly_stochastic(att: Tensor) -> Tensor:
        attention = force(attending, features._replace(att=att), tokens)[1]
        return (1 - attention.sum(2)).square().sum()

    assert torch.autograd.gradcheck(
        doubly_stochastic, features.att.requires_grad_(), fast_mode=True
    )


@pytest.mark.parametrize(("dtype", "atol"), [(torch.double, 1e-12), (torch.float, 1e-5)])
@pytest.mark.parametrize("padded", [False, True])
def test_kernels_equal_the_plain_code(
    attending: Decoder, padded: bool, dtype: torch.dtype, atol: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Hidden states, attention and every gradient, with and without padding."""
    attending = attending.to(dtype)
    features, tokens = batch(dtype)
    features.att.requires_grad_()
    mask = random_mask(tokens) if padded else None
    found = []
    for fast in (True, False):
        for module in (attention, recurrence):
            monkeypatch.setattr(module, "use_kernels", lambda _, fast=fast: fast)
        attending.zero_grad()
        features.att.grad = None
        hidden, weights, _ = attending.teacher_force(features, tokens, mask, need_attention=True)
        (hidden.square().sum() + weights.square().sum()).backward()
        grads = [p.grad for p in attending.parameters() if p.grad is not None]
        found.append([hidden, weights, features.att.grad, *(grad.clone() for grad in grads)])
    for one, two in zip(*found, strict=True):
        assert torch.allclose(one, two, atol=atol)


@torch.no_grad()
def test_masked_regions_equal_absent_regions(attending: Decoder) -> None:
    features, tokens = batch()
    hidden, attention = force(attending, features, tokens)
    assert attention.shape == (B, K, T, R)
    assert (attention[1, :, :, -1] == 0).all() and (attention[2, :, :, 0] == 0).all()
    assert torch.allclose(attention.sum(-1), torch.ones(B, K, T), atol=1e-6)
    assert (attention > 0).sum() == (B * R - 2) * K * T
    without = Features(features.fc[2:], features.att[2:, 1:])
    assert torch.allclose(force(attending, without, tokens[2:])[0], hidden[2:], atol=1e-6)


@torch.no_grad()
def test_rows_are_independent(decoder: Decoder) -> None:
    features, tokens = batch()
    together = decoder(features, tokens)
    for b in range(B):
        for k in range(K):
            one = Features(*(t[b : b + 1] for t in features))
            alone = decoder(one, tokens[b : b + 1, k : k + 1])
            assert torch.allclose(alone[0, 0], together[b, k], atol=1e-5)


@torch.no_grad()
def test_state_is_reordered_and_selected(decoder: Decoder) -> None:
    """Reordered rows of selected images equal captions that are decoded from the start."""
    features, tokens = batch()
    state = decoder.decode_tokens(tokens[:, :, :3], decoder.begin(features).expand(K)).state
    parents, images = torch.tensor([[1, 0], [1, 1], [0, 0]]), torch.tensor([2, 0])
    state = state.reorder(parents).select_images(images)
    log_probs = decoder.step(tokens[images, :, 3], state).log_probs
    tokens[:, :, :3] = tokens[torch.arange(B)[:, None], parents, :3]
    expected = decoder(Features(*(t[images] for t in features)), tokens[images])
    assert torch.allclose(log_probs, expected[:, :, 3], atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("projection", ["", "none"])
def test_the_position_of_a_region_is_added_to_it(attending: Decoder, projection: str) -> None:
    name = next(name for name, kind in DECODERS.items() if type(attending) is kind)
    shape = replace(SHAPE, regions=R, position_std=1.0, region_projection=projection)
    decoder = build_decoder(name, shape)
    features, tokens = batch()
    found = decoder(features, tokens)
    moved = features._replace(att=features.att + decoder.pos_embed)
    decoder.pos_embed = None
    assert torch.allclose(found, decoder(moved, tokens), atol=1e-5)
    assert not torch.allclose(found, decoder(features, tokens), atol=1e-2)


def test_missing_regions_are_an_error(attending: Decoder) -> None:
    with pytest.raises(ValueError, match=r"attends to regions.*--regions.*show_tell"):
        attending.begin(Features(torch.randn(B, D)))


@pytest.mark.parametrize("name", sorted(set(DECODERS) - set(WITH_ATTENTION)))
def test_fc_decoders_ignore_regions(name: str) -> None:
    features, tokens = batch()
    decoder = build_decoder(name)
    assert torch.equal(decoder(features, tokens), decoder(Features(features.fc), tokens))


@pytest.mark.parametrize("name", DECODERS)
def test_decoder_learns_the_caption_of_each_image(name: str) -> None:
    """Twelve images with one caption each and the same start token: only the image differs."""
    decoder = build_decoder(name, Shape(CLASSES, D, 32, 32, heads=2, dropout=0.1)).train()
    features = Features(torch.randn(12, D), torch.randn(12, R, D))
    tokens = torch.randint(1, CLASSES, (12, 1, T))
    inputs = F.pad(tokens[:, :, :-1], (1, 0))
    optimizer = torch.optim.Adam(decoder.parameters(), 5e-3)
    for _ in range(150):
        loss = F.nll_loss(decoder(features, inputs).flatten(0, 2), tokens.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        assert (decoder.eval()(features, inputs).argmax(-1) == tokens).float().mean() > 0.95


def test_dropout_is_for_training_only(decoder: Decoder) -> None:
    features, tokens = batch()
    assert torch.equal(decoder(features, tokens), decoder(features, tokens))
    decoder.train()
    assert not torch.equal(decoder(features, tokens), decoder(features, tokens))


def test_autocast_gradients_are_near_the_exact_ones(decoder: Decoder) -> None:
    """Under bfloat16 autocast every parameter has a gradient.

    oneDNN's LSTM has no bfloat16 on processors without AVX-512.
    """
    features, tokens = batch()
    exact = torch.autograd.grad(decoder(features, tokens)[..., 1].sum(), [*decoder.parameters()])
    with torch.backends.mkldnn.flags(enabled=False), torch.autocast("cpu", dtype=torch.bfloat16):
        decoder(features, tokens)[..., 1].sum().backward()
    half = [p.grad for p in decoder.parameters()]
    exact, half = (torch.cat([g.flatten() for g in grads]) for grads in (exact, half))
    assert (half - exact).norm() < 0.05 * exact.norm()


def test_unknown_name_error_gives_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"no decoder 'top_down'; nearest: topdown"):
        build("top_down", SHAPE)
