"""A quick part of `make attack`: a few cases of each area."""

import itertools

import pytest

from tests.faults.attack import AREAS, cases

CASES = 25
PROCESSES = ("kills", "full_disks", "ranks")  # areas that start processes


@pytest.mark.parametrize("area", [area for area in AREAS if area not in PROCESSES])
def test_hostile_input_costs_a_line(area, tmp_path):
    if area == "requests":
        pytest.importorskip("starlette")
    for text, fault in itertools.islice(cases(area, 0, tmp_path), CASES):
        assert fault is None, f"{text}\n{fault}"


@pytest.mark.slow
@pytest.mark.parametrize("area", PROCESSES)
def test_disturbed_commands_end_as_undisturbed_ones(area, tmp_path):
    for text, fault in itertools.islice(cases(area, 0, tmp_path), 3):
        assert fault is None, f"{text}\n{fault}"
