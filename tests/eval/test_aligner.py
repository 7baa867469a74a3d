"""eval.metrics.meteor.aligner against an exhaustive search."""

import random

import pytest

from eval.metrics.meteor import aligner
from eval.metrics.meteor.aligner import best, chunks
from eval.metrics.meteor.lexicon import EXACT, PARAPHRASE
from eval.metrics.meteor.matcher import Match


def covered(match: Match) -> set[tuple[str, int]]:
    """Its words in both sentences."""
    start, length, other, other_length, _ = match
    reference = {("reference", i) for i in range(start, start + length)}
    return reference | {("candidate", i) for i in range(other, other + other_length)}


def gain(match: Match) -> int:
    if match.stage == EXACT:
        return match.length + match.other_length
    return match.length // 2 + match.other_length // 2


def runs(matches: list[Match]) -> int:
    """Matches that do not go on where the one before ended, in both sentences."""
    ends = [(m.start + m.length, m.other + m.other_length) for m in matches]
    following = [(m.start, m.other) for m in matches]
    return sum(end != begin for end, begin in zip([None, *ends], following, strict=False))


def every_alignment(matches: list[list[Match]]):
    """Yields ((-words, chunks, distance), alignment) of each; distances as METEOR counts them."""
    flat = [match for here in matches for match in here]

    def is_fixed(match):
        return not any(covered(match) & covered(m) for m in flat if m is not match)

    def go(position, used, taken, distance):
        if position == len(matches):
            yield (-sum(map(gain, taken)), runs(taken), distance), taken
            return
        here = [] if ("reference", position) in used else matches[position]
        for match in here:
            if not covered(match) & used:
                more, off = [*taken, match], abs(match.start - match.other)
                now = distance + off if is_fixed(match) else distance
                yield from go(position + 1, used | covered(match), more, now)
                distance += off
                if is_fixed(match):
                    return
        yield from go(position + 1, used, taken, distance)

    return go(0, set(), [], 0)


def some_matches(rng: random.Random) -> list[list[Match]]:
    words, others = rng.randint(1, 5), rng.randint(1, 6)
    found = []
    for start in range(words):
        here = []
        for _ in range(rng.choice((0, 1, 1, 2))):
            other, stage = rng.randrange(others), rng.choice((EXACT, EXACT, PARAPHRASE))
            most, other_most = min(3, words - start), min(3, others - other)
            lengths = (
                (1, 1) if stage == EXACT else (rng.randint(1, most), rng.randint(1, other_most))
            )
            here.append(Match(start, lengths[0], other, lengths[1], stage))
        found.append(sorted(dict.fromkeys(here)))
    return found


def test_the_best_alignment_is_that_of_all(monkeypatch):
    """Most words, then fewest chunks, then the least distance; the beam wide enough for all."""
    monkeypatch.setattr(aligner, "BEAM", 10_000)
    rng = random.Random(0)
    for _ in range(1500):
        matches = some_matches(rng)
        costs = list(every_alignment(matches))
        found = best(matches)
        assert min(cost for cost, taken in costs if taken == found) == min(costs)[0], matches
        assert chunks(found) == runs(found)


def test_a_narrow_beam_keeps_the_cheapest_paths(monkeypatch):
    monkeypatch.setattr(aligner, "BEAM", 1)
    matches = [[Match(i, 1, j, 1, EXACT) for j in range(3)] for i in range(3)]
    assert [match.other for match in best(matches)] == [0, 1, 2]
    cheap, good = Match(0, 1, 0, 1, PARAPHRASE), Match(0, 1, 1, 1, EXACT)
    after = Match(1, 1, 2, 1, EXACT)
    assert best([[cheap, good]]) == [good] and best([[cheap, good], [after]]) == [good, after]


@pytest.mark.parametrize(
    ("spans", "number"),
    [
        ([], 0),
        ([(0, 1, 0, 1)], 1),
        ([(0, 2, 3, 1), (2, 1, 4, 1)], 1),  # by the lengths of both sides
        ([(0, 2, 3, 1), (2, 1, 5, 1)], 2),
        ([(0, 2, 3, 1), (3, 1, 4, 1)], 2),
        ([(0, 1, 1, 1), (1, 1, 0, 1), (2, 1, 1, 1)], 2),
    ],
)
def test_chunks_are_adjacent_in_both_sentences(spans, number):
    assert chunks([Match(*span, EXACT) for span in spans]) == number
