"""eval.permutation and eval.seeds, against scipy, enumeration and published tables."""

import itertools
import math

import numpy as np
import pytest

from eval import permutation, significance
from eval.comparisons import compare_models
from eval.metrics.bleu import bleu
from eval.metrics.cider import cider_d
from eval.metrics.ngram_counts import Scores, mean_scores, pair
from eval.permutation import holm, permutation_test, seed_test
from eval.scoring import score
from eval.seeds import _mean, average, mean_values, std
from eval.significance import bootstrap, compare, corrected

WORDS = "a red dog runs on the green grass near two cats".split()
IMAGES = 9


def _captions(seed: int) -> dict[int, str]:
    random = np.random.default_rng(seed)
    return {image: " ".join(random.choice(WORDS, 8)) for image in range(IMAGES)}


REFERENCES = {image: [text, _captions(7)[image]] for image, text in _captions(0).items()}


def _scipy(ours: Scores, theirs: Scores) -> float:
    """p of scipy's paired test of the corpus scores, whose samples are rows of the parts."""
    stats = pytest.importorskip("scipy.stats")
    rows, n = np.concatenate([ours.parts, theirs.parts]), len(ours.parts)

    def statistic(first, second):
        one, other = (ours.combine(rows[indices.astype(int)].sum(0)) for indices in (first, second))
        return float(other - one)

    return stats.permutation_test(
        (np.arange(n), n + np.arange(n)), statistic, permutation_type="samples",
        n_resamples=np.inf, vectorized=False,
    ).pvalue  # fmt: skip


@pytest.mark.parametrize("other", range(1, 5))
def test_few_images_are_tested_exactly_as_scipy_does(other):
    ours, theirs = (pair(REFERENCES, _captions(seed)) for seed in (other, other + 10))
    first, second = (
        {"CIDEr-D": cider_d(pairs)} | {f"BLEU-{n}": s for n, s in bleu(pairs).items()}
        for pairs in (ours, theirs)
    )
    found = permutation_test(first, second)
    assert found.exact and found.count == 2**IMAGES
    for name, p in found.p.items():
        assert p == pytest.approx(_scipy(first[name], second[name]), abs=1e-12), name


def test_images_with_equal_captions_need_no_permutation():
    random = np.random.default_rng(0)
    ours = random.random(3000)
    theirs = ours.copy()
    theirs[:12] += random.normal(0.2, 1, 12)
    found = permutation_test({"m": mean_scores(ours)}, {"m": mean_scores(theirs)})
    assert found.exact and found.count == 2**12
    off = (theirs - ours)[:12]
    sums = np.array(list(itertools.product((-1, 1), repeat=12))) @ off
    assert found.p["m"] == np.mean(np.abs(sums) >= abs(off.sum()) - 1e-12)


def test_many_images_are_tested_at_random_near_the_exact_p():
    random = np.random.default_rng(3)
    ours, theirs = random.random(20), random.random(20) + 0.1
    sums = np.array(list(itertools.product((-1, 1), repeat=20)), np.int8) @ (theirs - ours)
    exact = np.mean(np.abs(sums) >= abs((theirs - ours).sum()) - 1e-12)
    found = permutation_test({"m": mean_scores(ours)}, {"m": mean_scores(theirs)}, 20_000)
    assert not found.exact and found.count == 20_000
    assert found.p["m"] == pytest.approx(exact, abs=0.012)  # three standard errors


@pytest.mark.parametrize(("different", "exact"), [(16, True), (17, False)])
def test_the_test_is_exact_up_to_sixteen_different_captions(different, exact):
    """As the README says."""
    theirs = np.zeros(40)
    theirs[:different] = 1
    found = permutation_test({"m": mean_scores(np.zeros(40))}, {"m": mean_scores(theirs)})
    assert found.exact is exact and found.count == (2**16 if exact else 1000)
    if exact:  # only all or none moved is so large a difference
        assert found.p["m"] == 2 / 2**16


def test_a_random_p_counts_the_permutation_that_was_seen():
    """Phipson, Smyth 2010: (1 + extreme) / (1 + times), never 0."""
    ours, theirs = np.zeros(60), np.ones(60)  # no random permutation is so extreme
    found = permutation_test({"m": mean_scores(ours)}, {"m": mean_scores(theirs)}, 99)
    assert found.p["m"] == 1 / 100


def test_random_permutations_are_as_many_in_blocks_of_any_size(monkeypatch):
    random = np.random.default_rng(4)
    ours, theirs = {"m": mean_scores(random.random(30))}, {"m": mean_scores(random.random(30))}
    whole = permutation_test(ours, theirs, 500)
    for block in (1, 30 * 7, 30 * 500, 30 * 501):
        monkeypatch.setattr(permutation, "BLOCK", block)
        assert permutation_test(ours, theirs, 500) == whole
    assert permutation_test(ours, theirs, 500, seed=1).p != whole.p


def test_a_difference_that_only_rounding_makes_smaller_is_as_large():
    ours, theirs = np.array([0.1, 0.2, 0.3, 0.7]), np.array([0.3, 0.4, 0.5, 0.9])
    found = permutation_test({"m": mean_scores(ours)}, {"m": mean_scores(theirs)})
    assert found.p["m"] == 2 / 16
    assert seed_test([0.1, 0.2, 0.3], [0.4, 0.5, 0.6]) == 2 / 20
    assert seed_test([-0.6, -0.5, -0.4], [-0.3, -0.2, -0.1]) == 2 / 20
    assert seed_test([0.1, 0.4], [0.1, 0.4]) == 1


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_seeds_are_tested_as_scipy_does(seeds):
    stats = pytest.importorskip("scipy.stats")
    random = np.random.default_rng(seeds)
    first, second = random.random(seeds), random.random(seeds) + 0.3
    expected = stats.permutation_test(
        (first, second), lambda x, y: np.mean(x) - np.mean(y), vectorized=False, n_resamples=np.inf
    ).pvalue
    assert seed_test(first, second) == pytest.approx(expected, abs=1e-12)


