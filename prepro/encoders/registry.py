"""The table of encoders: names to EncoderSpecs, collected from prepro/encoders/families/.

A name can carry options: "resnet10-w32" (width 32), "resnet34-A" (shortcut A), "resnet50-1x1"
(stride on the first 1x1), "resnet18-small" or "resnet18-cifar" (another stem), "resnet101-s16"
(feature maps of 1/16 of the input's size: later stages dilate instead of striding).
"""

import difflib
import importlib
import pkgutil
import re
from dataclasses import replace
from functools import cache

from prepro.encoders import families
from prepro.encoders.spec import EncoderSpec


@cache
def encoder_table() -> dict[str, EncoderSpec]:
    """Every row by name, family by family in the order of their file names. Imports torch."""
    names = sorted(module.name for module in pkgutil.iter_modules(families.__path__))
    modules = [importlib.import_module(f"{families.__name__}.{name}") for name in names]
    return {spec.name: spec for module in modules for spec in module.ENCODERS}


def find_spec(name: str) -> EncoderSpec:
    """The row of a name, with the options that the name carries.

    Raises ValueError with the nearest names for an unknown one.
    """
    table = encoder_table()
    base, *suffixes = name.split("-")
    spec = table.get(base)
    options = [_option(suffix) for suffix in suffixes]
    if spec is None or None in options:
        near = difflib.get_close_matches(base, table, n=3, cutoff=0.5) or list(table)[:3]
        raise ValueError(
            f"no encoder is called {name!r}; nearest: {', '.join(near)} "
            "(`python -m prepro.encoders` lists them all)"
        )
    given = dict(options)
    fits = given.keys() <= {"stride"}  # the only option that changes no weight
    published = spec.published if fits else None
    return replace(spec, name=name, options={**spec.options, **given}, published=published)


def _option(suffix: str) -> tuple[str, object] | None:
    """The option that a suffix of a name stands for, and its value; None for an unknown one."""
    if re.fullmatch(r"w[1-9]\d{0,3}", suffix):
        return "width", int(suffix[1:])
    if suffix in ("s4", "s8", "s16"):
        return "stride", int(suffix[1:])
    options = {"A": "shortcut", "B": "shortcut", "C": "shortcut", "1x1": "stride_on"}
    options |= {"imagenet": "stem", "cifar": "stem", "small": "stem"}
    return (options[suffix], suffix) if suffix in options else None
