"""Options: what is refused, in one line; what JSON and a command line give back."""

import dataclasses
import json
import subprocess
import sys

import pytest

from caption.decoding.options import DecodeOptions, Sampling, parse_sampling

BAD = [
    ({"beam": 0}, "beam is 0; it must be 1 to 1,000"),
    ({"diversity": -1.0}, "diversity is -1.0; it must be 0 to 1,000"),
    ({"diversity": float("nan")}, "diversity is nan"),
    ({"diversity": float("inf")}, "diversity is inf"),
    ({"length_rule": "long"}, "length_rule 'long' is none of none, avg, wu"),
    ({"beam": 2, "n": 3}, "n is 3, but a beam of 2 has fewer captions"),
    ({"beam": 4, "groups": 3}, "3 groups cannot share 4 beams evenly"),
    ({"groups": 3, "must": ("dog",)}, "groups and must do not go together"),
    ({"must": ("dog",), "never": ("dog",)}, "'dog' is in must and in never"),
    ({"must": tuple("abcde")}, "must takes at most four words"),
    ({"min_length": 9, "max_length": 8}, "max_length 8 has no room"),
    ({"sample": "top-k=5", "must": ("dog",)}, "must needs a search"),
    ({"sample": "gumbel", "length_rule": "avg"}, "length_rule has no meaning"),
    ({"sample": "gumbel,top-k=5"}, "gumbel cannot be combined"),
    ({"sample": "top-q=5"}, "'top-q=5' is not temperature=T"),
    ({"sample": "top-k=many"}, "'top-k=many' is not temperature=T"),
    ({"sample": "temperature=0"}, "temperature=0 must be 0.01 to 100"),
    ({"sample": "temperature=1e-40"}, "temperature=1e-40 must be 0.01"),
    ({"sample": "top-p=1e-320"}, "top-p=9.99989e-321 must be 0.001"),
    ({"beam": 100_000}, "it must be 1 to 1,000"),
    ({"sample": "top-p=1.5"}, "top-p=1.5 must be 0.001 to 1"),
    ({"sample": "temperature=100.5"}, "temperature=100.5 must be 0.01 to 100"),
    ({"sample": "top-k=-1"}, "top-k=-1 must be 0"),
    ({"sample": "gumbel,temperature=2"}, "gumbel cannot be combined"),
    ({"sample": "gumbel,top-p=0.5"}, "gumbel cannot be combined"),
    ({"sample": "top-k=5", "beam": 4, "groups": 2}, "groups needs a search"),
    ({"groups": 2, "beam": 2, "must": ("dog",)}, "groups and must do not go together"),
    ({"must": ("dog", "dog")}, "must takes at most four words, all different"),
    ({"must": ("a", "dog"), "max_length": 1}, "max_length 1 has no room"),
]


@pytest.mark.parametrize(("options", "message"), BAD)
def test_what_cannot_be_is_refused_in_one_line(options, message):
    with pytest.raises(ValueError, match=message) as error:
        DecodeOptions(**options)
    assert "\n" not in str(error.value)


GOOD = [
    {"beam": 1000, "n": 1000, "groups": 1000, "diversity": 1000},
    {"beam": 1, "n": 1, "groups": 1, "diversity": 0},
    {"max_length": 1000, "min_length": 1000},
    {"max_length": 1, "min_length": 1},
    {"max_length": 2, "must": ("a", "dog")},
    {"max_length": 1, "min_length": 0, "must": ("dog",)},
    {"must": tuple("abcd")},
    {"sample": "temperature=0.01"},
    {"sample": "temperature=100,top-k=0"},
    {"sample": "top-p=0.001,top-k=1"},
    {"sample": "top-p=1", "length_rule": "avg"},
    {"sample": "gumbel", "n": 9},
    {"sample": "top-k=5", "never": ("dog",)},
]


@pytest.mark.parametrize("options", GOOD)
def test_the_limits_themselves_are_accepted(options):
    assert {name: getattr(DecodeOptions(**options), name) for name in options} == options


@pytest.mark.parametrize("name", ["beam", "max_length", "n", "groups", "min_length", "diversity"])
def test_a_number_beyond_its_limit_is_refused(name):
    """The limits that the messages state."""
    least = 0 if name in ("min_length", "diversity") else 1
    room = {"beam": 1000, "max_length": 1000}
    for value in (least - 1, 1001):
        message = f"{name} is {value}; it must be {least} to 1,000"
        with pytest.raises(ValueError, match=message):
            DecodeOptions(**{**room, name: value})


def test_a_run_without_options_searches_for_one_caption_and_forbids_rare_words_only():
    options, plain = DecodeOptions(), Sampling()
    assert (options.n, options.groups, options.min_length, options.sample) == (1, 1, 0, "")
    assert options.suppress_unk and not options.consensus
    assert not (options.block_repeats or options.block_trigrams or options.block_bad_endings)
    assert (plain.temperature, plain.top_k, plain.top_p, plain.gumbel) == (1, 0, 1, False)


def test_sampling_is_parsed():
    assert parse_sampling("temperature=0.8, top-k=5,top-p=0.9") == Sampling(0.8, 5, 0.9)
    assert parse_sampling("gumbel") == Sampling(gumbel=True)


def test_options_survive_json():
    options = DecodeOptions(beam=5, n=2, must=("dog",), never=("cat", "cow"), length_rule="wu")
    stored = json.loads(json.dumps(dataclasses.asdict(options)))
    assert DecodeOptions(**stored) == options


def test_names_of_earlier_versions_are_read():
    old = {"beam": 5, "no_repeat": True, "no_bad_endings": False, "block_trigrams": True}
    expected = DecodeOptions(beam=5, block_repeats=True, block_trigrams=True)
    assert DecodeOptions.from_stored(old) == expected


def test_options_do_not_import_torch():
    code = "import caption.decoding.options, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
