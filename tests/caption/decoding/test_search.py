"""Beam search against the enumeration of every caption, and against greedy decoding."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from caption.decoding.beams import Beams
from caption.decoding.greedy import greedy
from caption.decoding.search import beam_search
from tests.caption.decoding.tree import Tree


def length_divisor(rule, length):
    """Wu et al. 2016 (GNMT), equation 14, and the plain mean."""
    return {"none": 1, "avg": length, "wu": (5 + length) ** 0.7 / (5 + 1) ** 0.7}[rule]


def enumerate_best(tree, features, image, rule, n):
    """[(score, caption)] of the n best: those that ended, by score, before those cut off."""
    found = []
    for caption in tree.captions():
        score = sum(tree.log_probs(features, image, caption))
        found.append((caption[-1:] == (0,), score / length_divisor(rule, len(caption)), caption))
    return [(score, caption) for _, score, caption in sorted(found, reverse=True)[:n]]


def caption_tokens(words):
    """Without what stands after the end."""
    words = words.tolist()
    return tuple(words[: words.index(0) + 1]) if 0 in words else tuple(words)


@pytest.mark.parametrize("rule", ["none", "avg", "wu"])
@settings(deadline=None, max_examples=30)
@given(st.integers(1, 3), st.integers(1, 4), st.integers(0, 999), st.sampled_from([0.3, 1, 4]))
def test_a_beam_that_holds_everything_finds_the_best_captions(rule, words, length, seed, scale):
    tree = Tree(words, length)
    features = tree.features(3, seed, scale)
    beam = (words + 1) ** length
    n = min(4, len(tree.captions()))
    found = beam_search(tree, features, Beams(beam), length, n, rule)
    for image in range(3):
        best = enumerate_best(tree, features, image, rule, n)
        assert [caption_tokens(w) for w in found.tokens[image]] == [caption for _, caption in best]
        assert found.scores[image].tolist() == pytest.approx([score for score, _ in best])
        for (_, caption), log_probs in zip(best, found.log_probs[image], strict=True):
            expected = tree.log_probs(features, image, caption)
            assert log_probs.tolist() == pytest.approx(expected + [0] * (length - len(expected)))


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 999), st.integers(0, 3))
def test_a_beam_of_one_is_greedy(words, length, seed, levels):
    tree = Tree(words, length)
    features = tree.features(5, seed, levels=levels)
    one, plain = beam_search(tree, features, Beams(1), length), greedy(tree, features, length)
    assert torch.equal(one.tokens, plain.tokens)
    assert torch.equal(one.log_probs, plain.log_probs)
