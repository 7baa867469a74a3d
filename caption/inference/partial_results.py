"""Results that outlive a kill: batches that are done, kept beside the file that they will become.

In: batches, from one process or several. Out: a hidden file a process, one JSON line a batch. A
command that is begun again finds what is done; a torn last line, and lines of a command with other
options, count for nothing. `join` has all batches in order.
"""

import hashlib
import json
from collections.abc import Iterator
from glob import escape
from pathlib import Path


class PartialResults:
    def __init__(self, out: Path, what: object, rank: int = 0) -> None:
        """`what`: JSON values; equal ones mean that the same command goes on."""
        text = json.dumps(what, sort_keys=True, default=str)
        self.key = hashlib.sha256(text.encode()).hexdigest()
        self.out, self.mine = out, out.with_name(f".{out.name}.{rank}.part")
        out.parent.mkdir(parents=True, exist_ok=True)

    def done(self) -> dict[int, list[dict]]:
        """The rows of each batch that any process has finished, by number."""
        return {line["batch"]: line["rows"] for line in self._lines()}

    def write(self, number: int, rows: list[dict]) -> None:
        line = json.dumps({"key": self.key, "batch": number, "rows": rows})
        with open(self.mine, "a", encoding="utf-8") as file:
            file.write(f"\n{line}\n")  # the first newline ends what a kill may have left

    def join(self, batches: int) -> list[dict]:
        """All rows in order. RuntimeError when a batch is missing."""
        done = self.done()
        missing = [number for number in range(batches) if number not in done]
        if missing:
            raise RuntimeError(f"{self.out}: {len(missing)} of {batches} batches are missing")
        return [row for number in range(batches) for row in done[number]]

    def remove(self) -> None:
        for path in self._files():
            path.unlink(missing_ok=True)

    def _files(self) -> list[Path]:
        return sorted(self.out.parent.glob(f".{escape(self.out.name)}.*.part"))

    def _lines(self) -> Iterator[dict]:
        for path in self._files():
            for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
                try:
                    line = json.loads(text)
                except ValueError:
                    continue
                if line.get("key") == self.key:
                    yield line
