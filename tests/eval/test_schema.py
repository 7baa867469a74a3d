"""Schemas: bounds and kinds of plain values, with the place in the message."""

import pytest

from eval.schema import boolean, integer, items, mapping, number, one_of, text

NAN, INFINITY = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        (integer(1, 3), (1, 3), (0, 4, True, 1.0, "1", None, 10**400)),
        (number(-1, 1), (-1, 1, 0.5), (NAN, INFINITY, -INFINITY, 1.001, True, "0", 10**400)),
        (number(-INFINITY, INFINITY), (0, -1e308), (NAN, INFINITY, -INFINITY)),
        (text(3), ("", "abc", "\n"), ("abcd", 5, b"a", None)),
        (text(3, printable=True), ("", "abc"), ("\n", "\x1b")),
        (boolean, (True, False), (0, 1, None)),
        (one_of(("a", "b")), ("a", "b"), ("c", [], {}, None)),
        (items(integer(0, 1), 2), ([], [0, 1], (1,)), ([2], [0, 0, 0], "01", {0: 1})),
        (mapping({"a": boolean}), ({"a": True},), ({}, {"a": 1}, {"a": True, "b": 1}, [], None)),
        (mapping({}, {"a": boolean}, more=True), ({}, {"b": 1}), ({"a": 1},)),
    ],
)
def test_what_passes_and_what_does_not(schema, good, bad):
    for value in good:
        schema(value, "there")
    for value in bad:
        with pytest.raises(ValueError, match="there"):
            schema(value, "there")
