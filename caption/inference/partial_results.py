"""Results of a command that can be killed and continued.

In: batches of results, from one process or several. Out: a hidden file a process beside the final
file, one JSON line a batch. The same command, started again, finds the batches that are done; torn
lines and lines of a command with other options are ignored. `join` returns all batches in order.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import AbstractContextManager
from glob import escape
from pathlib import Path

from prepro.runtime.run_folder import hold_lock


class PartialResults:
    def __init__(self, out: Path, settings: object, rank: int = 0) -> None:
        """`settings` are JSON values; only results with equal settings are continued."""
        text = json.dumps(settings, sort_keys=True, default=str)
        self.key = hashlib.sha256(text.encode()).hexdigest()
        self.out, self.own_file = out, out.with_name(f".{out.name}.{rank}.part")
        out.parent.mkdir(parents=True, exist_ok=True)

    def lock(self) -> AbstractContextManager[None]:
        """While it is held, another command that writes the same results raises RuntimeError."""
        message = (
            f"{self.out}: another caption.generate is writing it; wait or choose another --out"
        )
        return hold_lock(self.own_file, message)

    def done(self) -> dict[int, list[dict]]:
        """The rows of each batch that any process has finished, by batch number."""
        return {line["batch"]: line["rows"] for line in self._lines()}

    def write(self, number: int, rows: list[dict]) -> None:
        line = json.dumps({"key": self.key, "batch": number, "rows": rows})
        try:
            with open(self.own_file, "a", encoding="utf-8") as file:
                file.write(f"\n{line}\n")  # the first newline ends a line that a kill has torn
        except OSError as error:  # a full disk; the batches before it stay
            raise OSError(error.errno, error.strerror, str(self.own_file)) from None

    def join(self, batches: int) -> list[dict]:
        """All rows in order. RuntimeError if a batch is missing."""
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
