"""Self-critical training beside the exact gradient of the expected reward, by enumeration."""

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from caption.data.batches import Batch
from caption.decoding.options import DecodeOptions
from caption.models import DECODERS, Decoder, Features, Shape, build
from caption.models.layers.dropout import Dropout
from caption.training.losses import cross_entropy
from caption.training.reward import Reward
from caption.training.scst import SelfCritical, without_dropout
from tests.caption.decoding.random_captions import labels, random_captions, tokens

WORDS, LONGEST = ("a", "dog", "UNK"), 3
SHAPE = Shape(len(WORDS) + 1, features=5, embedding=8, hidden=8, heads=2, dropout=0.5)


@pytest.fixture(scope="module")
def found():
    return labels(random_captions(6, 3, 4, 5), WORDS, 5)


def batch(images: int, k: int = 2) -> Batch:
    """`images` images with K random captions each."""
    generator = torch.Generator().manual_seed(images)
    fc = torch.randn(images, 5, generator=generator)
    att = torch.randn(images, 4, 5, generator=generator)
    targets = torch.randint(0, 4, (images, k, 4), generator=generator).cumprod(-1).clamp(max=3)
    targets[..., -1] = 0
    words = torch.nn.functional.pad(targets, (1, 0))[..., :-1]
    real = torch.arange(4) <= (targets != 0).sum(-1, keepdim=True)
    return Batch(np.arange(images), Features(fc, att), words, targets, real)


def decoder(name: str = "newfc", contrast: float = 1.0) -> Decoder:
    torch.manual_seed(3)
    made = build(name, SHAPE)
    with torch.no_grad():
        made.classify.weight.mul_(contrast)
    return made.train()


def gradient(loss: Tensor, model: Decoder) -> Tensor:
    found = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
    return torch.cat([g.flatten() for g in found if g is not None])


def exact_gradient(model: Decoder, some: Batch, reward: Reward) -> Tensor:
    """Of minus the expected reward over every caption there is, UNK apart and without dropout."""
    ended = [
        (*c, *[0] * (LONGEST - t)) for t in range(LONGEST + 1)
        for c in itertools.product((1, 2), repeat=t)
    ]  # fmt: skip
    words = torch.tensor(ended)[None].expand(len(some.rows), -1, -1)
    inputs = torch.nn.functional.pad(words, (1, 0))[..., :-1]
    log_probs = model.eval()(some.features, inputs)
    log_probs = log_probs.index_fill(-1, torch.tensor([3]), -torch.inf).log_softmax(-1)
    chosen = log_probs.gather(-1, words[..., None]).squeeze(-1)
    before = torch.arange(LONGEST) <= (words != 0).sum(-1, keepdim=True)
    chance = torch.where(before, chosen, 0).sum(-1).exp()
    assert torch.allclose(chance.sum(-1), torch.ones(len(some.rows)), atol=1e-5)
    model.train()
    return gradient(-(chance * reward(some.rows, words)).sum(), model)


@pytest.mark.parametrize("baseline", ["leave_one_out", "greedy"])
def test_gradient_is_that_of_the_expected_reward(found, baseline: str) -> None:
    model, some, reward = decoder(contrast=8), batch(3, k=2), Reward.of(found)
    expected = exact_gradient(model, some, reward)
    torch.manual_seed(0)
    loss = SelfCritical(
        reward, found.vocabulary, samples=60_000, baseline=baseline, max_length=LONGEST
    )
    value, statistics = loss(model, some, num_tokens=2)  # K / tokens is 1
    estimate = gradient(value, model)
    assert torch.linalg.norm(estimate - expected) < 0.03 * torch.linalg.norm(expected)
    assert statistics.reward > 0


def test_leave_one_out_is_the_mean_of_the_others(found) -> None:
    loss = SelfCritical(Reward.of(found), found.vocabulary, samples=3)
    rewards = torch.tensor([[1.0, 2.0, 6.0]])
    assert loss._baseline(None, None, rewards).tolist() == [[4.0, 3.5, 1.5]]


@pytest.mark.parametrize("name", DECODERS)
def test_every_decoder_learns_to_earn(found, name: str) -> None:
    """Forty steps raise the mean reward of samples, and dropout comes back on."""
    model, some = decoder(name), batch(6)
    loss = SelfCritical(
        Reward.of(found, bleu=1.0), found.vocabulary, samples=20, max_length=LONGEST + 1
    )
    optimiser = torch.optim.Adam(model.parameters(), 0.01)
    torch.manual_seed(0)
    rewards = []
    for _ in range(40):
        value, statistics = loss(model, some, num_tokens=int(some.token_mask.sum()))
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        rewards.append(statistics.means()["reward"])
    assert all(module.training for module in model.modules())
    assert np.mean(rewards[-5:]) > 1.15 * np.mean(rewards[:5])


def test_a_step_in_parts_is_the_step(found) -> None:
    """With keys, accumulated batches draw the same samples and sum to the same gradient."""
    model, whole, keys = decoder("topdown"), batch(6), torch.arange(6) * 7 + 1
    loss = SelfCritical(Reward.of(found), found.vocabulary, baseline="greedy")
    tokens = int(whole.token_mask.sum())
    at_once = gradient(loss(model, whole, tokens, keys)[0], model)
    parts = torch.zeros_like(at_once)
    for i in (slice(0, 2), slice(2, 6)):
        features = Features(whole.features.fc[i], whole.features.att[i])
        part = Batch(
            whole.rows[i], features, whole.inputs[i], whole.targets[i], whole.token_mask[i]
        )
        parts += gradient(loss(model, part, tokens, keys[i])[0], model)
    assert at_once.abs().max() > 0.01
    assert torch.allclose(at_once, parts, atol=1e-5)


