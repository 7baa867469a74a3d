"""Braces are expanded as a shell expands them."""

import subprocess

import pytest

from prepro.annotations.braces import expand_braces


@pytest.mark.parametrize(
    "pattern",
    [
        "s/{008..011}.tar", "{a,b}{2..1}", "a{}b{x}", "{0..10}", "{9..12}", "{10..8}", "{20..20}",
        "{08..10}", "{8..010}", "{train,val}/{08..11}-of-{3..1}.tar", "{a..b,c}", "{1..2,9}",
        "x{,a}", "plain", "{3}", "{00..2}", "{1..2}{1..2}{01..02}",
    ],
)  # fmt: skip
def test_names_are_those_of_bash(pattern):
    line = ["bash", "-c", f"printf '%s\\n' {pattern}"]
    expected = subprocess.run(line, capture_output=True, text=True, check=True).stdout
    assert list(expand_braces(pattern)) == expected.split("\n")[:-1]


def test_a_million_names_and_no_more():
    assert next(expand_braces("{1..1000}-{1..1000}.tar")) == "1-1.tar"
    with pytest.raises(ValueError, match="1,001,000 names, more than 1,000,000"):
        next(expand_braces("{1..1000}-{0..1000}.tar"))


def test_numbers_have_at_most_18_digits():
    first, last = "9" * 18, f"{0:018}"
    assert list(expand_braces(f"{{{first}..{first}}}")) == [first]
    assert list(expand_braces(f"{{{last}..1}}")) == [last, f"{1:018}"]
    with pytest.raises(ValueError, match="numbers of more than 18 digits"):
        next(expand_braces(f"{{{first}9..{first}}}"))
