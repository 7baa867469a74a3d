"""eval.metrics.meteor beside METEOR's own program, where Java is: random captions, and stems.

python -m pytest -m java
"""

import importlib.util
import random
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from eval.metrics.meteor import meteor
from eval.metrics.meteor.lexicon import read_lexicon, stemmer
from eval.metrics.ngram_counts import Pairs

pytestmark = [pytest.mark.java, pytest.mark.slow]
IMAGES = 400
WORDS = """a the one two birds bird man men woman people standing stands in front of next to on top
of sitting riding rides large big small red dog dogs running along beside near street road city
photo picture image of sofa couch plate food there is are with and wearing holding""".split()
EDGES = """. , ' " - -- .. ... 5 5,000 3.5 10's 1990's u.s. mr. no. 7 don't o'clock well-known i.e.
s' 's n't '' `` ; : ! ? ( ) % & $ # / @home café naïve straße 北京 привет ’ “ ” – ½
ß İ ı ﬁ ™ a\u00a0b variants gelato realization realize egged agreed""".split(" ")
EDGES = [word for several in EDGES for word in several.split("\n")]


@pytest.fixture(scope="module")
def folder() -> Path:
    """METEOR's program and data."""
    package = importlib.util.find_spec("pycocoevalcap")
    if not (package and shutil.which("java")):
        pytest.skip("no java or no pycocoevalcap")
    return Path(package.submodule_search_locations[0]) / "meteor"


def _varied(words: list[str], rng: random.Random) -> list[str]:
    """The caption with up to three words moved, said again, left out or replaced."""
    words = list(words)
    for _ in range(rng.randrange(4)):
        if not words:
            break
        one, other = rng.randrange(len(words)), rng.randrange(len(words))
        change = rng.randrange(4)
        if change == 0:
            words[one], words[other] = words[other], words[one]
        elif change == 1:
            words.insert(one, words[other])
        elif change == 2:
            del words[one]
        else:
            words[one] = rng.choice(rng.choice((WORDS, EDGES)))
    return words


def _caption(rng: random.Random) -> list[str]:
    """Nothing, a few words again and again, or many words."""
    kind = rng.random()
    if kind < 0.04:
        return []
    words = rng.choices(WORDS, k=3) + rng.choices(EDGES, k=2) if kind < 0.4 else WORDS
    return rng.choices(words, k=rng.randrange(1, 15))


def _random_pairs() -> Pairs:
    rng = random.Random(0)
    references, candidates = [], []
    for _ in range(IMAGES):
        base = _caption(rng)
        several = [
            _caption(rng) if rng.random() < 0.3 else _varied(base, rng)
            for _ in range(rng.randrange(1, 6))
        ]
        references.append(several)
        candidates.append(_varied(base, rng))
    return Pairs(range(IMAGES), references, candidates)


def test_random_captions_score_as_in_the_jar(folder, monkeypatch):
    from pycocoevalcap.meteor.meteor import Meteor

    monkeypatch.setenv("JAVA_TOOL_OPTIONS", "-Dfile.encoding=UTF-8")
    pairs = _random_pairs()
    texts = {
        image: ([" ".join(words) for words in several], [" ".join(candidate)])
        for image, (several, candidate) in zip(pairs.ids, pairs.by_image(), strict=True)
    }
    program = Meteor()
    corpus, images = program.compute_score(
        {i: several for i, (several, _) in texts.items()},
        {i: candidate for i, (_, candidate) in texts.items()},
    )
    program.meteor_p.kill()
    program.meteor_p.communicate()
    found = meteor(pairs)
    assert np.abs(found.per_image - images).max() < 1e-9
    assert found.corpus == pytest.approx(corpus, abs=1e-9)
    assert len(set(images)) > IMAGES / 2  # they are no constant


def test_stems_are_those_of_the_jar(folder):
    jar = folder / "meteor-1.5.jar"
    words = sorted(word for word in read_lexicon(jar).synsets if word.isalpha())[::10]
    ran = subprocess.run(
        ["java", "-Dfile.encoding=UTF-8", "-cp", str(jar), "Stemmer", "en"],
        input="\n".join(words), capture_output=True, text=True, encoding="utf-8", check=True,
    )  # fmt: skip
    stem = stemmer()
    assert [stem(word) for word in words] == ran.stdout.split()
    assert len(words) > 5000
