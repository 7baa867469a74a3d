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
]


@pytest.mark.parametrize(("options", "message"), BAD)
def test_what_cannot_be_is_refused_in_one_line(options, message):
    with pytest.raises(ValueError, match=message) as error:
        DecodeOptions(**options)
    assert "\n" not in str(error.value)


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
