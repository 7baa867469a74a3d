"""BLEU, ROUGE-L, CIDEr and CIDEr-D against coco-caption's numbers and against plain definitions."""

import dataclasses
import math
from collections import Counter
from itertools import chain

import numpy as np
import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st
from nltk.translate.bleu_score import corpus_bleu

from eval.metrics import document_frequencies
from eval.metrics.bleu import bleu
from eval.metrics.cider import cider, cider_d
from eval.metrics.ngram_counts import Pairs, _number, _tally, find, pair
from eval.metrics.rouge import common_lengths, rouge_l
from eval.scoring import measure, score
from tests.eval.golden import NAMES, cases, references, words

WORD = st.sampled_from("a b c d e f".split())
CAPTION = st.lists(WORD, max_size=9)
CORPUS = st.lists(
    st.tuples(st.lists(CAPTION, min_size=1, max_size=4), CAPTION), min_size=1, max_size=6
)


def of(corpus) -> Pairs:
    """Tokenised (references, candidate) of each image."""
    return Pairs(range(len(corpus)), [r for r, _ in corpus], [c for _, c in corpus])


def differences(case, corpus, per_image):
    """The largest difference from a golden case, over all metrics and images."""
    for name, value in corpus.items():
        golden = NAMES.get(name, name)
        yield abs(value - case["corpus"][golden])
        yield np.abs(per_image[name] - np.array(case["per_image"][golden])).max()


def test_golden_scores_from_golden_tokens(shared):
    for name, case in cases(shared):
        pairs = Pairs(
            case["ids"],
            [[words(caption) for caption in case["refs_tok"][image]] for image in case["ids"]],
            [words(case["cands_tok"][image]) for image in case["ids"]],
        )
        scores = measure(pairs)
        corpus = {metric: values.corpus for metric, values in scores.items()}
        images = {metric: values.per_image for metric, values in scores.items()}
        assert max(differences(case, corpus, images)) < 1e-9, name


def test_golden_scores_from_raw_captions(shared):
    for name, case in cases(shared):
        raw = {image: case["refs_raw"][image] for image in case["ids"]}
        result = score(raw, {i: case["cands_raw"][i] for i in case["ids"]}, coco_exact=True)
        images = {m: np.array([row[m] for row in result.per_image.values()]) for m in result.corpus}
        assert list(result.per_image) == case["ids"], name
        assert max(differences(case, result.corpus, images)) < 1e-9, name


def test_golden_scores_with_saved_document_frequencies(shared, tmp_path):
    compared = 0
    for name, case in cases(shared):
        if "CIDErD_extdf" not in case["corpus"]:
            continue
        given_by = references(shared, name.split("_")[0])
        every = [[words(c) for c in several] for several in given_by["all_refs_tok"].values()]
        counted = document_frequencies.count(Pairs(range(len(every)), every, [[]] * len(every)))
        document_frequencies.save(counted, tmp_path / "df.npz")
        loaded = document_frequencies.load(tmp_path / "df.npz")
        df = dataclasses.replace(loaded, images=given_by["ext_df"]["ref_len_images"])
        ids = case["ids"]
        refs = [[words(c) for c in case["refs_tok"][i]] for i in ids]
        pairs = Pairs(ids, refs, [words(case["cands_tok"][i]) for i in ids])
        assert cider_d(pairs, df).corpus == pytest.approx(case["corpus"]["CIDErD_extdf"], abs=1e-9)
        assert cider(pairs, df).corpus == pytest.approx(
            case["corpus"]["CIDEr_plain_extdf"], abs=1e-9
        )
        compared += 1
    assert compared > 10


def plain_cider(corpus, clipped: bool) -> list[float]:
    """The definition, one n-gram at a time."""

    def grams(caption, n):
        return Counter(tuple(caption[i : i + n]) for i in range(len(caption) - n + 1))

    scores = []
    for refs, cand in corpus:
        total = 0.0
        for ref in refs:
            for n in (1, 2, 3, 4):
                documents = Counter(
                    chain.from_iterable({g for r in rs for g in grams(r, n)} for rs, _ in corpus)
                )

                def vector(caption, n=n, documents=documents):
                    logs = (
                        (g, k, math.log(max(1, documents[g]))) for g, k in grams(caption, n).items()
                    )
                    return {g: k * (math.log(len(corpus)) - log) for g, k, log in logs}

                ours, theirs = vector(cand), vector(ref)
                dot = sum(
                    (min(ours[g], theirs[g]) if clipped else ours[g]) * theirs[g]
                    for g in ours.keys() & theirs.keys()
                )
                norm = math.hypot(*ours.values()) * math.hypot(*theirs.values())
                off = max(len(cand) - 1, 0) - max(len(ref) - 1, 0)
                total += (dot / norm if norm else 0.0) * (
                    math.exp(-(off**2) / 72) if clipped else 1
                )
        scores.append(10 * total / 4 / len(refs))
    return scores


