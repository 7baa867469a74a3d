"""Every way of decoding x every decoder: what holds for all of them.

Float64, so that another order of additions cannot change which caption wins.
"""

import math

import pytest
import torch

from caption.decoding.beams import Beams, DiverseBeams
from caption.decoding.decode import DecodeOptions, decode
from caption.decoding.search import beam_search
from caption.models import DECODERS, Features, Shape, build
from prepro.vocabulary import UNK, Vocabulary
from tests.caption.decoding.tree import Tree
from tests.caption.models.forcing import force

B, R, D, T = 6, 5, 6, 7
IDS = [f"{image}.jpg" for image in range(B)]
VOCABULARY = Vocabulary((*(f"word{i}" for i in range(12)), "a", UNK))
OPTIONS = {
    "greedy": {"beam": 1},
    "beam": {"beam": 4, "n": 3},
    "beam avg": {"beam": 4, "n": 2, "length_rule": "avg"},
    "beam wu": {"beam": 4, "length_rule": "wu"},
    "diverse": {"beam": 6, "groups": 3, "n": 3},
    "must": {"beam": 2, "n": 2, "must": ("word3", "word7")},
    "constrained": {
        "beam": 3, "n": 2, "min_length": 3, "block_repeats": True, "block_trigrams": True,
        "block_bad_endings": True, "never": ("word1",),
    },
    "consensus": {"beam": 5, "n": 2, "consensus": True},
    "sample": {"n": 3, "sample": "temperature=1"},
    "sample cut": {"n": 3, "sample": "temperature=1.3,top-k=9,top-p=0.9"},
    "gumbel": {"n": 3, "sample": "gumbel"},
}  # fmt: skip


@pytest.fixture(params=DECODERS)
def model(request):
    torch.manual_seed(2)
    shape = Shape(VOCABULARY.classes, D, embedding=8, hidden=8, heads=2)
    model = build(request.param, shape).double().eval()
    for weight in model.parameters():
        weight.data.mul_(3)  # untrained distributions are flat, and flat ones hide mistakes
    model.classify.bias.data[0] += 2  # captions of all lengths, some cut off
    return model


@pytest.fixture(params=OPTIONS)
def options(request):
    return DecodeOptions(max_length=T, **OPTIONS[request.param])


def images(regions=R):
    generator = torch.Generator().manual_seed(5)
    fc = torch.randn(B, D, generator=generator, dtype=torch.float64)
    att = torch.randn(B, regions, D, generator=generator, dtype=torch.float64)
    return Features(fc, att, torch.ones(B, regions, dtype=torch.bool))


def take(features, indices):
    return Features(*(t[indices] for t in features))


def plain(captions):
    """Words and log-probabilities that may be compared with =="""
    return [[(c.token_ids, pytest.approx(c.log_probs)) for c in some] for some in captions]


def lists(captions):
    return [[(c.token_ids, c.log_probs) for c in some] for some in captions]


@torch.no_grad()
def test_log_probabilities_are_those_of_teacher_forcing(model, options):
    features = images()
    found = decode(model, features, options, VOCABULARY, ids=IDS, need_attention=True)
    lengths = set()
    for image, captions in enumerate(found):
        assert 1 <= len(captions) <= options.n
        for caption in captions:
            one = take(features, [image])
            words = torch.tensor([[[0, *caption.token_ids]]])
            forced = model(one, words)[0, 0]
            tokens = [*caption.token_ids, 0][:T]
            expected = [float(row[word]) for row, word in zip(forced, tokens, strict=False)]
            assert caption.log_probs == pytest.approx(expected)
            assert caption.log_prob == pytest.approx(sum(expected))
            lengths.add(len(caption.token_ids))
            _, attention = force(model, one, words)
            if attention is None:
                assert caption.attention is None
            else:
                looked = attention[0, 0, : len(caption.token_ids)]
                assert torch.allclose(caption.attention, looked)
    assert len(lengths) > 1 or not options.sample


def test_captions_do_not_depend_on_the_batch(model, options):
    features = images()
    together = decode(model, features, options, VOCABULARY, ids=IDS)
    order = [4, 0, 3]
    some = decode(model, take(features, order), options, VOCABULARY, ids=[IDS[i] for i in order])
    assert lists(some) == plain([together[i] for i in order])
    alone = decode(model, take(features, [5]), options, VOCABULARY, ids=[IDS[5]])
    assert lists(alone) == plain([together[5]])


