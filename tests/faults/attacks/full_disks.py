"""Commands that write while no file can grow beyond a limit: one line, and the next run goes on."""

import random
import re
from pathlib import Path

from tests.faults.attacks.kills import COMMANDS, expected, prepare, run
from tests.faults.attacks.outcome import ALLOWED, Outcome

__all__ = ["attack", "prepare"]
NO_ROOM = re.compile(r"File too large|No space|no room|cannot be written|Errno 27|os error 27")


def attack(rng: random.Random, folder: Path, made: dict) -> tuple[str, Outcome]:
    number = rng.randrange(len(COMMANDS))
    _, whole = expected(made, number, folder)
    room = int(4096 * 100 ** rng.random())
    _, found, (full, last) = run(COMMANDS[number], folder, made["tiny"], room=room)
    status, _, printed = full.partition(" ")
    differs = sorted(name for name in whole if found.get(name) != whole[name])
    text = f"{COMMANDS[number].words[0]} with {room:,} bytes a file: {printed[-300:]!r} {differs}"
    named = status == "0" or NO_ROOM.search(printed)
    good = int(status) in ALLOWED and named and last.startswith("0 ") and not differs
    return text, Outcome(0 if good else 96, "", printed, 0)
