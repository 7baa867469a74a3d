"""Ensembles against the mixture of their members' distributions, written out."""

import pytest
import torch

from caption.decoding.beams import Beams
from caption.decoding.decode import DecodeOptions, decode
from caption.decoding.ensemble_decoder import EnsembleDecoder
from caption.decoding.search import beam_search
from caption.models import Features, Shape, build
from prepro.vocabulary import Vocabulary
from tests.caption.decoding.test_search import caption_tokens
from tests.caption.decoding.tree import Tree

WORDS = Vocabulary(tuple("abc"))


def test_an_ensemble_searches_the_mean_of_the_probabilities():
    tree = Tree(3, 3)
    one, two = tree.features(4, 0), tree.features(4, 1)
    ensemble = EnsembleDecoder([tree, tree], [WORDS, WORDS]).eval()
    found = beam_search(ensemble, (one, two), Beams(64), 3, 3)
    mean = Features(((one.fc.exp() + two.fc.exp()) / 2).log())
    expected = beam_search(tree, mean, Beams(64), 3, 3)
    assert torch.equal(found.tokens, expected.tokens)
    assert torch.allclose(found.log_probs, expected.log_probs)
    for image in range(4):  # and that search itself, against the enumeration
        best = max(
            (c for c in tree.captions() if 0 in c),
            key=lambda c: sum(tree.log_probs(mean, image, c)),
        )
        assert caption_tokens(found.tokens[image, 0]) == best


@torch.no_grad()
def test_members_may_be_of_any_kind_and_see_other_features():
    torch.manual_seed(0)
    shapes = {"show_tell": Shape(4, 6, 8, 8), "topdown": Shape(4, 10, 12, 12)}
    members = [build(name, shape).eval() for name, shape in shapes.items()]
    features = Features(torch.randn(5, 6)), Features(torch.randn(5, 10), torch.randn(5, 7, 10))
    ensemble = EnsembleDecoder(members, [WORDS, WORDS]).eval()
    captions = decode(ensemble, features, DecodeOptions(), WORDS, need_attention=True)
    for image, (caption,) in enumerate(captions):
        words = torch.tensor([[[0, *caption.token_ids]]])
        forced = [
            member(Features(*(None if t is None else t[[image]] for t in own)), words).exp()
            for member, own in zip(members, features, strict=True)
        ]
        mean = (sum(forced) / 2).log()[0, 0]
        forced = [*caption.token_ids, 0][: len(caption.log_probs)]
        expected = [float(row[word]) for row, word in zip(mean, forced, strict=False)]
        assert caption.log_probs == pytest.approx(expected, abs=1e-5)
        assert caption.attention.shape == (len(caption.token_ids), 7)  # of the member that looks


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("abcd", "runs 1 and 2 differ: 3 words and 4"),
        ("acb", "runs 1 and 2 differ: word 2 is 'b' and 'c'"),
    ],
)
def test_vocabularies_must_agree(words, message):
    with pytest.raises(ValueError, match=message):
        EnsembleDecoder([Tree(3, 2), Tree(3, 2)], [WORDS, Vocabulary(tuple(words))])


def test_every_member_has_features():
    tree = Tree(3, 2)
    ensemble = EnsembleDecoder([tree, tree], [WORDS, WORDS])
    for count in (1, 3):
        with pytest.raises(ValueError):
            ensemble.begin([tree.features(1, 0)] * count)


def test_the_run_that_differs_is_the_one_that_is_named():
    others = [WORDS, WORDS, Vocabulary(tuple("xbc"))]
    with pytest.raises(ValueError, match="runs 1 and 3 differ: word 1 is 'a' and 'x'"):
        EnsembleDecoder([Tree(3, 2)] * 3, others)


@torch.no_grad()
@pytest.mark.parametrize(
    ("names", "regions", "looks"),
    [
        (("topdown", "att2in", "show_tell"), (7, 7, 7), True),
        (("topdown", "att2in", "show_tell"), (7, 5, 7), False),
        (("newfc", "show_tell", "newfc"), (7, 7, 7), False),
    ],
)
def test_three_members_and_the_mean_of_what_they_look_at(names, regions, looks):
    """Attention over different regions has no mean."""
    torch.manual_seed(1)
    members = [build(name, Shape(4, 6, 8, 8)).eval() for name in names]
    features = [Features(torch.randn(2, 6), torch.randn(2, count, 6)) for count in regions]
    ensemble = EnsembleDecoder(members, [WORDS] * 3).eval()
    tokens = torch.tensor([[1, 2], [3, 0]])
    found = ensemble.step(tokens, ensemble.begin(features).expand(2))
    steps = [
        member.step(tokens, member.begin(own).expand(2))
        for member, own in zip(members, features, strict=True)
    ]
    mean = sum(step.log_probs.exp() for step in steps) / 3
    assert torch.allclose(found.log_probs, mean.log(), atol=1e-5)
    assert (found.attention is not None) == looks
    if looks:
        assert torch.allclose(found.attention, (steps[0].attention + steps[1].attention) / 2)
