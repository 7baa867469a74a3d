"""A quick part of `make attack`: a few cases of each area."""

import itertools

import pytest

from tests.faults.attack import AREAS, cases

CASES = 25


@pytest.mark.parametrize("area", AREAS)
def test_hostile_input_costs_a_line(area, tmp_path):
    if area == "requests":
        pytest.importorskip("starlette")
    for text, fault in itertools.islice(cases(area, 0, tmp_path), CASES):
        assert fault is None, f"{text}\n{fault}"
