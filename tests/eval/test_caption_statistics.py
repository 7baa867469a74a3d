"""eval.significance, eval.caption_statistics, eval.metrics.diversity, against hand calculations."""

import itertools
import math

import numpy as np
import pytest

from eval.caption_statistics import caption_statistics, look_up
from eval.metrics import document_frequencies
from eval.metrics.bleu import bleu
from eval.metrics.diversity import distinct, diversity, self_cider
from eval.metrics.ngram_counts import mean_scores, pair
from eval.significance import bootstrap, compare


def test_interval_of_a_mean_is_the_normal_one():
    values = np.random.default_rng(0).normal(5, 2, 2000)
    found = bootstrap({"m": mean_scores(values)}, 2000)["m"]
    half = 1.96 * values.std() / math.sqrt(len(values))
    assert found.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert found.high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_intervals_do_not_depend_on_the_order_of_images():
    values = np.random.default_rng(0).random(50)
    there, back = (bootstrap({"m": mean_scores(v)}, 200)["m"] for v in (values, values[::-1]))
    assert there == back


def test_bleu_is_that_of_the_drawn_corpus():
    texts = [["a b c d e", "a b c x"], ["f g h i", "f g h i"], ["k l m n o p", "k l m n"]]
    drawn = [0, 2, 2]
    whole = bleu(
        pair({i: [r] for i, (r, _) in enumerate(texts)}, {i: c for i, (_, c) in enumerate(texts)})
    )
    again = {position: texts[i] for position, i in enumerate(drawn)}
    other = bleu(
        pair({p: [r] for p, (r, _) in again.items()}, {p: c for p, (_, c) in again.items()})
    )
    weights = np.bincount(drawn, minlength=3)
    for n in (1, 2, 3, 4):
        assert whole[n].combine(weights @ whole[n].parts) == pytest.approx(
            other[n].corpus, abs=1e-12
        )


def test_p_value_is_that_of_all_swaps():
    rng = np.random.default_rng(1)
    ours, theirs = rng.random(10), rng.random(10) + 0.2
    off = theirs - ours
    sums = [abs(np.dot(signs, off)) for signs in itertools.product((-1, 1), repeat=10)]
    exact = np.mean(np.array(sums) >= abs(off.sum()) - 1e-12)
    found = compare({"m": mean_scores(ours)}, {"m": mean_scores(theirs)}, 20_000)["m"]
    assert found.p == pytest.approx(exact, abs=0.01)
    assert found.difference == pytest.approx(off.mean())


def test_one_system_does_not_differ_from_itself():
    scores = {"m": mean_scores(np.random.default_rng(0).random(30))}
    found = compare(scores, scores, 100)["m"]
    assert (found.difference, found.low, found.high, found.p) == (0, 0, 0, 1)


def test_caption_statistics():
    captions = ["a dog on a".split(), "a dog on a".split(), "a cat cat".split(), []]
    training = look_up(captions, iter([["a", "dog", "on", "a"], ["z"], ["a"]]))
    assert training.said == {("a", "dog", "on", "a")}
    found = caption_statistics(captions, training)
    assert (found.captions, found.empty, found.unique, found.vocabulary) == (4, 0.25, 0.75, 4)
    assert (found.mean_length, found.bad_endings, found.repeated) == (11 / 4, 0.5, 0.25)
    assert (found.novel, found.training_vocabulary_used) == (0.5, 3 / 4)
    assert caption_statistics(captions).novel is None
    with pytest.raises(ValueError, match="no captions"):
        caption_statistics([])


def test_self_cider_of_equal_and_of_unlike_captions():
    assert self_cider(np.ones((5, 5))) == pytest.approx(0, abs=1e-6)
    assert self_cider(np.eye(5)) == pytest.approx(1)


def test_diversity_of_captions():
    df = document_frequencies.count(pair({1: ["a b c d"], 2: ["e f g h"]}, {1: "", 2: ""}))
    same = diversity({1: ["a b c d"] * 3}, df)
    unlike = diversity({1: ["a b c d", "e f g h"]}, df)
    assert (same.div_1, same.div_2) == pytest.approx((1 / 3, 3 / 12))
    assert (same.self_cider, unlike.self_cider) == pytest.approx((0, 1), abs=1e-6)
    assert distinct([["a", "b", "a"], ["a", "b"]], 2) == 2 / 5
    with pytest.raises(ValueError, match="image 1 has one caption"):
        diversity({1: ["a"]}, df)
