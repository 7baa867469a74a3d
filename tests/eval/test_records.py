"""Options and results of eval are records that nobody changes after they are made."""

import dataclasses
import importlib
import pkgutil

import pytest

import eval


def records() -> list[type]:
    """The dataclasses of the package."""
    names = [found.name for found in pkgutil.walk_packages(eval.__path__, "eval.")]
    modules = [importlib.import_module(name) for name in names if "__main__" not in name]
    return [
        kind
        for module in modules
        for kind in vars(module).values()
        if isinstance(kind, type)
        if dataclasses.is_dataclass(kind) and kind.__module__ == module.__name__
    ]


@pytest.mark.parametrize("kind", records(), ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_a_record_stays_as_it_was_made(kind):
    record = object.__new__(kind)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(record, dataclasses.fields(kind)[0].name, None)
