"""Hostile values: for JSON, for numbers on a command line, and damage to bytes."""

import random

NUMBERS = (0, -1, 1, 2**31, 2**63, 2**64, 10**30, 1e308, -1e308, 1e-320, 0.5)
TEXTS = (
    "",
    " ",
    "a" * 100_000,
    "../../etc/passwd",
    "\0",
    "\x1b[31m",
    "\udcff",
    "名前",
    "null",
    "\n",
)
ODD = (None, True, False, [], {}, [[]], {"a": 1}, [None], *NUMBERS, *TEXTS)


def hostile(rng: random.Random) -> object:
    return rng.choice(ODD)


def mutate_json(rng: random.Random, value: object, depth: int = 0) -> object:
    """A copy with one value at a random depth replaced, removed or doubled."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        copy, key = dict(value), rng.choice(list(value))
        action = rng.random()
        if action < 0.1:
            del copy[key]
        elif action < 0.15:
            copy[rng.choice(("evil", "__class__", "", "\0"))] = copy[key]
        else:
            copy[key] = mutate_json(rng, copy[key], depth + 1)
        return copy
    if isinstance(value, list) and value and rng.random() < 0.8:
        copy, index = list(value), rng.randrange(len(value))
        if rng.random() < 0.1:
            copy.append(copy[index])
        else:
            copy[index] = mutate_json(rng, copy[index], depth + 1)
        return copy
    return hostile(rng)


def damage(rng: random.Random, data: bytes) -> bytes:
    """Bytes that are cut, flipped, repeated, or overwritten with zeros or noise."""
    if not data:
        return b"\0"
    start = rng.randrange(len(data))
    length = rng.choice((1, 1, 2, 8, 64, 1024))
    kind = rng.randrange(6)
    if kind == 0:
        return data[:start]
    if kind == 1:
        return data[:start] + bytes([data[start] ^ (1 << rng.randrange(8))]) + data[start + 1 :]
    if kind == 2:
        return data[:start] + bytes(length) + data[start + length :]
    if kind == 3:
        return data[:start] + rng.randbytes(length) + data[start + length :]
    if kind == 4:
        return data[:start] + data[start : start + length] * 3 + data[start:]
    return data + rng.randbytes(length)
