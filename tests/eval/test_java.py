"""eval.metrics.java: METEOR's golden numbers with Java, one line without it."""

import os
import shutil
from importlib.util import find_spec

import numpy as np
import pytest

from eval.metrics.java import Unavailable, meteor
from eval.metrics.ngram_counts import Pairs
from tests.eval.golden import cases, words

PAIRS = Pairs([1, 2], [[["a", "dog"]], [["a", "cat"]]], [["a", "dog"], ["a", "cat"]])


@pytest.mark.slow
@pytest.mark.java
def test_meteor_is_the_golden_one(shared):
    if not (shutil.which("java") and find_spec("pycocoevalcap")):
        pytest.skip("no java or no pycocoevalcap")
    case = next(case for name, case in cases(shared) if name == "coco ragged_refs")
    ids = case["ids"]
    refs = [[words(c) for c in case["refs_tok"][i]] for i in ids]
    found = meteor(Pairs(ids, refs, [words(case["cands_tok"][i]) for i in ids]))
    assert found.corpus == pytest.approx(case["corpus"]["METEOR"], abs=1e-9)
    assert np.abs(found.per_image - np.array(case["per_image"]["METEOR"])).max() < 1e-9


def test_without_java_one_line_says_so(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(Unavailable, match="METEOR is left out: there is no `java`"):
        meteor(PAIRS)


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("exec sleep 60", "no answer in 0.5 s"),
        ("exit 1", "stopped"),
        ("while read l; do echo x; done", "no number"),
    ],
)
def test_a_java_that_fails_is_left_out(program, reason, tmp_path, monkeypatch):
    if not find_spec("pycocoevalcap"):
        pytest.skip("no pycocoevalcap")
    (tmp_path / "java").write_text(f"#!/bin/sh\n{program}\n")
    (tmp_path / "java").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(Unavailable, match=reason):
        meteor(PAIRS, time_limit=0.5)
