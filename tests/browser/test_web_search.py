"""The beam search of the page against that of caption.onnx, on random log-probabilities."""

import numpy as np
import pytest

from caption.decoding.options import FORBIDDEN_ENDINGS, DecodeOptions
from caption.onnx.search import search
from caption.onnx.web import OWN

WORDS = ("a", "dog", "on", "the", "runs", "grass", "UNK")
OPTIONS = [
    DecodeOptions(beam=1),
    DecodeOptions(beam=1, block_repeats=True, suppress_unk=False, max_length=5),
    DecodeOptions(beam=3, n=3),
    DecodeOptions(beam=5, n=2, length_rule="avg"),
    DecodeOptions(beam=4, n=4, length_rule="wu", min_length=3, block_trigrams=True),
    DecodeOptions(beam=9, n=9, block_repeats=True, block_bad_endings=True, max_length=4),
    DecodeOptions(beam=2, n=2, max_length=12, block_trigrams=True, block_bad_endings=True),
]
# A hypothesis's state is the number of its tokens and the last one; both choose the next row.
RUN = """async ([table, options, about]) => {
  const step = (tokens, rows) => ({
    logProbs: rows.map((row, k) => Float32Array.from(table[row][tokens[k]])),
    rows: rows.map((row) => row + 1),
    attention: tokens.map((token) => Float32Array.of(token)),
  });
  const take = (rows, parents) => parents.map((parent) => rows[parent]);
  const found = await search(step, take, [0], options, about);
  return found.map(({ tokens, logProbs, attention }) =>
    [tokens, logProbs, attention.map((weights) => weights[0])]);
}"""


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: f"beam{options.beam}")
def test_the_search_is_that_of_caption_onnx(browser, options):
    page = browser.new_page()
    page.add_script_tag(path=OWN / "search.js")
    endings = [i for i, word in enumerate(WORDS, 1) if word in FORBIDDEN_ENDINGS]
    about = {"words": WORDS, "bad_endings": endings}
    rng = np.random.default_rng(0)
    for _ in range(5):
        # few different values, so that there are ties
        table = rng.integers(-9, 0, (21, len(WORDS) + 1, len(WORDS) + 1)).astype(np.float32) / 7

        def step(tokens, rows, table=table):
            (row,) = rows
            chosen = table[row[0], tokens].copy()
            return chosen, (row + 1,), tokens[:, None].astype(np.float32)

        wanted = search(step, (np.zeros((1, 1), int),), options, WORDS)
        found = page.evaluate(RUN, [table.tolist(), vars(options), about])
        assert [tokens for tokens, _, _ in found] == [list(h.tokens) for h in wanted]
        for (_, log_probs, attention), hypothesis in zip(found, wanted, strict=True):
            assert log_probs == list(hypothesis.log_probs)
            assert attention == [float(weights[0]) for weights in hypothesis.attention]
    page.close()
