"""Values that threads, stages and runs share cannot be changed by one of them."""

import dataclasses
import importlib
import pkgutil

import pytest

PACKAGES = ("caption.data", "caption.decoding", "caption.models", "caption.training")
CHANGED = {"Progress"}  # where a training stands


@pytest.mark.parametrize("name", PACKAGES)
def test_fields_are_set_once(name: str) -> None:
    package = importlib.import_module(name)
    paths = pkgutil.walk_packages(package.__path__, f"{name}.")
    modules = [package, *(importlib.import_module(path.name) for path in paths)]
    kinds = {
        kind
        for module in modules
        for kind in vars(module).values()
        if isinstance(kind, type)
        and dataclasses.is_dataclass(kind)
        and kind.__module__ == module.__name__
    }
    assert kinds
    for kind in kinds:
        value = object.__new__(kind)
        if kind.__name__ in CHANGED:
            value.step = 1
            continue
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, dataclasses.fields(kind)[0].name, None)
