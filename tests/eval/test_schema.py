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


@pytest.mark.parametrize(
    ("schema", "value", "message"),
    [
        (integer(1, 2000), 0, "there: 0, expected a whole number from 1 to 2,000"),
        (number(0, 0.5), 2, "there: 2, expected a number from 0 to 0.5"),
        (text(1), "ab", "there: 'ab', expected a text of at most 1 characters"),
        (items(boolean, 9), [True, 0], "there[1]: 0, expected true or false"),
        (mapping({"a": boolean}), {"a": 0}, "there: a: 0, expected true or false"),
        (mapping({"a": boolean}), {}, "there: no 'a'"),
        (mapping({}), {"b" * 99: 0}, f"there: unknown {'b' * 60!r}"),
        (one_of((1, "b")), "c", "there: 'c', expected one of 1, b"),
        (boolean, "a" * 58, f"there: {'a' * 58!r}, expected true or false"),
        (boolean, "a" * 59, f"there: '{'a' * 59}..., expected true or false"),
    ],
)
def test_messages_say_where_and_what_is_expected(schema, value, message):
    with pytest.raises(ValueError) as error:
        schema(value, "there")
    assert str(error.value) == message


def test_fields_may_be_left_out_only_where_they_are_optional():
    schema = mapping({"a": boolean}, {"b": boolean})
    schema({"a": True}, "there")
    schema({"b": False, "a": True}, "there")
    for wrong in ({"b": True}, {"a": True, "b": 1}, {"a": True, "c": 1}):
        with pytest.raises(ValueError, match="there"):
            schema(wrong, "there")


def test_texts_are_of_any_kind_unless_they_must_be_printable():
    text()("a" * 10_000, "there")
    text()("\x00", "there")
    with pytest.raises(ValueError, match="without control characters"):
        text(printable=True)("\x00", "there")
