"""Options and results are records that nobody changes after they are made; eval has its own."""

import dataclasses
import importlib
import pkgutil

import pytest

import caption
import prepro

CHANGING = {"Progress", "StopRequest", "Job", "Report", "TrainingState", "Curves"}
"""what is counted or collected; `Job` of prepro.extraction.pipeline"""
OF_TENSORS = {
    "caption.conversion.checkpoint", "caption.decoding.decode", "caption.reporting.captions",
    "caption.training.ngrams", "caption.training.reward", "caption.training.scst",
}  # fmt: skip


def records() -> list[type]:
    """The dataclasses of both packages, but for modules whose extra is not installed."""
    found = []
    for package in (caption, prepro):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            try:
                names = vars(importlib.import_module(module.name)).values()
            except ModuleNotFoundError:
                continue
            found += [
                kind
                for kind in names
                if isinstance(kind, type) and dataclasses.is_dataclass(kind)
                if kind.__module__ == module.name
            ]
    return found


def test_a_record_stays_as_it_was_made():
    kinds = [kind for kind in records() if dataclasses.fields(kind)]
    assert len(kinds) > 50
    for kind in kinds:
        record, (first, *_) = object.__new__(kind), dataclasses.fields(kind)
        if kind.__name__ in CHANGING and kind.__module__ != "caption.generate":
            continue
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(record, first.name, None)


def test_records_of_tensors_are_told_apart_by_identity():
    """Two tensors are not simply equal or unequal, and have no hash of their values."""
    kinds = [kind for kind in records() if kind.__module__ in OF_TENSORS]
    assert {kind.__module__ for kind in kinds} == OF_TENSORS
    for kind in kinds:
        assert len({object.__new__(kind), object.__new__(kind)}) == 2
