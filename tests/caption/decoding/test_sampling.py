"""Sampling against the probabilities of a decoder that can be enumerated."""

import math
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from caption.decoding.beams import Beams
from caption.decoding.greedy import greedy
from caption.decoding.options import DecodeOptions, Sampling
from caption.decoding.rng import image_keys, uniform
from caption.decoding.sampling import draw_tokens, sample
from caption.decoding.search import beam_search
from tests.caption.decoding.test_search import caption_tokens
from tests.caption.decoding.tree import Tree


def test_captions_come_as_often_as_they_are_probable():
    tree = Tree(2, 3)
    features = tree.features(1, 0)
    n = 20_000
    found = sample(tree, features, n, 3, keys=image_keys(0, [0]))
    counts = Counter(caption_tokens(words) for words in found.tokens[0])
    chi_square = 0.0
    for caption in tree.captions():
        expected = n * math.exp(sum(tree.log_probs(features, 0, caption)))
        chi_square += (counts[caption] - expected) ** 2 / expected
    assert sum(counts.values()) == n
    assert chi_square < 2.5 * len(tree.captions())  # 14 degrees of freedom; 37 is 1 in 1,000


def distribution(log_probs, how):
    """The definition, by sorting: [probability of each word]."""
    scaled = (log_probs.double() / how.temperature).softmax(-1).tolist()
    order = sorted(range(len(scaled)), key=lambda word: -scaled[word])
    kept = order[: how.top_k or None]
    share = sum(scaled[word] for word in kept)
    nucleus, before = [], 0.0
    for word in kept:
        if before < how.top_p * share:
            nucleus.append(word)
        before += scaled[word]
    share = sum(scaled[word] for word in nucleus)
    return [scaled[word] / share if word in nucleus else 0.0 for word in range(len(scaled))]


@settings(deadline=None, max_examples=30, derandomize=True)  # chance never fails it
@given(
    st.sampled_from([0.5, 1.0, 2.0]), st.integers(0, 12), st.sampled_from([0.1, 0.6, 0.9, 1.0]),
    st.integers(0, 999), st.sampled_from([10, 53, 260]),
)  # fmt: skip
def test_draws_follow_the_definition(temperature, top_k, top_p, seed, size):
    check_draws(temperature, top_k, top_p, seed, size)


@pytest.mark.parametrize(("top_p", "seed"), [(0.001, 0), (0.02, 1), (0.04, 2)])
def test_a_small_nucleus_of_many_words_is_sampled_by_sorting(top_p, seed):
    """Rejection alone would take 1 / top_p draws."""
    check_draws(2.0, 0, top_p, seed, 400)


def test_words_after_just_top_p_are_outside():
    """A half, a quarter, a quarter: the first alone sums to 0.5, the first two to 0.75."""
    log_probs = torch.tensor([math.log(2), 0, 0], dtype=torch.float64).expand(1, 3, -1)
    u = torch.tensor([[0.1, 0.6, 0.9]])
    for top_p, words in ((0.5, [0, 0, 0]), (0.51, [0, 1, 2])):
        drawn = draw_tokens(log_probs, Sampling(top_p=top_p), lambda _: u)
        assert drawn[0].tolist() == words  # of 0.6 and 0.9 no draw is inside: they are sorted


def check_draws(temperature, top_k, top_p, seed, size):
    how = Sampling(temperature, top_k, top_p)
    log_probs = torch.randn(size, generator=torch.Generator().manual_seed(seed)).log_softmax(-1)
    n, keys = 4000, image_keys(seed, [0])
    rows = log_probs.expand(1, n, -1)
    words = draw_tokens(rows, how, lambda turn: uniform(keys, n, 0, turn))
    counts = words[0].bincount(minlength=size).tolist()
    for count, p in zip(counts, distribution(log_probs, how), strict=True):
        assert abs(count - n * p) <= 5 * math.sqrt(n * p * (1 - p))  # none where p is 0


