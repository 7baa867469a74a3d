"""Options and results are records that nobody changes after they are made."""

import dataclasses
import importlib
import pkgutil
from collections.abc import Iterator

import pytest

import caption
import eval
import prepro

CHANGING = {"Progress", "StopRequest", "Job", "Report", "TrainingState", "Curves"}
"""what is counted or collected; `Job` of prepro.extraction.pipeline"""


def records() -> Iterator[type]:
    """The dataclasses of the packages, but for modules whose extra is not installed."""
    for package in (caption, eval, prepro):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            try:
                values = vars(importlib.import_module(found.name)).values()
            except ModuleNotFoundError:
                continue
            for value in values:
                is_own = isinstance(value, type) and value.__module__ == found.name
                if is_own and dataclasses.is_dataclass(value) and dataclasses.fields(value):
                    yield value


def test_a_record_stays_as_it_was_made():
    kinds = [
        kind
        for kind in records()
        if kind.__name__ not in CHANGING or kind.__module__ == "caption.generate"
    ]
    assert len(kinds) > 50
    for kind in kinds:
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(object.__new__(kind), dataclasses.fields(kind)[0].name, None)
