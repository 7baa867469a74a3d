"""The search in numpy against caption.decoding, with the same decoder under both."""

import numpy as np
import pytest
import torch

from caption.decoding.decode import DecodeOptions, decode
from caption.models import Features, State
from caption.onnx.search import search

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
