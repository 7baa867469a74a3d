"""The reward beside a plain implementation of the papers' formulas, and beside eval's metrics."""

import math
from collections import Counter

import numpy as np
import pytest
import torch

from caption.training.ngrams import ngram_weights, with_end
from caption.training.reward import Reward
from eval.metrics.bleu import bleu
from eval.metrics.cider import cider_d
from eval.metrics.document_frequencies import count
from eval.metrics.ngram_counts import Pairs
from tests.caption.decoding.random_captions import labels, random_captions, tokens

WORDS = tuple("abcdef")
LONGEST = 9


def counted(caption: list[int], n: int) -> Counter:
    return Counter(tuple(caption[i : i + n]) for i in range(len(caption) - n + 1))


def plain_cider_d(caption: list[int], references: list, corpus: list) -> float:
    """CIDEr-D of one caption, by dictionaries; `corpus`: of each image its references."""
    total = 0.0
    for reference in references:
        for n in (1, 2, 3, 4):
            have = [set().union(*(counted(r, n) for r in some)) for some in corpus]
            idf = {
                g: math.log(len(corpus)) - math.log(max(1, sum(g in some for some in have)))
                for g in counted(caption, n) | counted(reference, n)
            }
            c = {g: k * idf[g] for g, k in counted(caption, n).items()}
            r = {g: k * idf[g] for g, k in counted(reference, n).items()}
            dot = sum(min(c[g], r[g]) * r[g] for g in c if g in r)
            norm = math.hypot(*c.values()) * math.hypot(*r.values())
            penalty = math.exp(-((len(caption) - len(reference)) ** 2) / 72)
            total += penalty * dot / norm if norm else 0
    return 10 * total / 4 / len(references)


@pytest.fixture(scope="module", params=[0, 1])
def made(request: pytest.FixtureRequest):
    """Labels of 12 images, and 4 captions (12, 4, T) of each, some cut off, some empty."""
    found = labels(random_captions(12, 6, 12, request.param), WORDS, LONGEST)
    generator = torch.Generator().manual_seed(request.param)
    words = torch.randint(1, 7, (12, 4, 11), generator=generator)
    lengths = torch.randint(0, 14, (12, 4), generator=generator)  # 11 and more are cut off
    return found, words * (torch.arange(11) < lengths[..., None])


def references_of(found) -> list[list[list[int]]]:
    return [[tokens(row) for row in found.labels[first:last]] for first, last in found.ranges]


def test_cider_d_equals_the_formula(made) -> None:
    found, words = made
    corpus = references_of(found)
    rewards = Reward.of(found)(np.arange(12), words)
    for image in range(12):
        for caption, reward in zip(words[image], rewards[image], strict=True):
            expected = plain_cider_d(tokens(caption), corpus[image], corpus)
            assert float(reward) == pytest.approx(expected, abs=1e-9)
    assert rewards.max() > 0.5


def test_equals_eval_on_the_same_tokens(made) -> None:
    found, words = made
    references = [[[str(w) for w in r] for r in some] for some in references_of(found)]
    frequencies = count(Pairs(range(12), references, [[]] * 12))
    mixed = Reward.of(found, cider=1.0, bleu=0.5)(np.arange(12), words)
    for k in range(words.shape[1]):
        captions = [[str(w) for w in tokens(words[image, k])] for image in range(12)]
        pairs = Pairs(range(12), references, captions)
        expected = cider_d(pairs, frequencies).per_image + 0.5 * bleu(pairs)[4].per_image
        assert np.allclose(mixed[:, k].numpy(), expected, rtol=0, atol=1e-9)


def test_real_captions_of_coco(shared) -> None:
    """Leave-one-out captions of COCO: what eval says, the end being one more word."""
    from eval.files import read_json
    from prepro.vocabulary import vocabulary_from_captions

    references = read_json(shared / "golden" / "coco_refs_loo.json")["refs_tok"]
    split = [[text.split() for text in some] for some in list(references.values())[:100]]
    vocabulary, _ = vocabulary_from_captions((caption for some in split for caption in some), 0)
    encoded = [[vocabulary.encode(caption) for caption in some] for some in split]
    rest = labels([some[1:] for some in encoded], vocabulary.words, 60)
    first = labels([some[:1] for some in encoded], vocabulary.words, 60)
    words = torch.from_numpy(first.labels.astype(np.int64))[:, None]
    rewards = Reward.of(rest, bleu=1.0)(np.arange(100), words)[:, 0]
    ended = [[[*caption, "<end>"] for caption in some] for some in split]
    pairs = Pairs(range(100), [some[1:] for some in ended], [some[0] for some in ended])
    expected = cider_d(pairs).per_image + bleu(pairs)[4].per_image
    assert np.allclose(rewards.numpy(), expected, rtol=0, atol=1e-9)


def test_stopping_in_mid_phrase_costs() -> None:
    """Rewarded without ends, "a b c" and "a b" of "a b c d" would differ by their words alone."""
    found = labels([[[1, 2, 3, 4]], [[5, 6]], [[6, 5]]], WORDS, LONGEST)
    words = torch.tensor([[[1, 2, 3, 4, 0], [1, 2, 3, 0, 0], [4, 3, 2, 1, 0]]])
    whole, stopped, backwards = Reward.of(found)(np.array([0]), words)[0]
    assert float(whole) == pytest.approx(10)
    # unigrams and their squares: three of four words, and the end, which is worth nothing
    parts = [math.sqrt(3 / 4), 2 / math.sqrt(3 * 4), 1 / math.sqrt(2 * 3), 0]
    assert float(stopped) == pytest.approx(10 / 4 * sum(parts) * math.exp(-1 / 72))
    assert float(backwards) == pytest.approx(10 / 4)


