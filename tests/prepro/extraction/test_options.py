"""The flags of prepro.features: what is accepted, and what a plain run does."""

import os
import runpy

import pytest

from eval import command
from prepro.extraction import options as options_module
from prepro.extraction.options import Options


def test_options_as_they_are_typed():
    """A plain run merges, copies and stops at nothing."""
    found = command.parse(Options, ["--regions", "8"])
    assert found == Options(regions=8)
    assert not (found.merge or found.copy or found.strict)
    plain = command.parse(Options, [])
    assert (plain.regions, plain.batch_size) == (7, 16)


@pytest.mark.parametrize(("processors", "workers"), [(None, 1), (1, 1), (2, 1), (9, 4), (64, 32)])
def test_half_of_the_processors_decode(monkeypatch, processors, workers):
    monkeypatch.setattr(os, "cpu_count", lambda: processors)
    assert runpy.run_path(options_module.__file__)["Options"]().workers == workers
