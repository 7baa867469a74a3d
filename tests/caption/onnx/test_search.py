"""The search in numpy against caption.decoding, with the same decoder under both."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from caption.decoding.constraints import filters, forbid
from caption.decoding.decode import DecodeOptions, decode
from caption.decoding.options import FORBIDDEN_ENDINGS
from caption.models import Features, State
from caption.onnx.search import Forbidden, search
from prepro.vocabulary import UNK, Vocabulary

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
    st.integers(0, 6), st.integers(0, 9999),
)  # fmt: skip
def test_the_forbidden_words_are_those_of_decoding(
    unk, repeats, trigrams, endings, least, length, seed
):
    """Three hypotheses of `length` tokens out of three words, one of them no end of a caption."""
    words = ("dog", FORBIDDEN_ENDINGS[0], UNK)
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
