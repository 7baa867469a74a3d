"""The rules by which beams are chosen, each against plain Python that shares no code with them."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from caption.decoding.beams import (
    BankedBeams,
    Beams,
    DiverseBeams,
    GumbelBeams,
    largest,
)
from caption.decoding.rng import gumbel, image_keys
from caption.decoding.search import beam_search
from tests.caption.decoding.test_search import caption_tokens, length_divisor
from tests.caption.decoding.tree import Tree

LENGTH = 4
LEVELS = st.sampled_from([2, 50, 10**5, 10**9])  # many equal values, a few, none


def one_by_one(tree, features, image, size, groups, penalty, rule):
    """Beam search of one image with lists: for each group [(ended, score, caption)], best first."""
    beams = [[(0.0, ())] for _ in range(groups)]
    found = [[] for _ in range(groups)]
    for step in range(LENGTH):
        counts = dict.fromkeys(range(tree.classes), 0)
        for group in range(groups):
            candidates = []
            for rank, (score, caption) in enumerate(beams[group]):
                for word in range(tree.classes):
                    gain = tree.log_probs(features, image, (*caption, word))[-1]
                    gain -= penalty * counts[word]
                    candidates.append((score + gain, -rank, -word, (*caption, word)))
            chosen = sorted(candidates, reverse=True)[:size]
            beams[group] = []
            for score, *_, caption in chosen:
                counts[caption[-1]] += 1
                if caption[-1] == 0 or step == LENGTH - 1:
                    score /= length_divisor(rule, step + 1)
                    found[group].append((caption[-1] == 0, score, caption))
                else:
                    beams[group].append((score, caption))
    return [sorted(group, reverse=True) for group in found]


@pytest.mark.parametrize("rule", ["none", "avg", "wu"])
@settings(deadline=None, max_examples=25)
@given(st.integers(1, 4), st.integers(1, 5), st.integers(0, 999))
def test_beam_search_one_image_at_a_time(rule, size, words, seed):
    tree = Tree(words, LENGTH)
    features = tree.features(4, seed)
    found = beam_search(tree, features, Beams(size), LENGTH, size, rule)
    for image in range(4):
        (expected,) = one_by_one(tree, features, image, size, 1, 0, rule)
        for rank, (_, score, caption) in enumerate(expected[:size]):
            assert caption_tokens(found.tokens[image, rank]) == caption
            assert float(found.scores[image, rank]) == pytest.approx(score)
        assert (found.scores[image, len(expected) :] == -torch.inf).all()


@settings(deadline=None, max_examples=40)
@given(
    st.integers(1, 3), st.integers(1, 3), st.integers(0, 999), st.sampled_from([0.1, 0.5, 2]),
    st.sampled_from(["none", "avg", "wu"]),
)  # fmt: skip
def test_diverse_beams_one_image_at_a_time(size, groups, seed, penalty, rule):
    tree = Tree(5, LENGTH)
    features = tree.features(3, seed)
    beams = DiverseBeams(size * groups, groups, penalty)
    found = beam_search(tree, features, beams, LENGTH, groups, rule)
    for image in range(3):
        ranks = one_by_one(tree, features, image, size, groups, penalty, rule)
        ranks = itertools.chain(*itertools.zip_longest(*ranks))  # all the best, all the second ...
        expected = list(dict.fromkeys(c for _, _, c in filter(None, ranks)))[:groups]
        got = [caption_tokens(words) for words in found.tokens[image]][: len(expected)]
        assert set(got) == set(expected)
        totals = [
            sum(tree.log_probs(features, image, caption)) / length_divisor(rule, len(caption))
            for caption in got
        ]
        cut = [0 not in caption for caption in got]
        assert list(zip(cut, totals, strict=True)) == sorted(
            zip(cut, totals, strict=True), key=lambda pair: (pair[0], -pair[1])
        )
        assert found.scores[image, : len(got)].tolist() == pytest.approx(totals)


def test_without_a_price_all_groups_say_the_same():
    tree = Tree(5, LENGTH)
    features = tree.features(3, 1)
    plain = beam_search(tree, features, Beams(2), LENGTH, 2)
    found = beam_search(tree, features, DiverseBeams(6, 3, 0), LENGTH, 2)
    assert torch.equal(found.tokens, plain.tokens)


@settings(deadline=None, max_examples=40)
@given(st.sets(st.integers(1, 3), min_size=1, max_size=3), st.integers(0, 999))
def test_the_best_caption_with_the_required_words(required, seed):
    tree = Tree(3, LENGTH)
    features = tree.features(2, seed)
    beams = BankedBeams(4**LENGTH, torch.tensor(sorted(required)))
    found = beam_search(tree, features, beams, LENGTH)
    for image in range(2):
        wanted = [c for c in tree.captions() if required <= set(c)]
        best = max(wanted, key=lambda c: (0 in c, sum(tree.log_probs(features, image, c))))
        assert caption_tokens(found.tokens[image, 0]) == best


@settings(deadline=None, max_examples=40)
@given(st.sets(st.integers(1, 6), min_size=1, max_size=4), st.integers(1, 3), st.integers(0, 999))
def test_required_words_are_said_by_small_beams_too(required, size, seed):
    tree = Tree(6, LENGTH)
    features = tree.features(2, seed)
    beams = BankedBeams(size, torch.tensor(sorted(required)))
    found = beam_search(tree, features, beams, LENGTH, size)
    for words, score in zip(found.tokens.flatten(0, 1), found.scores.flatten(), strict=True):
        assert required <= set(words.tolist()) or score == -torch.inf
    assert (found.scores[:, 0] > -torch.inf).all()


def test_gumbel_beams_draw_without_replacement():
    tree = Tree(2, 2)
    features = tree.features(1, 3)
    captions = tree.captions()
    p = [torch.tensor(tree.log_probs(features, 0, c)).sum().exp().item() for c in captions]
    assert sum(p) == pytest.approx(1)
    draws = 6000
    many = features._replace(fc=features.fc.expand(draws, -1))
    found = beam_search(tree, many, GumbelBeams(2, image_keys(0, range(draws))), 2, 2)
    counts = dict.fromkeys(itertools.permutations(captions, 2), 0)
    for words in found.tokens:
        counts[caption_tokens(words[0]), caption_tokens(words[1])] += 1
    chi_square = 0.0
    for (first, second), count in counts.items():
        a, b = p[captions.index(first)], p[captions.index(second)]
        expected = draws * a * b / (1 - a)
        chi_square += (count - expected) ** 2 / expected
    assert chi_square < 2 * len(counts)  # 41 degrees of freedom; 82 is beyond 1 in 10,000


def test_perturbed_scores_are_those_of_the_paper():
    """Kool et al. 2019, equation 11, as it is written: unstable, but these numbers are small."""
    keys = image_keys(3, range(4))
    generator = torch.Generator().manual_seed(0)
    log_probs = torch.randn(4, 3, 6, generator=generator, dtype=torch.float64).log_softmax(-1)
    totals = torch.randn(4, 3, generator=generator, dtype=torch.float64) - 1
    scores = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    beams = GumbelBeams(3, keys)
    parents, words, found = beams.choose(scores, totals, log_probs, torch.arange(4), 2)
    perturbed = totals[..., None] + log_probs + gumbel(keys, 18, 2).view(4, 3, 6).double()
    greatest = perturbed.amax(-1, keepdim=True)
    below = (-scores[..., None]).exp() - (-greatest).exp() + (-perturbed).exp()
    expected, index = (-below.log()).flatten(1).sort(descending=True)
    assert torch.allclose(found, expected[:, :3])
    assert torch.equal(parents * 6 + words, index[:, :3])


@settings(deadline=None)
@given(st.integers(1, 9000), st.integers(1, 8), LEVELS, st.integers(0, 999))
def test_largest_is_a_stable_sort(width, k, levels, seed):
    x = torch.randint(levels, (3, 2, width), generator=torch.Generator().manual_seed(seed))
    values, index = largest(x.double(), k)
    in_order, indices = x.double().sort(descending=True, stable=True)
    assert torch.equal(values, in_order[..., :k])
    assert torch.equal(index, indices[..., :k])


@settings(deadline=None)
@given(st.integers(1, 600), st.integers(1, 5), LEVELS, st.booleans(), st.integers(0, 999))
def test_plain_beams_are_a_stable_sort_of_all_sums(width, k, levels, is_first, seed):
    generator = torch.Generator().manual_seed(seed)
    log_probs = -torch.randint(levels, (3, k, 7 * width), generator=generator).double()
    scores = -torch.randint(levels, (3, k), generator=generator).double()
    scores[:, 1:] = -torch.inf if is_first else scores[:, 1:]
    parents, tokens, best = Beams(k).choose(scores, scores, log_probs, torch.arange(3), 0)
    in_order, indices = (
        (scores[..., None] + log_probs).flatten(1).sort(descending=True, stable=True)
    )
    assert torch.equal(best, in_order[:, :k])
    assert torch.equal(
        (parents * 7 * width + tokens)[best > -torch.inf], indices[:, :k][best > -torch.inf]
    )
