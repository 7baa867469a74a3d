"""METEOR's own tokens: what its option -norm makes of a line, for English.

In: a line of text. Out: its words, in lower case.

The rules are the Moses tokenizer's with METEOR's additions: quotes and dashes have one form, a dash
between letters is a space, U.S. is us. Most captions are plain words, which no rule changes.
"""

import re
from collections.abc import Mapping

ALPHA = "A-Za-zŠŽšžŸÀ-ÖØ-öø-žЀ-ӿԀ-ԧꙀ-ꙮ\ua67e-ꚗᴀ-ᵿ"
ALNUM = "0-9" + ALPHA
PLAIN = re.compile(r"[a-z0-9 ]*")
SPACES = re.compile("[ \u2000-\u200a\u202f\u205f\u3000\u00a0]+")
BLANK = re.compile(r"[ \t\n\r\f]+")  # what separates words
FULL_STOP = re.compile(r"\.(\.+)")
# `'` between: no letters, not a letter and a letter, a letter and no letter; two letters; 1990's
RULES = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"([^0-9])[,]([^0-9])", r"\1 , \2"),
        (r"([0-9])[,]([^0-9])", r"\1 , \2"),
        (r"([^0-9])[,]([0-9])", r"\1 , \2"),
        (r"[`‘’]", "'"),
        (r"[“”]|''", ' " '),
        (r"–|--", "-"),
        (rf"([{ALNUM}.])-([{ALNUM}])", r"\1 \2"),
        (rf"([^{ALPHA}])'([^{ALPHA}])", r"\1 ' \2"),
        (rf"([^{ALPHA}0-9])'([{ALPHA}])", r"\1 ' \2"),
        (rf"([{ALPHA}])'([^{ALPHA}])", r"\1 ' \2"),
        (rf"([{ALPHA}])'([{ALPHA}])", r"\1 '\2"),
        (r"([0-9])'(s)", r"\1 '\2"),
    )
]
SEPARATE = re.compile(rf"([^{ALNUM} \t\n\x0b\f\r.'`,\-‘’])")
LETTER = re.compile(f"[{ALPHA}]")


def normalize(line: str, prefixes: Mapping[str, bool]) -> list[str]:
    """The words of a line; `prefixes` are `Lexicon.prefixes`."""
    if PLAIN.fullmatch(line):
        return line.split()
    line = SEPARATE.sub(r" \1 ", f" {line} ")
    line = FULL_STOP.sub(_escape, line)
    for pattern, replacement in RULES:
        line = pattern.sub(replacement, line)
    words = [word for word in BLANK.split(line) if word]
    following = [*words[1:], ""]
    line = " ".join(map(_full_stop, words, following, [prefixes] * len(words)))
    line = line.replace(DOT, ".")
    return [word for word in BLANK.split(SPACES.sub(" ", line).lower()) if word]


DOT = "\ue000"  # a full stop of several, which is no end of a sentence


def _escape(dots: re.Match) -> str:
    """Several full stops are one word."""
    return f" {DOT * len(dots[0])} "


def _full_stop(word: str, following: str, prefixes: Mapping[str, bool]) -> str:
    """Split the full stop from the end of a word, unless the word is an abbreviation."""
    if len(word) < 2 or not word.endswith("."):
        return word
    stem = word[:-1]
    if "." in stem and LETTER.search(stem):
        return word.replace(".", "")
    number_only = prefixes.get(stem)
    if number_only is False or "a" <= following[:1] <= "z":
        return word
    if number_only and "0" <= following[:1] <= "9":
        return word
    return f"{stem} ."
