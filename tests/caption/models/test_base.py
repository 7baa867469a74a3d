"""What every decoder promises, each promise checked against another way to the same numbers."""

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
    words = torch.randint(1, CLASSES, (B, K, T))
    words[:, :, 0] = 0
    return Features(torch.randn(B, D, dtype=dtype), torch.randn(B, R, D, dtype=dtype), mask), words


def made(name: str, shape: Shape = SHAPE) -> Decoder:
    torch.manual_seed(1)
    return build(name, shape).eval()


@pytest.fixture(params=DECODERS)
def decoder(request: pytest.FixtureRequest) -> Decoder:
    return made(request.param)


@pytest.fixture(params=WITH_ATTENTION)
def attending(request: pytest.FixtureRequest) -> Decoder:
    return made(request.param)


@torch.no_grad()
def test_teacher_forcing_equals_steps(decoder: Decoder) -> None:
    features, words = batch()
    forced = decoder(features, words)
    _, attention = force(decoder, features, words)
    assert (attention is None) == (not decoder.needs_regions)
    state = decoder.begin(features).expand(K)
    for t in range(T):
        log_probs, state, looked = decoder.step(words[:, :, t], state)
        assert torch.allclose(log_probs, forced[:, :, t], atol=1e-5)
        if attention is not None:
            assert torch.allclose(looked, attention[:, :, t], atol=1e-6)
    assert torch.allclose(forced.exp().sum(-1), torch.ones(B, K, T), atol=1e-5)


@torch.no_grad()
def test_reading_goes_on_from_any_word(decoder: Decoder) -> None:
    features, words = batch()
    first = decoder.decode_tokens(words[:, :, :2], decoder.begin(features).expand(K))
    rest = decoder.decode_tokens(words[:, :, 2:], first.state)
    joined = torch.cat([part.hidden.view(B, K, -1, 8) for part in (first, rest)], 2)
    assert torch.allclose(joined, force(decoder, features, words)[0], atol=1e-6)


def lengths_of(words: Tensor) -> Tensor:
    """Which words are real where captions have 1 to T of them."""
    lengths = torch.randint(1, T + 1, (B, K, 1))
    lengths[0, 0], lengths[1, 0] = T - 1, 1  # nobody reads the last word; an image loses one first
    return torch.arange(T) < lengths


def test_padding_is_skipped_and_nothing_else(decoder: Decoder) -> None:
    """The same hiddens, attention and gradients of the real words as of all of them."""
    features, words = batch()
    real = lengths_of(words)
    hidden, attention = force(decoder, features, words)
    packed, looked, state = decoder.teacher_force(features, words, real, need_attention=True)
    assert state is None
    assert packed.shape == (int(real.sum()), SHAPE.hidden)
    assert torch.allclose(packed, hidden[real], atol=1e-6)
    assert (looked is None) == (attention is None)
    if looked is not None:
        assert torch.allclose(looked, attention[real], atol=1e-6)
    weights = torch.randn_like(packed)
    one, two = (
        torch.autograd.grad((h * weights).sum(), [*decoder.parameters()], allow_unused=True)
        for h in (packed, hidden[real])
    )
    for a, b in zip(one, two, strict=True):
        assert (a is None) == (b is None)
        assert a is None or torch.allclose(a, b, atol=1e-5)


@torch.no_grad()
def test_a_caption_of_nothing_is_possible(decoder: Decoder) -> None:
    """A process of several may be left without a word."""
    features, words = batch()
    packed, looked, _ = decoder.teacher_force(features, words, words < 0, need_attention=True)
    assert packed.shape == (0, SHAPE.hidden)
    assert looked is None or looked.shape == (0, R)


@torch.no_grad()
def test_a_word_changes_nothing_before_it(decoder: Decoder) -> None:
    features, words = batch()
    before = decoder(features, words)
    words[:, :, 3] = words[:, :, 3] % (CLASSES - 1) + 1
    after = decoder(features, words)
    assert torch.equal(before[:, :, :3], after[:, :, :3])
    assert (before[:, :, 3:] != after[:, :, 3:]).any(-1).all()


def test_gradients_in_double_precision(decoder: Decoder) -> None:
    """With respect to the features and to every parameter."""
    decoder = decoder.double()
    features, words = batch(torch.double)
    names, values = zip(*decoder.named_parameters(), strict=True)

    def loss(fc: Tensor, att: Tensor, *weights: Tensor) -> Tensor:
        seen = Features(fc, att, features.mask)
        weights = dict(zip(names, weights, strict=True))
        out = torch.func.functional_call(decoder, weights, (seen, words[:, :, :3]))
        return (out * torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)).sum()

    inputs = (features.fc.requires_grad_(), features.att.requires_grad_(), *values)
    assert torch.autograd.gradcheck(loss, inputs, fast_mode=True)


def test_gradient_of_attention(attending: Decoder) -> None:
    """The doubly stochastic term of Show, Attend and Tell, section 4.2.1."""
    attending = attending.double()
    features, words = batch(torch.double)

    def doubly_stochastic(att: Tensor) -> Tensor:
        attention = force(attending, features._replace(att=att), words)[1]
        return (1 - attention.sum(2)).square().sum()

    assert torch.autograd.gradcheck(
        doubly_stochastic, features.att.requires_grad_(), fast_mode=True
    )


