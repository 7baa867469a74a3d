"""Programs of torch.export run where the code of this project cannot be imported."""

import json

import numpy as np

from caption import export
from prepro.images import open_rgb
from tests.cli.conftest import run_python

# Greedy decoding, as the README of the folder describes it.
STRANGER = """
import sys
for name in ("caption", "prepro", "eval"):
    sys.modules[name] = None  # any import of them fails
import json, numpy, torch
folder, pixels = sys.argv[1:]
encoder, begin, step = (
    torch.export.load(f"{folder}/{name}.pt2").module() for name in ("encoder", "begin", "step"))
about = json.load(open(f"{folder}/captioner.json"))
with torch.no_grad():
    state = begin(*encoder(torch.from_numpy(numpy.load(pixels))[None]))
    image, rows = state[:about["state"]["image"]], state[about["state"]["image"]:]
    tokens, words = torch.zeros(1, 1, dtype=torch.int64), []
    for _ in range(5):
        log_probs, *rest = step(tokens, *image, *rows)
        rows = rest[:about["state"]["rows"]]
        log_probs[..., about["words"].index("UNK") + 1 if "UNK" in about["words"] else 0] = -9e9
        tokens = log_probs[..., 1:].argmax(-1) + 1
        words.append(about["words"][int(tokens) - 1])
print(json.dumps(words))
"""


def test_a_program_without_our_code_says_the_same_words(tiny, tmp_path):
    out, pixels = tmp_path / "programs", tmp_path / "pixels.npy"
    export.main(export.Options(out, tiny.runs["topdown"], format="pt2"))
    assert {path.name for path in out.iterdir()} == {
        "encoder.pt2", "begin.pt2", "step.pt2", "captioner.json", "README.md"}  # fmt: skip
    captioner = tiny.captioner()
    picture = next((tiny.data / "images").iterdir())
    np.save(pixels, captioner.encoder.transform.pixels(open_rgb(picture)))
    ran = run_python("-I", "-c", STRANGER, out, pixels)
    assert ran.status == 0, ran.err
    options = {"beam": 1, "min_length": 5, "max_length": 5, "block_repeats": False}
    best = captioner.captions([picture], **options)[0][0]
    assert json.loads(ran.out.splitlines()[-1]) == best.words
