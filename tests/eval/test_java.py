"""eval.metrics.java: one line says why SPICE is left out."""

from importlib.util import find_spec

import pytest

from eval.metrics.java import spice
from eval.metrics.ngram_counts import Pairs
from eval.metrics.unavailable import Unavailable

PAIRS = Pairs([1, 2], [[["a", "dog"]], [["a", "cat"]]], [["a", "dog"], ["a", "cat"]])


def test_without_java_one_line_says_so(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(Unavailable, match="SPICE is left out: there is no `java`"):
        spice(PAIRS)


def test_without_its_models_one_line_says_how_to_get_them(tmp_path, monkeypatch):
    if not find_spec("pycocoevalcap"):
        pytest.skip("no pycocoevalcap")
    (tmp_path / "java").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "java").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match="models.*downloads them"):
        spice(PAIRS)
