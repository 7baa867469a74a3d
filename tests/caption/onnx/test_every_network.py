"""Every decoder and every family of encoders, untrained: onnxruntime against PyTorch."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from caption import models
from caption.captioner import Captioner
from caption.decoding.decode import DecodeOptions, decode
from caption.models import Features
from caption.onnx.export import manifest_of, write_graph
from caption.onnx.graphs import decoder_graphs, encoder_graph
from caption.onnx.search import search
from caption.onnx.session import OnnxCaptioner, open_graph
from prepro.encoders import create_encoder

# The smallest network of each file of prepro/encoders/families, and one with dilated convolutions.
ENCODERS = (
    "efficientnet_lite0", "inception_resnet_v2_paper", "preresnet8", "resnet8", "resnet10-w8-s16",
)  # fmt: skip
BEAMS = [
    DecodeOptions(beam=1, max_length=8),
    DecodeOptions(beam=3, n=3, max_length=8),
    DecodeOptions(beam=3, length_rule="avg", block_trigrams=True, block_bad_endings=True),
]


@pytest.mark.parametrize("name", models.DECODERS)
def test_decoders_give_the_captions_of_pytorch(tiny, name, tmp_path):
    pytest.importorskip("onnxruntime")
    captioner = tiny.captioner(name)
    exported = _decoder(captioner, tmp_path)
    torch.manual_seed(2)
    d = captioner.decoder.shape.features
    features = Features(torch.randn(4, d), torch.randn(4, 49, d))
    for options in BEAMS:
        wanted = decode(captioner.decoder, features, options, captioner.vocabulary)
        for image, best in enumerate(wanted):
            given = [t[image : image + 1].numpy() for t in features[:2]]
            state, rows = exported.begin(*given[: 1 + captioner.decoder.needs_regions])

            def step(tokens, rows, state=state):
                return exported.step(tokens, state, rows)

            found = search(step, rows, options, captioner.vocabulary.words)
            assert [list(h.tokens) for h in found] == [c.token_ids for c in best]
            for ours, theirs in zip(found, best, strict=True):
                assert ours.log_prob == pytest.approx(theirs.log_prob, abs=1e-3)


def _decoder(captioner: Captioner, folder) -> OnnxCaptioner:
    begin, step = decoder_graphs(captioner)
    for graph in (begin, step):
        write_graph(graph, folder / f"{graph.name}.onnx")
    sessions = {name: open_graph(folder / f"{name}.onnx", 1) for name in ("begin", "step")}
    return OnnxCaptioner(manifest_of(captioner, begin, {}), sessions)


@pytest.mark.parametrize(
    ("side", "positions", "regions"), [(7, 0, 49), (7, 49, 49), (0, 25, 25), (0, 0, None)]
)
def test_the_graphs_read_as_many_regions_as_there_are(tiny, side, positions, regions):
    """Those of the grid, or as many as the decoder has positions; None: of a detector, some."""
    captioner = tiny.captioner()
    decoder = models.build("att2in", replace(captioner.decoder.shape, regions=positions))
    begin, step = decoder_graphs(replace(captioner, decoder=decoder, regions=side))
    found = begin.example[1].shape[1]
    assert found == regions if regions else found > 1
    assert all(t.shape[1] == found for t in step.example[1:3])  # values and keys


@pytest.mark.parametrize("name", ENCODERS)
def test_encoders_give_the_features_of_pytorch(tiny, name, tmp_path):
    pytest.importorskip("onnxruntime")
    encoder = create_encoder(name, seed=1)
    captioner = replace(tiny.captioner(), make_encoder=lambda: encoder)
    size = encoder.transform.crop
    pixels = torch.randint(0, 256, (2, 3, size, size), dtype=torch.uint8)
    wanted = captioner.encode_batch(pixels)
    path = tmp_path / "encoder.onnx"
    write_graph(encoder_graph(captioner), path)
    for count in (1, 2):
        found = open_graph(path, 1).run(None, {"pixels": pixels[:count].numpy()})
        for ours, theirs in zip(found, wanted[:2], strict=True):
            least = 1e-4 * float(theirs.abs().max())  # 1e-3: features are rounded to float16
            np.testing.assert_allclose(ours, theirs[:count].numpy(), rtol=1e-3, atol=least)
