"""METEOR's alignment of a candidate with a reference: a beam search over the possible matches.

In: the possible matches of `Matcher`. Out: those of the best alignment.

The best alignment covers the most words, then has the fewest chunks, then the shortest distances.
As in METEOR 1.5, a match that is not exact counts half its words, rounded down, and the distance
of an optional match is counted on the path without it: any other rule gives other scores.
"""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from operator import itemgetter
from typing import NamedTuple

from eval.metrics.meteor.lexicon import EXACT
from eval.metrics.meteor.matcher import Match

BEAM = 40
WORDS, CHUNK = 1 << 40, 1 << 20  # a path's cost is one number: words, chunks, distance


class Path(NamedTuple):
    """A partial alignment."""

    cost: int  # the least is the best
    end: int  # in the reference, of the last match or skipped word
    other_end: int  # in the candidate, of the open chunk; -1 when there is none
    used: int  # bits: words of the reference that have a match
    other_used: int  # bits: words of the candidate
    chosen: tuple | None  # (the last match, all before it)


def best(matches: Sequence[Sequence[Match]]) -> list[Match]:
    """The matches of the best alignment, from left to right in the reference."""
    fixed = _fixed(matches)
    used, other_used = _bits(fixed.values())
    paths = [Path(0, 0, -1, used, other_used, None)]
    options = [[(match, *_bits([match])) for match in here] for here in matches]
    for position, here in enumerate(options):
        if len(paths) > 1:
            paths.sort(key=itemgetter(0))
        following: list[Path] = []
        for path in paths[:BEAM]:
            if not path.used >> position & 1:
                _extend(path, here, following)
            elif position < path.end:  # inside a match
                following.append(path)
            else:
                cost, end, other_end = _take(path.cost, path.other_end, fixed[position])
                cost += _distance(fixed[position])
                chosen = (fixed[position], path.chosen)
                following.append(Path(cost, end, other_end, path.used, path.other_used, chosen))
        paths = following
    paths.sort(key=itemgetter(0))
    closed = [path._replace(cost=path.cost + CHUNK * (path.other_end != -1)) for path in paths]
    chosen, found = min(closed[:BEAM], key=itemgetter(0)).chosen, []
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


def _fixed(matches: Sequence[Sequence[Match]]) -> dict[int, Match]:
    """By position, the matches that share no word with another."""
    covered: Counter[int] = Counter()
    other_covered: Counter[int] = Counter()
    for here in matches:
        for match in here:
            covered.update(range(match.start, match.start + match.length))
            other_covered.update(range(match.other, match.other + match.other_length))
    return {
        here[0].start: here[0]
        for here in matches
        if len(here) == 1
        and all(covered[here[0].start + i] == 1 for i in range(here[0].length))
        and all(other_covered[here[0].other + i] == 1 for i in range(here[0].other_length))
    }


def _extend(path: Path, options: Sequence[tuple[Match, int, int]], following: list[Path]) -> None:
    """Append the path with each of the optional matches that are free, then without any."""
    cost = path.cost
    for match, bits, other_bits in options:
        if path.used & bits or path.other_used & other_bits:
            continue
        taken, end, other_end = _take(cost, path.other_end, match)
        used, other_used = path.used | bits, path.other_used | other_bits
        following.append(Path(taken, end, other_end, used, other_used, (match, path.chosen)))
        cost += _distance(match)
    cost += CHUNK * (path.other_end != -1)
    following.append(Path(cost, path.end + 1, -1, path.used, path.other_used, path.chosen))


def _take(cost: int, open_end: int, match: Match) -> tuple[int, int, int]:
    """Cost and ends of a path once the match is on it; its open chunk ends at `open_end`."""
    if match.stage == EXACT:
        words = match.length + match.other_length
    else:
        words = match.length // 2 + match.other_length // 2
    new_chunk = open_end not in (-1, match.other)
    cost += CHUNK * new_chunk - WORDS * words
    return cost, match.start + match.length, match.other + match.other_length


def _distance(match: Match) -> int:
    return abs(match.start - match.other)


def _bits(matches) -> tuple[int, int]:
    """The words that the matches cover, as bits: of the reference, of the candidate."""
    used = other_used = 0
    for match in matches:
        used |= (1 << match.length) - 1 << match.start
        other_used |= (1 << match.other_length) - 1 << match.other
    return used, other_used