@given(CORPUS)
def test_cider_is_its_definition(corpus):
    assert cider_d(of(corpus)).per_image == pytest.approx(plain_cider(corpus, True), abs=1e-9)
    assert cider(of(corpus)).per_image == pytest.approx(plain_cider(corpus, False), abs=1e-9)


def plain_lcs(first, second) -> int:
    row = [0] * (len(second) + 1)
    for a in first:
        before = 0
        for j, b in enumerate(second, 1):
            before, row[j] = row[j], before + 1 if a == b else max(row[j], row[j - 1])
    return row[-1]


@settings(max_examples=60)
@given(st.lists(st.tuples(st.lists(WORD, max_size=150), st.lists(WORD, max_size=150)), min_size=1))
def test_rouge_is_its_definition_at_any_length(corpus):
    expected = []
    for ref, cand in corpus:
        ref, cand = ref or [""], cand or [""]
        p, r = (plain_lcs(ref, cand) / len(x) for x in (cand, ref))
        expected.append((1 + 1.44) * p * r / (r + 1.44 * p) if p else 0.0)
    pairs = of([([ref], cand) for ref, cand in corpus])
    assert rouge_l(pairs).per_image == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("length", [1, 63, 64, 65, 127, 128, 129])
def test_rouge_of_lengths_about_those_of_a_machine_word(length):
    cand = [f"w{i % 50}" for i in range(length)]
    refs = [cand, cand[::-1], cand[1:], [*cand, "x"], ["x", "y"], cand[: length // 2] + ["x"] * 70]
    for ref in refs:
        (lcs,) = common_lengths(of([([ref], cand)]))
        assert lcs == plain_lcs(ref or [""], cand)


def test_bleu_of_sacrebleu_and_nltk(shared):
    case = next(case for name, case in cases(shared) if name == "coco_loo0")
    refs = [case["refs_tok"][i] for i in case["ids"]]
    cands = [case["cands_tok"][i] for i in case["ids"]]
    ours = bleu(Pairs(case["ids"], [[words(c) for c in r] for r in refs], list(map(words, cands))))
    options = {"tokenize": "none", "smooth_method": "none", "use_effective_order": False}
    theirs = sacrebleu.corpus_bleu(cands, list(map(list, zip(*refs, strict=True))), **options)
    assert ours[4].corpus == pytest.approx(theirs.score / 100, abs=1e-9)
    tokens = [[words(c) for c in r] for r in refs]
    for n in (1, 2, 3):
        nltk = corpus_bleu(tokens, list(map(words, cands)), weights=[1 / n] * n)
        assert ours[n].corpus == pytest.approx(nltk, abs=1e-9)


@given(CORPUS)
def test_scores_are_in_range(corpus):
    for name, values in measure(of(corpus)).items():
        top = 10 if name.startswith("CIDEr") else 1
        assert np.isfinite(values.per_image).all()
        assert ((values.per_image >= 0) & (values.per_image <= top + 1e-9)).all()
        assert values.corpus == pytest.approx(float(values.combine(values.parts.sum(0))), abs=1e-9)


@given(CORPUS, st.randoms())
def test_the_order_of_images_changes_nothing_at_all(corpus, rng):
    order = list(range(len(corpus)))
    rng.shuffle(order)
    before, after = measure(of(corpus)), measure(of([corpus[i] for i in order]))
    for name in before:
        assert before[name].corpus == after[name].corpus
        assert before[name].per_image[order].tolist() == after[name].per_image.tolist()


@given(CORPUS, st.randoms())
def test_the_order_of_references_changes_nothing(corpus, rng):
    mixed = [(rng.sample(refs, len(refs)), cand) for refs, cand in corpus]
    before, after = measure(of(corpus)), measure(of(mixed))
    for name in before:
        assert after[name].per_image == pytest.approx(before[name].per_image, abs=1e-12)


@given(st.lists(st.lists(WORD, min_size=4, max_size=9), min_size=2, max_size=5))
def test_a_caption_equal_to_all_its_references_gets_ten(captions):
    own = [[f"{word}{image}" for word in caption] for image, caption in enumerate(captions)]
    pairs = of([([caption, caption], caption) for caption in own])
    assert cider_d(pairs).per_image == pytest.approx([10] * len(own), abs=1e-9)
    assert cider(pairs).per_image == pytest.approx([10] * len(own), abs=1e-9)


def test_a_caption_of_ten_thousand_words_has_a_score():
    many = "a dog runs " * 3333 + "away"
    found = score({1: [many, "a dog"], 2: ["a cat"]}, {1: many, 2: "a cat"})
    assert found.per_image[1]["BLEU-4"] == pytest.approx(1, abs=1e-9)
    assert found.per_image[1]["ROUGE-L"] == pytest.approx(1)


@given(st.lists(st.integers(0, 5) | st.integers(2**55, 2**62)))
def test_keys_are_numbered_in_their_order_however_large(keys):
    keys = np.array(keys, np.int64)
    for found, expected in zip(_number(keys), np.unique(keys, return_inverse=True), strict=True):
        assert found.tolist() == expected.tolist()
    for found, expected in zip(_tally(keys), np.unique(keys, return_counts=True), strict=True):
        assert found.tolist() == expected.tolist()


@pytest.mark.parametrize("bits", [1, 2, 3, 7])
def test_keys_about_the_largest_that_fit_with_their_positions(bits):
    for top in (2 ** (62 - bits) + k for k in (-1, 0, 1)):
        keys = np.resize(np.array([top, 0, top - 1]), 2**bits - 1)
        for found, expected in zip(
            _number(keys), np.unique(keys, return_inverse=True), strict=True
        ):
            assert found.tolist() == expected.tolist()


@pytest.mark.parametrize(("images", "references"), [(1, 1), (5, 1), (1, 9)])
def test_keys_that_do_not_fit_into_an_integer_are_refused(images, references):
    """An image, an n-gram and a reference have 63 bits or more."""
    pairs = of([([["a"]] * references, ["a"])] * images)
    bits = 63 - images.bit_length() - references.bit_length()
    with pytest.raises(AssertionError):
        pairs._table(np.array([0]), np.array([0]), range(1 << bits - 1))


def test_words_are_encoded_once_unless_a_token_holds_several():
    pairs = of([([["a", "dog"]], ["a", "cat"])])
    assert pairs.text is pairs.whole
    assert of([([["2 1/2"]], ["2 1/2"])]).text.vocabulary == ("1/2", "2")
    assert of([([[]], [])]).text.vocabulary == ()
    assert bleu(of([([[]], [])]))[1].corpus == 0


@settings(max_examples=30)
@given(CORPUS, CORPUS)
def test_document_frequencies_are_counted_image_by_image(known, asked):
    """Of another corpus, whose words are partly unknown."""
    other = [
        ([[w.replace("a", "aa") for w in r] for r in refs], [w.replace("f", "g") for w in cand])
        for refs, cand in asked
    ]
    counted, pairs = document_frequencies.count(of(known)), of(other)
    assert set(counted.vocabulary) == {w for refs, _ in known for r in refs for w in r}
    assert counted.images == len(known) and all((c > 0).all() for c in counted.counts)
    names = [(word,) for word in pairs.text.vocabulary]
    for order in (1, 2, 3, 4):
        documents = Counter(
            chain.from_iterable(
                {tuple(r[i : i + order]) for r in refs for i in range(len(r) - order + 1)}
                for refs, _ in known
            )
        )
        if order > 1:
            before, last = np.divmod(pairs.grams(order).types, len(pairs.text.vocabulary))
            names = [(*names[b], pairs.text.vocabulary[w]) for b, w in zip(before, last)]
        assert counted.look_up(pairs, order).tolist() == [documents[name] for name in names]


def test_keys_are_found_in_a_sorted_table():
    table = np.array([2, 5, 9])
    assert find(np.array([1, 2, 3, 5, 9, 10]), table).tolist() == [-1, 0, -1, 1, 2, -1]
    assert find(np.array([1, 2]), table[:0]).tolist() == [-1, -1]


def test_no_reference_and_several_candidates_are_refused():
    with pytest.raises(ValueError, match="image 1 has no reference"):
        pair({1: []}, {1: "a"})
    with pytest.raises(ValueError, match="image 1 has 2 candidate captions"):
        pair({1: ["a"]}, {1: ["a", "b"]})