def test_only_the_split_counts_and_images_keep_their_places() -> None:
    captions = random_captions(9, 6, 8, 3)
    splits = ["val", "train", "test"] * 3
    found = labels(captions, WORDS, LONGEST, splits=splits)
    alone = labels(captions[1::3], WORDS, LONGEST)
    words = torch.randint(0, 7, (3, 2, 6)).cumprod(-1).clamp(max=6)
    some = Reward.of(found)(np.array([7, 1, 4]), words)
    assert torch.equal(some, Reward.of(alone)(np.array([2, 0, 1]), words))
    with pytest.raises(AssertionError, match="without references"):
        Reward.of(found)(np.array([0]), words[:1])


def test_weights_are_those_of_a_count(made) -> None:
    found, _ = made
    words = torch.from_numpy(found.labels.astype(np.int64))
    image = torch.from_numpy(np.repeat(np.arange(12), np.diff(found.ranges)[:, 0]))
    weights, _ = ngram_weights(words, with_end(words), image, len(WORDS) + 1)
    expected: Counter = Counter()
    for some in references_of(found):
        expected.update(set().union(*(counted(r, n) for r in some for n in (1, 2, 3, 4))))
    assert len(weights.keys) == len(expected)
    for gram, images in expected.items():
        key = sum((w + 1) * weights.base ** (len(gram) - 1 - i) for i, w in enumerate(gram))
        assert float(weights(torch.tensor(key))) == pytest.approx(math.log(12 / images))
    assert weights(torch.tensor([weights.base**4 - 1, 0])).tolist() == [math.log(12), 0]


def test_the_greatest_ngram_has_its_weight_too() -> None:
    """Two of three images say "f f f f", whose key is the last of the table."""
    captions = [[[6, 6, 6, 6]], [[6, 6, 6, 6]], [[1, 2]]]
    weights = Reward.of(labels(captions, WORDS, LONGEST)).weights
    assert weights.base == len(WORDS) + 2, "the words, the token 0 and the key 0"
    greatest = sum(7 * weights.base**i for i in range(4))
    assert weights.keys.max() == greatest
    assert float(weights(torch.tensor(greatest))) == pytest.approx(math.log(3 / 2))


def test_images_without_captions_change_nothing() -> None:
    captions = random_captions(5, 6, 8, 4)
    holes = [[], captions[0], captions[1], [], [], *captions[2:], []]
    generator = torch.Generator().manual_seed(0)
    words = torch.randint(0, 7, (5, 2, 6), generator=generator).cumprod(-1).clamp(max=6)
    expected = Reward.of(labels(captions, WORDS, LONGEST))(np.arange(5), words)
    found = Reward.of(labels(holes, WORDS, LONGEST))(np.array([1, 2, 5, 6, 7]), words)
    assert torch.equal(found, expected) and found.max() > 0


def test_a_batch_has_room_for_the_most_references_of_its_images() -> None:
    """Beside all captions of the data set, a batch would not fit into memory."""
    reward = Reward.of(labels([[[1]] * count for count in (5, 1, 3, 2)], WORDS, LONGEST))
    matches = reward._match(np.array([3, 2]), torch.ones(2, 1, 4, dtype=torch.int64))
    assert matches.reference_lengths.tolist() == [[2, 2, 0], [2, 2, 2]]


def test_what_cannot_be_rewarded_is_said() -> None:
    with pytest.raises(ValueError, match="two images or more, not of 1"):
        Reward.of(labels([[[1, 2]]], WORDS, LONGEST))
    with pytest.raises(ValueError, match="two images or more, not of 0"):
        Reward.of(labels([[], []], WORDS, LONGEST))
    words = tuple(map(str, range(56_000)))
    with pytest.raises(ValueError, match="55,000 words, not 56,000"):
        Reward.of(labels([[[1]], [[2]]], words, LONGEST))


def test_four_words_of_the_largest_vocabulary_fit_into_a_key() -> None:
    """55,000 words, the start and the shift by one: 55,002^4 < 2^63."""
    words = tuple(map(str, range(55_000)))
    captions = [[[55_000] * 4], [[54_999, 55_000, 1]]]
    reward = Reward.of(labels(captions, words, LONGEST))
    assert reward.weights.base**4 < 2**63 and bool((reward.weights.keys > 0).all())
    said = torch.tensor([[[55_000] * 4 + [0]], [[54_999, 55_000, 1, 0, 0]]])
    corpus = [[[*caption[0], 0]] for caption in captions]
    for image, (caption,) in enumerate(corpus):
        expected = plain_cider_d(caption, corpus[image], corpus)
        assert float(reward(np.array([image]), said[[image]])) == pytest.approx(expected)


def test_a_perfect_caption_earns_the_weights_of_the_metrics() -> None:
    found = labels([[[1, 2, 3, 4]], [[5, 6]]], WORDS, LONGEST)
    words = torch.tensor([[[1, 2, 3, 4, 0]]])
    for one, other in ((1, 0), (0, 1), (2, 0.5)):
        score = Reward.of(found, cider=one, bleu=other)(np.array([0]), words)
        assert float(score) == pytest.approx(10 * one + other)