def test_one_seed_a_side_says_nothing():
    assert seed_test([0.1], [0.9]) is None
    assert seed_test([1, 2, 3], [4, 5, 6]) == 2 / 20  # the least that three seeds can give
    assert seed_test(range(10), range(100, 110)) == 2 / 184_756  # 20 over 10 ways
    assert seed_test(range(11), range(11)) is None  # 705,432 ways are too many


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.5]) == [1, 1]
    assert holm([0.2]) == [0.2]


def test_intervals_are_those_of_a_thousand_draws_in_blocks_of_any_size(monkeypatch):
    random = np.random.default_rng(6)
    ours, theirs = ({"m": mean_scores(random.random(30))} for _ in range(2))
    one, both = bootstrap(ours), compare(ours, theirs)
    assert one == bootstrap(ours, 1000, 0) and both == compare(ours, theirs, 1000, 0)
    assert one != bootstrap(ours, seed=1) and both.keys() == {"m"}
    for block in (1, 30 * 7, 30 * 999, 30 * 1000):
        monkeypatch.setattr(significance, "BLOCK", block)
        drawn = bootstrap(ours)["m"]  # sums of other shapes differ in the last digit
        assert (drawn.low, drawn.high) == pytest.approx((one["m"].low, one["m"].high), abs=1e-12)
        again = compare(ours, theirs)["m"]
        assert (again.low, again.high, again.p) == pytest.approx(
            (both["m"].low, both["m"].high, both["m"].p), abs=1e-12
        )


def test_an_interval_holds_the_middle_nineteen_twentieths_of_the_draws():
    """Of images that score 0 or 1 the number drawn is binomial."""
    found = bootstrap({"m": mean_scores(np.repeat([0.0, 1.0], [60, 40]))}, 4000)["m"]
    share = [math.comb(100, k) * 0.4**k * 0.6 ** (100 - k) for k in range(101)]
    low, high = np.searchsorted(np.cumsum(share), [0.025, 0.975]) / 100
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.011)


def test_what_cannot_be_computed_again_is_not_resampled():
    whole = Scores(0.5, np.array([0.25, 0.75]))
    scores = {"whole": whole, "m": mean_scores(np.array([0.25, 0.75]))}
    assert bootstrap(scores, 10).keys() == compare(scores, scores, 10).keys() == {"m"}


def test_comparisons_of_several_systems_are_corrected_metric_by_metric():
    random = np.random.default_rng(5)
    ours = {n: mean_scores(random.random(12)) for n in "xy"}
    others = [{n: mean_scores(random.random(12) + k / 3) for n in "xy"} for k in range(3)]
    plain = [compare(ours, theirs, 100) for theirs in others]
    found = corrected(plain)
    for name in "xy":
        assert [f[name].p_holm for f in found] == holm([p[name].p for p in plain])
    assert corrected(plain[:1])[0]["x"].p_holm is None


def test_seeds_are_averaged_and_resampled_as_one_system():
    results = [score(REFERENCES, _captions(seed)) for seed in (1, 2, 3)]
    mean = average(results)
    for name, value in mean.corpus.items():
        seeds = [one.corpus[name] for one in results]
        assert value == pytest.approx(sum(seeds) / 3)
        spread = sum((seed - value) ** 2 for seed in seeds) / 2
        assert std(results)[name] == pytest.approx(spread**0.5)
        whole = mean.scores[name]
        assert float(whole.combine(whole.parts.sum(0))) == pytest.approx(value)
        weights = np.arange(IMAGES) % 3
        drawn = [s.combine(weights @ s.parts) for s in (r.scores[name] for r in results)]
        assert float(whole.combine(weights @ whole.parts)) == pytest.approx(np.mean(drawn))
    row = mean.per_image[4]["CIDEr-D"]
    assert row == pytest.approx(np.mean([one.per_image[4]["CIDEr-D"] for one in results]))
    assert mean.warnings == results[0].warnings  # once, not once a seed
    assert mean.provenance["seeds"] == 3 and average(results[:1]) is results[0]
    with pytest.raises(ValueError, match="different images"):
        average([results[0], score({0: REFERENCES[0]}, {0: "a dog"})])


def test_scores_without_parts_are_averaged_by_image():
    """SPICE has a corpus score that is not computed again."""
    seeds = [Scores(0.1, np.array([0.0, 0.2])), Scores(0.4, np.array([0.2, 0.6]))]
    found = _mean(seeds)
    assert found.corpus == pytest.approx(0.25) and found.parts is None
    assert found.per_image == pytest.approx([0.1, 0.4])


def test_values_that_all_seeds_share_stay_as_they_are():
    rows = [{"captions": 3, "unique": 0.2, "novel": None}, {"captions": 3, "unique": 0.6}]
    rows[1]["novel"] = None
    found = mean_values(rows)
    assert found == {"captions": 3, "unique": pytest.approx(0.4), "novel": None}
    assert isinstance(found["captions"], int)


def test_models_are_compared_on_the_same_images():
    ours, few = score(REFERENCES, _captions(1)), score({0: REFERENCES[0]}, {0: "a dog"})
    with pytest.raises(ValueError, match="b: not the same images"):
        compare_models([ours], {"b": [few]}, 10)
    row = compare_models([ours], {"b": [score(REFERENCES, _captions(2))]}, 10)["b"]["BLEU-4"]
    assert row["exact"] and not {"p_holm", "p_seeds", "std"} & row.keys()
