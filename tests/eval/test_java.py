"""eval.metrics.java: one line says why SPICE is left out; what its program is asked and answers."""

import json
import sys
from importlib.util import find_spec

import numpy as np
import pytest

from eval.metrics import java
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


PROGRAM = """#!{python}
import json, pathlib, sys
files = sys.argv[sys.argv.index("spice-1.0.jar") + 1 :]
asked = json.loads(pathlib.Path(files[0]).read_text())
pathlib.Path("asked.json").write_text(json.dumps([sys.argv[1:], asked]))
pathlib.Path(files[files.index("-out") + 1]).write_text(pathlib.Path("answers").read_text())
sys.exit(int(pathlib.Path("status").read_text()))
"""


@pytest.fixture
def program(tmp_path, monkeypatch):
    """A program in the place of SPICE's; gives the folder that it runs in."""
    folder = tmp_path / "package" / "spice"
    (folder / "lib").mkdir(parents=True)
    (folder / "lib" / "stanford-corenlp-3.6.0-models.jar").touch()
    (tmp_path / "java").write_text(PROGRAM.format(python=sys.executable))
    (tmp_path / "java").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(java, "_package", lambda: tmp_path / "package")
    (folder / "status").write_text("0")
    return folder


def answers(scores: dict[int, float]) -> str:
    return json.dumps([{"image_id": i, "scores": {"All": {"f": f}}} for i, f in scores.items()])


def test_scores_are_joined_by_image_and_the_mean_is_of_those_that_have_one(program):
    (program / "answers").write_text(answers({3: 0.5, 0: 0.25}))
    pairs = Pairs("abcd", [[["a", "dog"], ["x"]], *[[["y"]]] * 3], [["a", "cat"], *[["z"]] * 3])
    found = spice(pairs)
    assert np.isnan(found.per_image).tolist() == [False, True, True, False]
    assert found.per_image[[0, 3]].tolist() == [0.25, 0.5] and found.corpus == 0.375
    assert found.combine(np.array([4, 0, 0, 1]) @ found.parts) == (4 * 0.25 + 0.5) / 5
    words, asked = json.loads((program / "asked.json").read_text())
    assert asked[0] == {"image_id": 0, "test": "a cat", "refs": ["a dog", "x"]}
    assert [entry["image_id"] for entry in asked] == [0, 1, 2, 3]
    assert {"-Duser.language=en", "-subset", "-silent"} <= set(words)


def test_images_without_a_score_have_the_mean_zero(program):
    (program / "answers").write_text("[]")
    assert spice(PAIRS).corpus == 0
    (program / "answers").write_text(answers({1: 0.5}))
    assert spice(PAIRS).corpus == 0.5


@pytest.mark.parametrize(("status", "text"), [("1", "[]"), ("0", "no JSON")])
def test_a_program_that_fails_costs_one_line(program, status, text):
    (program / "status").write_text(status)
    (program / "answers").write_text(text)
    with pytest.raises(Unavailable, match="SPICE is left out: .*Error in its program"):
        spice(PAIRS)


def test_without_its_package_one_line_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "java").touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(java.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(Unavailable, match="install the extra `java`"):
        spice(PAIRS)
