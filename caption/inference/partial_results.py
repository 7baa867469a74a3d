"""Results of a command that can be killed and continued.

In: batches of results, from one process or several. Out: a hidden file a process beside the final
file, one JSON line a batch. The same command, started again, finds the batches that are done; torn
lines and lines of a command with other options are ignored. `join` returns all batches in order.
"""

import contextlib
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
        self._finished: set[int] = set()
        self._read: dict[Path, int] = {}  # bytes of each file that `finished` has read
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

    def finished(self) -> set[int]:
        """Numbers of the batches that any process has finished; it reads only what is new."""
        for path in {*self._files(), *self._read}:
            with contextlib.suppress(FileNotFoundError), open(path, "rb") as file:
                file.seek(self._read.setdefault(path, 0))
                whole, newline, _ = file.read().rpartition(b"\n")
                self._read[path] += len(whole + newline)
                lines = map(self._parse, whole.decode(errors="replace").splitlines())
                self._finished |= {line["batch"] for line in lines if line}
        return self._finished

    def is_joined(self) -> bool:
        """Whether another process has joined the results, after which it removes these files."""
        return not all(path.exists() for path in (self.own_file, *self._read))

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
                if line := self._parse(text):
                    yield line

    def _parse(self, text: str) -> dict | None:
        """A line of results; None for a torn line and for one of other options."""
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):
            return None
        return line if isinstance(line, dict) and line.get("key") == self.key else None
