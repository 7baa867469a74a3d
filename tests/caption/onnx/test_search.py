"""The search in numpy against caption.decoding, with the same decoder under both."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from caption.decoding.beams import Beams
from caption.decoding.constraints import filters, forbid
from caption.decoding.decode import DecodeOptions, decode
from caption.decoding.options import FORBIDDEN_ENDINGS
from caption.decoding.search import beam_search
from caption.models import Features, State
from caption.onnx.search import Forbidden, search
from prepro.vocabulary import UNK, Vocabulary
from tests.caption.decoding.test_search import caption_tokens
from tests.caption.decoding.tree import Tree

OPTIONS = [
    DecodeOptions(beam=1),
    DecodeOptions(beam=1, block_repeats=True, max_length=5),
    DecodeOptions(beam=3, n=3),
    DecodeOptions(beam=5, n=2, length_rule="avg"),
    DecodeOptions(beam=4, n=4, length_rule="wu", min_length=3, block_trigrams=True),
    DecodeOptions(beam=4, n=2, block_repeats=True, block_bad_endings=True, max_length=4),
]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: f"beam{options.beam}")
@pytest.mark.parametrize("name", ["show_tell", "topdown", "transformer"])
def test_captions_are_those_of_decode(tiny, name, options):
    captioner = tiny.captioner(name)
    torch.manual_seed(1)
    d = captioner.decoder.shape.features
    features = Features(torch.randn(3, d), torch.randn(3, 49, d))
    wanted = decode(captioner.decoder, features, options, captioner.vocabulary, need_attention=True)
    for image in range(3):
        own = Features(features.fc[image : image + 1], features.att[image : image + 1])
        with torch.no_grad():
            state = captioner.decoder.begin(own)

        def step(tokens, rows, tensors=state.image):
            before = State(tensors, tuple(torch.from_numpy(np.ascontiguousarray(t)) for t in rows))
            with torch.no_grad():
                found = captioner.decoder.step(torch.from_numpy(tokens)[None], before)
            attention = None if found.attention is None else found.attention[0].numpy()
            return found.log_probs[0].numpy(), tuple(t.numpy() for t in found.state.rows), attention

        rows = tuple(t.numpy() for t in state.rows)
        found = search(step, rows, options, captioner.vocabulary.words)
        assert [list(h.tokens) for h in found] == [c.token_ids for c in wanted[image]]
        for ours, theirs in zip(found, wanted[image], strict=True):
            assert ours.log_prob == pytest.approx(theirs.log_prob, abs=1e-4)
            if theirs.attention is not None and theirs.words:
                seen = np.stack(ours.attention[: len(theirs.words)])
                np.testing.assert_allclose(seen, theirs.attention.numpy(), atol=1e-5)


@settings(max_examples=200)
@given(
    st.booleans(), st.booleans(), st.booleans(), st.booleans(), st.integers(0, 3),
    st.integers(0, 6), st.integers(0, 9999), st.sampled_from([UNK, "cat"]),
)  # fmt: skip
def test_the_forbidden_words_are_those_of_decoding(
    unk, repeats, trigrams, endings, least, length, seed, last
):
    """Three hypotheses of `length` tokens out of three words, one of them no end of a caption."""
    words = ("dog", FORBIDDEN_ENDINGS[0], last)
    options = DecodeOptions(
        max_length=7, min_length=least, suppress_unk=unk, block_repeats=repeats,
        block_trigrams=trigrams, block_bad_endings=endings,
    )  # fmt: skip
    rng = np.random.default_rng(seed)
    histories = rng.integers(1, 4, (3, length))
    log_probs = rng.standard_normal((3, 4)).astype(np.float32)
    expected = torch.from_numpy(log_probs.copy())[None]
    forbid(filters(options, Vocabulary(words), "cpu"), expected, torch.from_numpy(histories)[None])
    Forbidden(options, words)(log_probs, [tuple(row) for row in histories.tolist()])
    np.testing.assert_array_equal(log_probs, expected[0].numpy())


def test_where_every_token_is_forbidden_the_caption_ends():
    options = DecodeOptions(min_length=3, block_repeats=True)
    log_probs = np.log(np.float32([[0.2, 0.3, 0.5], [0.2, 0.3, 0.5]]))
    Forbidden(options, ("dog", UNK))(log_probs, [(1,), (2,)])  # "dog dog" is forbidden
    expected = np.log(np.float32([0.2, 0.3]))
    np.testing.assert_array_equal(log_probs, [[expected[0], *[-np.inf] * 2],
                                              [-np.inf, expected[1], -np.inf]])  # fmt: skip


@pytest.mark.parametrize("rule", ["none", "avg", "wu"])
@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 3), st.integers(1, 4), st.integers(1, 9), st.integers(1, 9),
    st.integers(0, 999), st.integers(0, 3),
)  # fmt: skip
def test_a_beam_search_is_that_of_decoding(rule, words, length, beam, n, seed, levels):
    """Also with more beams than continuations, and with equal scores."""
    n, tree = min(n, beam), Tree(words, length)
    features = tree.features(1, seed, levels=levels)
    wanted = beam_search(tree, features, Beams(beam), length, n, rule)
    scores = wanted.scores[0].tolist()
    count = sum(score > -np.inf for score in scores)  # there may be fewer captions than n
    (leaves,), (node,) = tree.begin(features)

    def step(tokens, rows):
        state = State((leaves,), tuple(map(torch.from_numpy, rows)))
        found = tree.step(torch.from_numpy(tokens)[None], state)
        return found.log_probs[0].numpy(), tuple(t.numpy() for t in found.state.rows), None

    options = DecodeOptions(beam=beam, n=n, max_length=length, length_rule=rule, suppress_unk=False)
    found = search(step, (node.numpy(),), options, ("a", "b", "c")[:words])
    tokens = [tuple(token for token in caption_tokens(w) if token) for w in wanted.tokens[0]]
    assert [caption.tokens for caption in found] == tokens[:count]
    sums = [sum(log_probs.tolist()) for log_probs in wanted.log_probs[0]]
    assert [caption.log_prob for caption in found] == pytest.approx(sums[:count])


@pytest.mark.parametrize("longer_is_better", [False, True])
def test_the_rule_wu_ranks_captions_as_gnmt_does(longer_is_better):
    """Wu et al. 2016, equation 14: a caption of one word against one of seven, an end after each.

    The log-probability is divided by ((5 + tokens) / 6) ** 0.7.
    """
    fair = ((5 + 8) / (5 + 2)) ** 0.7
    long = -fair * (0.999 if longer_is_better else 1.001)

    def step(tokens, rows):
        (count,) = rows
        log_probs = np.full((len(tokens), 3), -1e9, np.float32)
        for row, token in enumerate(tokens):
            if count[0, row] == 0:
                log_probs[row, 1:] = -1, long
            else:
                log_probs[row, 2 if token == 2 and count[0, row] < 7 else 0] = 0
        return log_probs, (count + 1,), None

    options = DecodeOptions(beam=2, max_length=8, length_rule="wu")
    (best,) = search(step, (np.zeros((1, 1), np.int64),), options, ("short", "long"))
    assert best.tokens == ((2,) * 7 if longer_is_better else (1,))
