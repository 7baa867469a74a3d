"""METEOR's alignment of a candidate with a reference: a beam search over the possible matches.

In: the possible matches of `Matcher`. Out: those of the best alignment.

The best alignment covers the most words, then has the fewest chunks, then the shortest distances.
As in METEOR 1.5, a match that is not exact counts half its words, rounded down, and the distance
of an optional match is counted on the path without it: any other rule gives other scores.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from operator import itemgetter
from typing import NamedTuple

from eval.metrics.meteor.lexicon import EXACT
from eval.metrics.meteor.matcher import Match

BEAM = 40
WORDS, CHUNK = 1 << 40, 1 << 20  # a path's cost is one number: words, chunks, distance
# A partial alignment, a plain tuple because there are millions:
#   cost        the least is the best
#   end         in the reference, of the last match or skipped word
#   other_end   in the candidate, of the open chunk; -1 when there is none
#   used        bits: words of the reference that have a match
#   other_used  bits: words of the candidate that have a match
#   chosen      (the last match, all before it), or None
Path = tuple[int, int, int, int, int, tuple | None]


class Option(NamedTuple):
    """A match with what a path needs of it."""

    match: Match
    bits: int  # the words that it covers in the reference
    other_bits: int  # in the candidate
    gain: int  # by which it lowers the cost
    end: int  # in the reference
    other: int  # where it begins in the candidate
    other_end: int
    distance: int


def best(matches: Sequence[Sequence[Match]]) -> list[Match]:
    """The matches of the best alignment, from left to right in the reference."""
    options = [list(map(_option, here)) for here in matches]
    fixed = _fixed(options)
    used = sum(option.bits for option in fixed.values())
    other_used = sum(option.other_bits for option in fixed.values())
    paths: list[Path] = [(0, 0, -1, used, other_used, None)]
    for position, here in enumerate(options):
        paths.sort(key=itemgetter(0))
        following: list[Path] = []
        for path in paths[:BEAM]:
            if not path[3] >> position & 1:
                _extend(path, here, following)
            elif position < path[1]:  # inside a match
                following.append(path)
            else:
                following.append(_take_fixed(path, fixed[position]))
        paths = following
    paths.sort(key=itemgetter(0))
    closed = [(path[0] + CHUNK * (path[2] != -1), path[5]) for path in paths[:BEAM]]
    chosen, found = min(closed, key=itemgetter(0))[1], []
    while chosen:
        match, chosen = chosen
        found.append(match)
    return found[::-1]


def chunks(matches: Sequence[Match]) -> int:
    """The runs of matches that are adjacent in both sentences."""
    joined = sum(
        after.start == before.start + before.length
        and after.other == before.other + before.other_length
        for before, after in pairwise(matches)
    )
    return len(matches) - joined


def _option(match: Match) -> Option:
    start, length, other, other_length, stage = match
    whole = stage == EXACT
    words = length + other_length if whole else length // 2 + other_length // 2
    return Option(
        match,
        bits=(1 << length) - 1 << start,
        other_bits=(1 << other_length) - 1 << other,
        gain=WORDS * words,
        end=start + length,
        other=other,
        other_end=other + other_length,
        distance=abs(start - other),
    )


def _fixed(options: Sequence[Sequence[Option]]) -> dict[int, Option]:
    """By position, the matches that share no word with another."""
    once = twice = other_once = other_twice = 0
    for here in options:
        for option in here:
            twice |= once & option.bits
            once |= option.bits
            other_twice |= other_once & option.other_bits
            other_once |= option.other_bits
    return {
        position: here[0]
        for position, here in enumerate(options)
        if len(here) == 1 and not here[0].bits & twice and not here[0].other_bits & other_twice
    }


def _take_fixed(path: Path, option: Option) -> Path:
    """The path with a match that shares no word with another."""
    cost, _, open_end, used, other_used, chosen = path
    cost += option.distance - option.gain
    if open_end not in (-1, option.other):
        cost += CHUNK
    return cost, option.end, option.other_end, used, other_used, (option.match, chosen)


def _extend(path: Path, options: Iterable[Option], following: list[Path]) -> None:
    """Append the path with each of the optional matches that are free, then without any."""
    cost, end, open_end, used, other_used, chosen = path
    for match, bits, other_bits, gain, new_end, other, other_end, distance in options:
        if used & bits or other_used & other_bits:
            continue
        taken = cost - gain
        if open_end not in (-1, other):
            taken += CHUNK
        following.append(
            (taken, new_end, other_end, used | bits, other_used | other_bits, (match, chosen))
        )
        cost += distance
    if open_end != -1:
        cost += CHUNK
    following.append((cost, end + 1, -1, used, other_used, chosen))
