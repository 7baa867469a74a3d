"""Losses against closed forms and loops over plain numbers."""

import math

import numpy as np
import pytest
import torch

from caption.data.batches import Batch
from caption.models import DECODERS, Features, Shape, build
from caption.training.losses import cross_entropy, doubly_stochastic
from caption.training.scheduled_sampling import scheduled_sampling
from tests.caption.models.forcing import force

SHAPE = Shape(classes=11, features=6, embedding=8, hidden=8, heads=2, dropout=0.0)


def batch_of(lengths, seed=0):
    """Random captions of these lengths (B, K), and features of as many images."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.tensor(lengths)
    b, k = lengths.shape
    t = int(lengths.max())
    targets = torch.randint(1, 11, (b, k, t + 1), generator=generator)
    targets[torch.arange(t + 1) >= lengths[..., None]] = 0
    words = torch.cat([torch.zeros(b, k, 1, dtype=torch.long), targets[..., :-1]], -1)
    features = Features(
        torch.randn(b, 6, generator=generator), torch.randn(b, 5, 6, generator=generator)
    )
    return Batch(np.arange(b), features, words, targets, torch.arange(t + 1) <= lengths[..., None])


def decoder(name="topdown", seed=1):
    torch.manual_seed(seed)
    return build(name, SHAPE)


@pytest.mark.parametrize("name", DECODERS)
def test_loss_of_a_decoder_that_knows_nothing(name):
    """With a classifier of zeros every class has 1/11, so a word costs log 11."""
    model, batch = decoder(name), batch_of([[3, 1], [5, 2]])
    torch.nn.init.zeros_(model.classify.weight)
    torch.nn.init.zeros_(model.classify.bias)
    for smoothing in (0.0, 0.1):
        loss = cross_entropy(model, batch, int(batch.token_mask.sum()), smoothing)
        assert loss.item() == pytest.approx(math.log(11), rel=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_loss_is_the_sum_over_real_words(smoothing):
    """Against log-probabilities of the protocol and a loop over words."""
    model, batch = decoder(), batch_of([[3, 1], [5, 2]])
    table = model(batch.features, batch.inputs).detach().double()
    total = count = 0
    for i in range(2):
        for k, length in enumerate(((3, 1), (5, 2))[i]):
            for t in range(length + 1):
                right = -table[i, k, t, batch.targets[i, k, t]]
                total += (1 - smoothing) * right - smoothing * table[i, k, t].mean()
                count += 1
    assert count == 15 == int(batch.token_mask.sum())
    options = (smoothing,) if smoothing else ()
    loss = cross_entropy(model, batch, count, *options)
    assert float(loss.detach()) == pytest.approx(float(total) / count, rel=1e-6)


def gradient(model, batches):
    tokens = sum(int(batch.token_mask.sum()) for batch in batches)
    model.zero_grad()
    for batch in batches:
        cross_entropy(model, batch, tokens).backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def test_accumulated_batches_have_the_gradient_of_one():
    """Lengths differ between the parts: a mean of means would be another gradient."""
    model, whole = decoder(), batch_of([[3, 1], [5, 2], [1, 1]])
    rest = whole[2:5]
    parts = [
        Batch(whole.rows[s], Features(*(x[s] for x in whole.features[:2])), *(x[s] for x in rest))
        for s in (slice(0, 2), slice(2, 3))
    ]  # fmt: skip
    one, two = gradient(model, [whole]), gradient(model, parts)
    assert torch.allclose(one, two, atol=1e-7)
    means = sum(gradient(model, [part]) for part in parts) / 2
    assert (means - one).abs().max() > 1e-2 * one.abs().max()


@pytest.mark.parametrize("name", DECODERS)
def test_scheduled_sampling_of_chance_zero_is_teacher_forcing(name):
    model, batch = decoder(name), batch_of([[3, 1], [4, 2]])
    hidden, attention = scheduled_sampling(model, batch, 0.0)
    expected, weights = force(model, batch.features, batch.inputs)
    assert torch.allclose(hidden, expected[batch.token_mask], atol=1e-5)
    assert (attention is None) == (weights is None)
    if attention is not None:
        assert torch.allclose(attention, weights[batch.token_mask], atol=1e-5)


def test_scheduled_sampling_of_chance_one_feeds_what_the_model_says():
    """A model that always says 7 is fed 7 after BOS, whatever the caption is."""
    model, batch = decoder(), batch_of([[4, 4]])
    torch.nn.init.zeros_(model.classify.weight)
    model.classify.bias.data = torch.full((11,), -100.0)
    model.classify.bias.data[7] = 100.0
    sevens = torch.full_like(batch.inputs, 7)
    sevens[..., 0] = 0
    hidden, _ = scheduled_sampling(model, batch, 1.0)
    assert torch.allclose(
        hidden, force(model, batch.features, sevens)[0][batch.token_mask], atol=1e-6
    )


def test_scheduled_sampling_feeds_the_share_asked_for():
    model, batch = decoder("show_tell"), batch_of([[9] * 50] * 40)
    fed = []
    decode_tokens = model.decode_tokens

    def record(tokens, *others):
        fed.append(tokens[:, :, 0])
        return decode_tokens(tokens, *others)

    model.decode_tokens = record
    torch.nn.init.zeros_(model.classify.weight)
    model.classify.bias.data = torch.tensor([100.0] + [-100.0] * 10)  # its own words are all 0
    torch.manual_seed(0)
    scheduled_sampling(model, batch, 0.25)
    own = torch.stack(fed[1:], -1).eq(0)  # a target is never 0 before the end
    share = own[..., :8].double().mean()
    assert float(share) == pytest.approx(
        0.25, abs=4 * math.sqrt(0.25 * 0.75 / own[..., :8].numel())
    )


def test_doubly_stochastic_by_hand():
    """Two words, two regions: 0.9 + 0.5 and 0.1 + 0.5; a third word is padding."""
    attention = torch.tensor([[[[0.9, 0.1], [0.5, 0.5], [0.3, 0.7]]]])
    real = torch.tensor([[[True, True, False]]])
    expected = (1 - 1.4) ** 2 + (1 - 0.6) ** 2
    assert float(doubly_stochastic(attention, real)) == pytest.approx(expected, rel=1e-6)
    assert float(doubly_stochastic(attention, real & False)) == 0
    mask = torch.tensor([[True, False]])
    assert float(doubly_stochastic(attention, real, mask)) == pytest.approx(0.16, rel=1e-6)


@pytest.mark.parametrize("name", ["show_attend_tell", "transformer"])
def test_the_attention_term_is_added_once_a_caption(name):
    model, batch = decoder(name), batch_of([[3, 1], [4, 2]])
    tokens = int(batch.token_mask.sum())
    _, attention = force(model, batch.features, batch.inputs)
    with_term = cross_entropy(model, batch, tokens, doubly_stochastic_weight=0.5)
    term = 0.5 * doubly_stochastic(attention, batch.token_mask) / tokens
    assert torch.allclose(with_term, cross_entropy(model, batch, tokens) + term, rtol=1e-5)


def test_without_attention_there_is_no_such_term():
    model, batch = decoder("show_tell"), batch_of([[3, 1], [4, 2]])
    plain = cross_entropy(model, batch, 14)
    assert torch.equal(cross_entropy(model, batch, 14, doubly_stochastic_weight=1.0), plain)


def test_attention_that_no_term_needs_is_not_computed(monkeypatch):
    model, batch = decoder("transformer"), batch_of([[3, 1]])
    monkeypatch.setattr(model.decoder[-1], "cross_attention_weights", None)
    assert cross_entropy(model, batch, 6).isfinite()
    with pytest.raises(TypeError):
        cross_entropy(model, batch, 6, doubly_stochastic_weight=0.5)
