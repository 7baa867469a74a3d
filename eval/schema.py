"""Check plain values that come from a file, such as JSON, against a schema.

    SIZES = mapping({"hidden": integer(1, 16_384), "dropout": number(0, 1)})
    SIZES(value, "runs/a/model.safetensors: shape")

In: a value, and words for where it is. Out: nothing, or a ValueError that says where the value is
and what is expected there. A schema is a function, built by the functions below.
"""

import math
from collections.abc import Callable, Collection, Mapping

Schema = Callable[[object, str], None]

SHOWN = 60  # characters of a wrong value in a message


def integer(low: int, high: int) -> Schema:
    """A whole number from `low` to `high`; True and False are none."""

    def check(value: object, where: str) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            _fail(value, where, f"a whole number from {low:,} to {high:,}")

    return check


def number(low: float, high: float) -> Schema:
    """A finite number from `low` to `high`."""

    def check(value: object, where: str) -> None:
        if isinstance(value, bool) or not isinstance(value, int | float):
            _fail(value, where, "a number")
        if not (low <= value <= high and math.isfinite(value)):  # isfinite(10**400) overflows
            _fail(value, where, f"a number from {low:g} to {high:g}")

    return check


def text(limit: int = 10_000, printable: bool = False) -> Schema:
    """A text of at most `limit` characters; if `printable`, without control characters."""

    def check(value: object, where: str) -> None:
        if not isinstance(value, str) or len(value) > limit:
            _fail(value, where, f"a text of at most {limit:,} characters")
        if printable and not value.isprintable():
            _fail(value, where, "a text without control characters")

    return check


def boolean(value: object, where: str) -> None:
    """True or False."""
    if not isinstance(value, bool):
        _fail(value, where, "true or false")


def anything(value: object, where: str) -> None:
    """Any value."""


def one_of(values: Collection[object]) -> Schema:
    """One of a few values."""

    def check(value: object, where: str) -> None:
        if not isinstance(value, str | int | float) or value not in values:
            _fail(value, where, "one of " + ", ".join(map(str, values)))

    return check


def items(schema: Schema, limit: int) -> Schema:
    """A list of at most `limit` values of `schema`."""

    def check(value: object, where: str) -> None:
        if not isinstance(value, list | tuple) or len(value) > limit:
            _fail(value, where, f"a list of at most {limit:,} values")
        for index, item in enumerate(value):
            schema(item, f"{where}[{index}]")

    return check


def mapping(
    fields: Mapping[str, Schema], optional: Mapping[str, Schema] = {}, more: bool = False
) -> Schema:
    """An object with `fields`, perhaps `optional` ones, and others only if `more`."""
    known = {**fields, **optional}

    def check(value: object, where: str) -> None:
        if not isinstance(value, dict):
            _fail(value, where, "an object")
        for name in fields:
            if name not in value:
                raise ValueError(f"{where}: no {name!r}")
        for name, item in value.items():
            if name in known:
                known[name](item, f"{where}: {name}")
            elif not more:
                raise ValueError(f"{where}: unknown {str(name)[:SHOWN]!r}")

    return check


def _fail(value: object, where: str, expected: str) -> None:
    shown = repr(value)
    shown = shown if len(shown) <= SHOWN else shown[:SHOWN] + "..."
    raise ValueError(f"{where}: {shown}, expected {expected}")