@settings(deadline=None)
@given(st.integers(1, 2000), st.integers(0, 999))
def test_a_draw_is_the_word_at_which_the_cumulative_sum_exceeds_it(size, seed):
    generator = torch.Generator().manual_seed(seed)
    log_probs = torch.randn(2, 3, size, generator=generator).log_softmax(-1)
    u = torch.rand(2, 3, generator=generator)
    words = draw_tokens(log_probs, Sampling(), lambda _: u)[..., None]
    p = log_probs.double().exp()
    until = p.cumsum(-1).gather(-1, words)
    assert (until - p.gather(-1, words) - 1e-5 <= u[..., None]).all()
    assert (u[..., None] <= until + 1e-5).all()


@settings(deadline=None)
@given(st.sampled_from([1, 2, 70, 256, 257, 600]), st.integers(0, 999))
def test_what_weighs_nothing_is_never_drawn(size, seed):
    """Not even by the smallest and the greatest random number, and with one word left only."""
    generator = torch.Generator().manual_seed(seed)
    log_probs = torch.randn(2, 3, size, generator=generator).log_softmax(-1)
    allowed = torch.rand(2, 3, size, generator=generator) < 3 / size
    allowed[..., torch.randint(size, (1,), generator=generator)] = True
    log_probs = log_probs.masked_fill(~allowed, -torch.inf)
    for u in (0.0, 0.5, 1 - 2.0**-23):
        words = draw_tokens(log_probs, Sampling(), lambda _, u=u: torch.full((2, 3), u))
        assert allowed.gather(-1, words[..., None]).all()


def test_samples_belong_to_their_image():
    tree = Tree(6, 5)
    features = tree.features(4, 0)
    together = sample(tree, features, 3, 5, keys=image_keys(1, ["a", "b", "c", "d"]))
    alone = sample(tree, type(features)(features.fc[[2]]), 2, 5, keys=image_keys(1, ["c"]))
    assert torch.equal(alone.tokens[0], together.tokens[2, :2])
    assert len({tuple(words.flatten().tolist()) for words in together.tokens}) == 4


def test_samples_follow_torch_without_keys():
    tree = Tree(6, 5)
    features = tree.features(4, 0)
    first, second, third = (_seeded(tree, features, seed) for seed in (0, 0, 1))
    assert torch.equal(first, second)
    assert not torch.equal(first, third)


def _seeded(tree, features, seed):
    torch.manual_seed(seed)
    return sample(tree, features, 3, 5).tokens


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 4), st.integers(0, 999))
def test_zeros_and_log_probabilities_after_the_end(n, seed):
    tree = Tree(3, 4)
    features = tree.features(5, seed)
    found = sample(tree, features, n, 4, keys=image_keys(seed, range(5)))
    for image in range(5):
        for words, log_probs in zip(found.tokens[image], found.log_probs[image], strict=True):
            caption = caption_tokens(words)
            rest = 4 - len(caption)
            assert words.tolist() == [*caption, *[0] * rest]
            expected = [*tree.log_probs(features, image, caption), *[0.0] * rest]
            assert log_probs.tolist() == pytest.approx(expected)


@pytest.mark.parametrize(
    "search",
    [greedy, sample, lambda *given: beam_search(*given, Beams(2))],
    ids=["greedy", "sample", "beam"],
)
def test_without_options_there_is_one_caption_of_the_default_length(search):
    """That of --max-length, and no attention."""
    tree = Tree(1, 3)
    found = search(tree, tree.features(5, 0))
    assert found.tokens.shape == (5, 1, DecodeOptions().max_length)
    assert found.attention is None


def test_greedy_takes_the_likeliest_word():
    tree = Tree(3, 4)
    features = tree.features(6, 5)
    found = greedy(tree, features, 4, need_attention=True)
    for image in range(6):
        caption = ()
        while len(caption) < 4 and 0 not in caption:
            words = range(tree.classes)
            gains = [tree.log_probs(features, image, (*caption, word))[-1] for word in words]
            caption = (*caption, gains.index(max(gains)))
        assert caption_tokens(found.tokens[image, 0]) == caption
        nodes = [0]
        for word in caption[:-1]:
            nodes.append(nodes[-1] * tree.classes + 1 + word)
        assert found.attention[image, 0, : len(nodes), 0].tolist() == nodes
