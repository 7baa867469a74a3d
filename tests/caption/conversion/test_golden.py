"""Checkpoints that self-critical.pytorch wrote, against that system's own outputs."""

import json

import numpy as np
import pytest
import torch

from caption import convert
from caption.captioner import Captioner
from caption.conversion.checkpoint import read_checkpoint
from caption.models import Features
from eval import command

NAMES = (
    "newfc", "fc", "show_tell", "att2in2_bn0", "att2in2_bn1", "att2in2_bn2", "topdown_bn0",
    "topdown_bn1", "topdown_bn2", "transformer_bn0", "transformer_bn1",
)  # fmt: skip
DECODINGS = {
    "greedy": {"beam": 1}, "beam3": {"beam": 3}, "beam5": {"beam": 5},
    "beam3_avg": {"beam": 3, "length_rule": "avg"},
    "beam3_no_repeat_no_unk": {"beam": 3, "block_repeats": True, "suppress_unk": True},
}  # fmt: skip


@pytest.fixture(scope="module", params=NAMES)
def earlier(request, shared, tmp_path_factory):
    """The captioner of a converted checkpoint, and what the earlier system computed."""
    folder, out = shared / "golden" / "earlier" / request.param, tmp_path_factory.mktemp("run")
    if not folder.is_dir():
        pytest.skip("no earlier checkpoints")
    files = ("--checkpoint", folder / "model.pth", "--infos", *folder.glob("infos_*.pkl"))
    words = [*map(str, files), "--out", str(out)]
    assert command.run(convert.Options, convert.main, words) == 0
    expected = {key: torch.from_numpy(v) for key, v in np.load(folder / "expected.npz").items()}
    captions = json.loads((folder / "captions.json").read_text())
    return Captioner.load(out), expected, captions, files


def inputs(expected):
    return expected["fc"], expected.get("att"), expected.get("mask")


def real(words):
    """True up to the token that reads the last word; what follows the end is padding."""
    return torch.cat([torch.ones_like(words[..., :1]), words[..., 1:]], -1).ne(0).cumprod(-1).bool()


def test_log_probabilities_are_those_of_that_system(earlier):
    captioner, expected, _, _ = earlier
    found = captioner.log_probs(expected["words"], *inputs(expected))
    assert found.shape == expected["log_probs"].shape and found.dtype == torch.float32
    mask = real(expected["words"])
    assert (found - expected["log_probs"])[mask].abs().max() < 2e-5


def test_double_precision_is_exact_where_the_map_is(earlier):
    """The same decoder in double precision is as near as that system's own float32."""
    _, expected, _, files = earlier
    model = read_checkpoint(files[1], files[3], torch.float64)
    features = Features(*(None if t is None else t.double() for t in inputs(expected)))
    features = features._replace(mask=None if features.mask is None else features.mask.bool())
    with torch.no_grad():
        found = model.decoder(features, expected["words"])
    mask = real(expected["words"])
    assert (found - expected["log_probs"])[mask].abs().max() < 2e-5


@pytest.mark.parametrize("name", DECODINGS)
def test_captions_are_those_of_that_system(earlier, name):
    captioner, expected, captions, _ = earlier
    if name not in captions:
        pytest.skip("that system cannot decode this model")
    options = {"suppress_unk": False, **DECODINGS[name]}
    found = captioner.captions_of(*inputs(expected), **options)
    sentences = [" ".join(captioner.vocabulary.decode(best.token_ids)) for best, *_ in found]
    assert sentences == captions[name]
    if f"{name}_logprob" not in captions:
        return
    sums = [sum(best.log_probs) for best, *_ in found]
    assert sums == pytest.approx(captions[f"{name}_logprob"], abs=2e-5)