def test_images_may_have_different_numbers_of_regions(model, options):
    """Together, the missing ones masked, as each alone with its own regions only."""
    features, counts = images(), [5, 2, 1, 4, 5, 3]
    mask = torch.arange(R) < torch.tensor(counts)[:, None]
    together = decode(model, features._replace(mask=mask), options, VOCABULARY, ids=IDS)
    for image, count in enumerate(counts):
        fc, att, _ = take(features, [image])
        alone = Features(fc, att[:, :count])
        found = decode(model, alone, options, VOCABULARY, ids=[IDS[image]])
        assert lists(found) == plain([together[image]])


def test_captions_do_not_depend_on_padding(model, options):
    features = images()
    noise = torch.full((B, 2, D), 9.0, dtype=torch.float64)
    padded = Features(
        features.fc,
        torch.cat([features.att, noise], 1),
        torch.cat([features.mask, torch.zeros(B, 2, dtype=torch.bool)], 1),
    )
    found = decode(model, padded, options, VOCABULARY, ids=IDS)
    assert lists(found) == plain(decode(model, features, options, VOCABULARY, ids=IDS))


def test_captions_come_best_first_and_differ(model, options):
    for captions in decode(model, images(), options, VOCABULARY, ids=IDS):
        if not options.consensus:
            scores = [(_cut(c) and not options.sample, -_score(c, options)) for c in captions]
            assert scores == sorted(scores)
        if not options.sample or "gumbel" in options.sample:
            assert len({tuple(c.token_ids) for c in captions}) == len(captions)


def _cut(caption):
    return len(caption.token_ids) == T


def _score(caption, options):
    length = len(caption.log_probs)
    divisor = {"none": 1, "avg": length, "wu": math.pow((5 + length) / 6, 0.7)}
    return caption.log_prob / divisor[options.length_rule]


def test_seeds_change_samples(model):
    options = DecodeOptions(sample="temperature=1", n=2)
    first, same, other = (
        lists(decode(model, images(), options, VOCABULARY, ids=IDS, seed=seed))
        for seed in (0, 0, 1)
    )
    assert first == same != other


def test_dropout_is_refused(model):
    with pytest.raises(AssertionError, match="eval"):
        decode(model.train(), images(), DecodeOptions(), VOCABULARY)


def test_what_is_not_given_is_seed_0_the_place_in_the_batch_and_no_attention():
    tree, options = Tree(13, 3), DecodeOptions(sample="temperature=1", n=2, max_length=3)
    features = tree.features(B, 0)
    found = decode(tree, features, options, Vocabulary(VOCABULARY.words[:13]))
    given = decode(
        tree, features, options, Vocabulary(VOCABULARY.words[:13]), ids=range(B), seed=0
    )  # fmt: skip
    assert lists(found) == lists(given)
    assert all(caption.attention is None for captions in found for caption in captions)


@pytest.mark.parametrize(
    ("options", "beams"),
    [
        ({"beam": 2, "n": 2}, Beams(2)),
        ({"beam": 4, "n": 2, "groups": 2, "diversity": 3}, DiverseBeams(4, 2, 3)),
    ],
)
def test_two_beams_and_two_groups_are_searched(options, beams):
    tree = Tree(13, 3)
    features = tree.features(B, 0)
    words = Vocabulary(VOCABULARY.words[:13])
    found = decode(tree, features, DecodeOptions(max_length=3, **options), words)
    expected = beam_search(tree, features, beams, 3, 2).tokens
    assert [
        [[*c.token_ids, 0, 0, 0][:3] for c in captions] for captions in found
    ] == expected.tolist()


def test_weights_that_are_not_finite_are_told_from_words_that_do_not_fit():
    model = build("newfc", Shape(VOCABULARY.classes, D, 8, 8)).double().eval()
    model.classify.bias.data.fill_(math.nan)
    with pytest.raises(RuntimeError, match="the decoder's weights are not finite"):
        decode(model, images(), DecodeOptions(beam=2, max_length=3), VOCABULARY)