def test_an_image_without_a_word_counts_for_nothing(found) -> None:
    """A stand-in of a process with nothing to do: the others' loss and statistics."""
    model, some, keys = decoder(), batch(4), torch.arange(4)
    some.token_mask[1] = False
    loss = SelfCritical(Reward.of(found), found.vocabulary, baseline="greedy", cross_entropy=0.1)
    rest = torch.tensor([0, 2, 3])
    features = Features(some.features.fc[rest], some.features.att[rest])
    parts = (part[rest] for part in (some.inputs, some.targets, some.token_mask))
    model.eval()
    value, statistics = loss(model, some, 10, keys)
    expected, others = loss(model, Batch(some.rows[rest], features, *parts), 10, keys[rest])
    assert value.item() == pytest.approx(expected.item(), rel=1e-5)
    assert statistics.samples == 15
    assert torch.allclose(torch.stack(statistics), torch.stack(others))


def test_what_is_not_a_number_reaches_the_loss(found) -> None:
    model, some = decoder(), batch(3)
    some.features.fc[1, 2] = torch.nan
    value, _ = SelfCritical(Reward.of(found), found.vocabulary)(model, some, 10)
    assert value.isnan()


@pytest.mark.parametrize("baseline", ["leave_one_out", "greedy"])
def test_where_every_caption_earns_the_same_there_is_nothing_to_learn(found, baseline) -> None:
    model, some = decoder(), batch(3)
    loss = SelfCritical(
        lambda _, words: torch.full(words.shape[:2], 2.5), found.vocabulary, baseline=baseline
    )
    value, statistics = loss(model, some, 1)
    assert not gradient(value, model).any() and statistics.means()["baseline"] == 2.5


def test_dropout_alone_is_switched_off_and_only_where_it_was_on() -> None:
    model = decoder("show_tell")
    with without_dropout(model):
        off = [module for module in model.modules() if not module.training]
        assert off and all(isinstance(module, Dropout) for module in off)
    assert all(module.training for module in model.modules())
    with without_dropout(model.eval()):
        pass
    assert not any(module.training for module in model.modules())


def test_a_sample_is_cut_off_where_decoding_cuts_a_caption(found) -> None:
    model, some = decoder("show_tell"), batch(2)
    model.classify.bias.data[0] = -100  # nothing ends
    drawn = SelfCritical(Reward.of(found), found.vocabulary)._draw(model, some.features, None)
    assert drawn.shape == (2, 5, DecodeOptions().max_length) and drawn.all()


def test_mix_with_cross_entropy(found) -> None:
    model, some, keys = decoder().eval(), batch(4), torch.arange(4)
    reward, tokens = Reward.of(found), int(some.token_mask.sum())
    pure, _ = SelfCritical(reward, found.vocabulary)(model, some, tokens, keys)
    mixed, _ = SelfCritical(reward, found.vocabulary, cross_entropy=0.2)(model, some, tokens, keys)
    expected = 0.8 * pure.item() + 0.2 * cross_entropy(model, some, tokens).item()
    assert mixed.item() == pytest.approx(expected, rel=1e-5)


def test_an_ending_is_bad_by_its_last_word(found) -> None:
    """Word 1 is one; two captions are cut off, one is empty."""
    drawn = torch.tensor([[[2, 1, 0], [2, 2, 1], [2, 1, 1], [2, 0, 0], [0, 0, 0]]])
    zeros, one = torch.zeros(1, 5), torch.ones(1, 1, dtype=torch.bool)
    loss = SelfCritical(Reward.of(found), found.vocabulary)
    found = loss._statistics(drawn, zeros, zeros, torch.zeros(drawn.shape), one)
    assert found.means()["bad_endings"] == pytest.approx(3 / 5)


def test_statistics(found) -> None:
    """Length, endings, reward and entropy of the very samples, counted one by one."""
    model, some, keys = decoder(), batch(5), torch.arange(5)
    reward = Reward.of(found)
    loss = SelfCritical(reward, found.vocabulary, baseline="greedy", max_length=6)
    statistics = loss(model, some, 1, keys)[1].means()
    words = loss._draw(model.eval(), some.features, keys)
    flat = [tokens(row) for row in words.flatten(0, 1).tolist()]
    chosen = [[w for w in caption if w] for caption in flat]
    assert {w for caption in chosen for w in caption} == {1, 2}  # never UNK, and both others
    assert statistics["length"] == pytest.approx(np.mean([len(c) for c in chosen]))
    assert statistics["bad_endings"] == np.mean([c[-1:] == [1] for c in chosen])
    assert statistics["reward"] == pytest.approx(float(reward(some.rows, words).mean()))
    log_probs = model(some.features, torch.nn.functional.pad(words, (1, 0))[..., :-1])
    log_probs[..., 3] = -torch.inf
    log_probs = log_probs.detach().log_softmax(-1).flatten(0, 1)
    nll = [-float(log_probs[i, t, w]) for i, c in enumerate(flat) for t, w in enumerate(c)]
    assert statistics["entropy"] == pytest.approx(np.mean(nll), rel=1e-4)


def test_options_are_checked(found) -> None:
    reward = Reward.of(found)
    with pytest.raises(ValueError, match="two or more"):
        SelfCritical(reward, found.vocabulary, samples=1)
    assert SelfCritical(reward, found.vocabulary, samples=2).samples == 2
    assert SelfCritical(reward, found.vocabulary, samples=1, baseline="greedy").samples == 1
    for share in (1.0, 1.5, -0.1):
        with pytest.raises(ValueError, match="expected 0 or more and below 1"):
            SelfCritical(reward, found.vocabulary, cross_entropy=share)
