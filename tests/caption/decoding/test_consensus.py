"""Consensus against its definition: expected CIDEr-D, one pair of captions at a time."""

import numpy as np
import pytest

from caption.decoding.consensus import expected_scores, of_training
from caption.decoding.decode import DecodeOptions, decode
from eval.metrics import document_frequencies
from eval.metrics.cider import cider_d
from eval.metrics.ngram_counts import Pairs, pair
from prepro.vocabulary import Vocabulary
from tests.caption.decoding.random_captions import labels
from tests.caption.decoding.tree import Tree

CAPTIONS = [
    ["a dog runs on the grass", "a dog runs on grass", "a brown dog running", "two cats"],
    ["a red bus", "a red bus on a street"],
    ["only one"],
]
TOKENS = [[caption.split() for caption in captions] for captions in CAPTIONS]
WEIGHTS = [[0.4, 0.3, 0.2, 0.1], [0.5, 0.5], [1.0]]
REFERENCES = {
    1: ["a dog on the grass", "a dog runs"], 2: ["a red bus"], 3: ["two cats", "a street"],
}  # fmt: skip


def corpus():
    return document_frequencies.count(pair(REFERENCES, dict.fromkeys(REFERENCES, "x")))


def test_expected_scores_are_means_over_the_references():
    known = corpus()
    found = expected_scores(TOKENS, WEIGHTS, known)
    for captions, weights, scores in zip(TOKENS, WEIGHTS, found, strict=True):
        for ours, score in zip(captions, scores, strict=True):
            expected = [cider_d(Pairs([0], [[other]], [ours]), known).corpus for other in captions]
            assert score == pytest.approx(np.dot(weights, expected))


def test_frequencies_of_training_count_the_training_captions():
    """As words, without padding; the n-grams of other splits weigh as if they were unknown."""
    captions = [[[1, 2, 3], [2]], [[3, 1]], [[2, 2, 1, 3]], [[1]]]
    found = of_training(
        labels(captions, ("a", "b", "c"), 5, splits=["train", "val"] + 2 * ["train"])
    )
    own = {1: ["a b c", "b"], 2: ["b b a c"], 3: ["a"]}
    expected = document_frequencies.count(pair(own, dict.fromkeys(own, "x")))
    pairs = Pairs([0, 1], [["c a b".split()], ["b b a".split()]], ["c a c".split(), "b b".split()])
    scores = [cider_d(pairs, known).per_image for known in (found, expected)]
    assert scores[0] == pytest.approx(scores[1]) and scores[0].min() > 0


def test_every_ngram_weighs_the_same_without_frequencies():
    """The cosine of counts, by hand: "a b" and "a c" share one of two words, and no bigram."""
    (scores,) = expected_scores([[["a", "b"], ["a", "c"]]], [[0.5, 0.5]])
    self_score = 10 * 2 / 4  # orders 1 and 2 of four
    assert scores == pytest.approx(0.5 * np.array([1, 1]) * (self_score + 10 * 0.5 / 4))


def test_the_caption_in_the_middle_wins():
    for known in (None, corpus()):
        first, *_ = expected_scores(TOKENS, [[0.25] * 4, *WEIGHTS[1:]], known)
        assert first.argmax() < 2
        assert first.argmin() == 3


@pytest.mark.parametrize("way", [{"beam": 6}, {"sample": "temperature=2", "n": 6}])
def test_decode_reorders_the_candidates(way):
    tree, words = Tree(5, 4), Vocabulary(tuple("abcde"))
    features = tree.features(8, 0, scale=0.5)
    wide = decode(tree, features, DecodeOptions(max_length=4, **{"n": 6, **way}), words)
    chosen = decode(
        tree, features, DecodeOptions(max_length=4, consensus=True, **{"n": 3, **way}), words
    )
    moved = 0
    for candidates, captions in zip(wide, chosen, strict=True):
        tokens = [words.decode(c.token_ids) for c in candidates]
        if "sample" in way:
            weights = np.full(len(candidates), 1 / len(candidates))
        else:
            weights = np.exp([c.log_prob for c in candidates])
            weights /= weights.sum()
        (scores,) = expected_scores([tokens], [weights.tolist()])
        got = [scores[[c.token_ids for c in candidates].index(c.token_ids)] for c in captions]
        assert got == pytest.approx(sorted(scores, reverse=True)[: len(got)])
        moved += captions[0].token_ids != candidates[0].token_ids
    assert moved > 0