def lengths_mask(words: Tensor) -> Tensor:
    return lengths_of(words) | (torch.arange(T) == 0)


@pytest.mark.parametrize("padded", [False, True])
def test_kernels_equal_the_plain_code(
    attending: Decoder, padded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hidden states, attention and every gradient, in double precision."""
    attending = attending.double()
    features, words = batch(torch.double)
    features.att.requires_grad_()
    mask = lengths_mask(words) if padded else None
    found = []
    for fast in (True, False):
        for module in (attention, recurrence):
            monkeypatch.setattr(module, "use_kernels", lambda _, fast=fast: fast)
        attending.zero_grad()
        features.att.grad = None
        hidden, weights, _ = attending.teacher_force(features, words, mask, need_attention=True)
        (hidden.square().sum() + weights.square().sum()).backward()
        grads = [p.grad for p in attending.parameters() if p.grad is not None]
        found.append([hidden, weights, features.att.grad, *(grad.clone() for grad in grads)])
    for one, two in zip(*found, strict=True):
        assert torch.allclose(one, two, atol=1e-12)


@torch.no_grad()
def test_masked_regions_are_not_there(attending: Decoder) -> None:
    features, words = batch()
    hidden, attention = force(attending, features, words)
    assert attention.shape == (B, K, T, R)
    assert (attention[1, :, :, -1] == 0).all() and (attention[2, :, :, 0] == 0).all()
    assert torch.allclose(attention.sum(-1), torch.ones(B, K, T), atol=1e-6)
    assert (attention > 0).sum() == (B * R - 2) * K * T
    without = Features(features.fc[2:], features.att[2:, 1:])
    assert torch.allclose(force(attending, without, words[2:])[0], hidden[2:], atol=1e-6)


@torch.no_grad()
def test_rows_do_not_see_each_other(decoder: Decoder) -> None:
    features, words = batch()
    together = decoder(features, words)
    for b in range(B):
        for k in range(K):
            one = Features(*(t[b : b + 1] for t in features))
            alone = decoder(one, words[b : b + 1, k : k + 1])
            assert torch.allclose(alone[0, 0], together[b, k], atol=1e-5)


@torch.no_grad()
def test_state_follows_and_keeps(decoder: Decoder) -> None:
    """Rows that go on from others, and images that leave, equal captions read from the start."""
    features, words = batch()
    state = decoder.decode_tokens(words[:, :, :3], decoder.begin(features).expand(K)).state
    parents, images = torch.tensor([[1, 0], [1, 1], [0, 0]]), torch.tensor([2, 0])
    state = state.reorder(parents).select_images(images)
    log_probs = decoder.step(words[images, :, 3], state).log_probs
    words[:, :, :3] = words[torch.arange(B)[:, None], parents, :3]
    expected = decoder(Features(*(t[images] for t in features)), words[images])
    assert torch.allclose(log_probs, expected[:, :, 3], atol=1e-5)


def test_regions_are_asked_for(attending: Decoder) -> None:
    with pytest.raises(ValueError, match=r"attends to regions.*--regions.*show_tell"):
        attending.begin(Features(torch.randn(B, D)))


@pytest.mark.parametrize("name", sorted(set(DECODERS) - set(WITH_ATTENTION)))
def test_fc_decoders_ignore_regions(name: str) -> None:
    features, words = batch()
    decoder = made(name)
    assert torch.equal(decoder(features, words), decoder(Features(features.fc), words))


@pytest.mark.parametrize("name", DECODERS)
def test_learns_which_caption_belongs_to_which_image(name: str) -> None:
    """Twelve images with one caption each, all begun alike: only the image can tell them apart."""
    decoder = made(name, Shape(CLASSES, D, 32, 32, heads=2, dropout=0.1)).train()
    features = Features(torch.randn(12, D), torch.randn(12, R, D))
    words = torch.randint(1, CLASSES, (12, 1, T))
    inputs = F.pad(words[:, :, :-1], (1, 0))
    optimiser = torch.optim.Adam(decoder.parameters(), 5e-3)
    for _ in range(150):
        loss = F.nll_loss(decoder(features, inputs).flatten(0, 2), words.flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        assert (decoder.eval()(features, inputs).argmax(-1) == words).float().mean() > 0.95


def test_dropout_is_for_training_only(decoder: Decoder) -> None:
    features, words = batch()
    assert torch.equal(decoder(features, words), decoder(features, words))
    decoder.train()
    assert not torch.equal(decoder(features, words), decoder(features, words))


def test_half_precision_keeps_the_gradients(decoder: Decoder) -> None:
    """Under autocast every parameter gets its gradient, near the exact one."""
    features, words = batch()
    exact = torch.autograd.grad(decoder(features, words)[..., 1].sum(), [*decoder.parameters()])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        decoder(features, words)[..., 1].sum().backward()
    half = [p.grad for p in decoder.parameters()]
    exact, half = (torch.cat([g.flatten() for g in grads]) for grads in (exact, half))
    assert (half - exact).norm() < 0.05 * exact.norm()


def test_unknown_names_meet_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"no decoder 'top_down'; nearest: topdown"):
        build("top_down", SHAPE)
