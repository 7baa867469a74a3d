"""metrics.jsonl: one JSON object a line, appended while a network is trained.

A process that is killed while it writes leaves a torn last line, which read_rows skips, as every
line that is no row.
"""

import json
import math
from pathlib import Path

from eval.files import whole_file

FILE_NAME = "metrics.jsonl"


def append_row(run: Path, row: dict) -> None:
    """Append one line. NaN and infinity become null."""
    clean = {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in row.items()
    }
    with open(run / FILE_NAME, "a", encoding="utf-8") as file:
        file.write(json.dumps(clean, ensure_ascii=False) + "\n")


def read_rows(run: Path) -> list[dict]:
    """All rows, without torn lines. FileNotFoundError if there is no file."""
    path = run / FILE_NAME
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; is {run} the folder of a run?")
    return read_file(path)


def read_file(path: Path) -> list[dict]:
    """All rows of a metrics log of any name, without torn lines."""
    rows = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        rows += [row] * _is_row(row)
    return rows


def _is_row(row: object) -> bool:
    """An object of numbers with `epoch`, or of objects of numbers; null is none that is finite."""
    if not isinstance(row, dict) or row.get("epoch") is None or row.get("step", 0) is None:
        return False
    nested = [value.values() if isinstance(value, dict) else [value] for value in row.values()]
    return all(value is None or _is_number(value) for values in nested for value in values)


def _is_number(value: object) -> bool:
    return isinstance(value, float) or (isinstance(value, int) and abs(value) < 1 << 63)


def rewrite_rows(run: Path, rows: list[dict]) -> None:
    """Replace the whole file."""
    with whole_file(run / FILE_NAME) as partial:
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        partial.write_text(text, encoding="utf-8")
