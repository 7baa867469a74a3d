"""`shards/{00000..00999}.tar` to the names it stands for, as a shell expands it.

In: a pattern in quotes. Out: names in order. Numbers keep their width; {a,b} is a list.
"""

import itertools
import re
from collections.abc import Iterator

GROUP = re.compile(r"\{(\d+\.\.\d+|[^{}]*,[^{}]*)\}")
MOST = 1_000_000  # names of a pattern


def expand_braces(pattern: str) -> Iterator[str]:
    """ValueError for more than a million names."""
    parts = GROUP.split(pattern)
    groups = [_group(text) for text in parts[1::2]]
    count = 1
    for group in groups:
        count *= len(group)
    if count > MOST:
        raise ValueError(f"{pattern}: {count:,} names, more than {MOST:,}")
    for chosen in itertools.product(*map(_texts, parts[1::2], groups)):
        yield "".join(
            text + own for text, own in itertools.zip_longest(parts[::2], chosen, fillvalue="")
        )


def _group(text: str) -> range | list[str]:
    first, dots, last = text.partition("..")
    if not dots or "," in text:
        return text.split(",")
    if max(len(first), len(last)) > 18:
        raise ValueError(f"{{{text}}}: numbers of more than 18 digits")
    start, end = int(first), int(last)
    return range(start, end + 1) if start <= end else range(start, end - 1, -1)


def _texts(text: str, group: range | list[str]) -> list[str]:
    if isinstance(group, list):
        return group
    ends = text.split("..")
    padded = any(len(end) > 1 and end[0] == "0" for end in ends)
    width = max(map(len, ends)) if padded else 0
    return [f"{number:0{width}}" for number in group]
