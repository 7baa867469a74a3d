"""eval.significance, eval.caption_statistics, eval.metrics.diversity, against hand calculations."""

import itertools
import math

import numpy as np
import pytest

from eval.caption_statistics import (
    caption_statistics,
    caption_warnings,
    look_up,
    repeats,
    repeats_trigram,
)
from eval.metrics import document_frequencies
from eval.metrics.bleu import bleu
from eval.metrics.diversity import distinct, diversity, self_cider
from eval.metrics.ngram_counts import mean_scores, pair
from eval.scoring import score_warnings
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


@pytest.mark.parametrize(
    ("caption", "again", "trigram"),
    [
        ("", False, False),
        ("a", False, False),
        ("a b a", False, False),
        ("a a", True, False),
        ("a b c a b", True, False),
        ("a b c a b c", True, True),
        ("a b c b c a", True, False),
        ("a b x b c a c", False, False),
        ("a b c a b d b c e", True, False),  # no three in a row twice
    ],
)
def test_words_that_come_again(caption, again, trigram):
    assert (repeats(caption.split()), repeats_trigram(caption.split())) == (again, trigram)


def test_empty_and_equal_captions_are_suspected():
    assert caption_warnings(["a", "b", "c", "d"]) == []
    assert caption_warnings(["a"] * 4) == []  # a quarter is different
    assert caption_warnings(["a"] * 1005) == ["1,005 captions, but only 1 different"]
    assert caption_warnings(["", " ", "a"]) == ["2 of 3 captions are empty"]
    assert caption_warnings([""] * 9 + ["a"] * 4) == ["9 of 13 captions are empty"]
    assert caption_warnings([""] * 2) == ["2 of 2 captions are empty"]


@pytest.mark.parametrize(("images", "warned"), [(2, True), (99, True), (100, False)])
def test_few_images_make_cider_unreliable(images, warned):
    pairs = pair({i: ["a dog"] for i in range(images)}, dict.fromkeys(range(images), "a dog"))
    assert bool(score_warnings(pairs)) is warned
    one = pair({1: ["a"]}, {1: "a"}, frequencies=document_frequencies.count(pairs))
    assert score_warnings(one) == score_warnings(pairs)
    assert all(f"come from {images} images" in line for line in score_warnings(pairs))


def test_one_image_makes_cider_zero():
    (line,) = score_warnings(pair({1: ["a"]}, {1: "a"}))
    assert line.startswith("CIDEr is 0 for every caption")


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
    assert distinct([["a"], []], 1) == 1
    both = diversity({1: ["a b c d"] * 3, 2: ["a b", "e"]}, df)
    assert (both.captions, both.div_1) == pytest.approx((5 / 2, (1 / 3 + 1) / 2))
    assert both.div_2 == pytest.approx((3 / 12 + 1 / 3) / 2)
    silent = diversity({1: ["", ""], 2: ["a b c d", "e f g h"]}, df)
    assert (silent.div_1, silent.self_cider) == pytest.approx((1 / 2, 1 / 2))
    with pytest.raises(ValueError, match="image 2 has one caption"):
        diversity({1: ["a", "b"], 2: ["a"]}, df)
    with pytest.raises(ValueError, match="no captions to examine"):
        diversity({}, df)


def test_self_cider_is_that_of_the_eigenvalues():
    kernel = np.array([[1, 0.6], [0.6, 1]])  # whose eigenvalues are 1.6 and 0.4
    s = math.sqrt(1.6), math.sqrt(0.4)
    assert self_cider(kernel) == pytest.approx(-math.log(s[0] / sum(s)) / math.log(2))
    assert self_cider(np.zeros((3, 3))) == 0
