"""The defects of a stream: counted by kind, with the first few named, in constant memory."""

from eval.files import printable
from prepro.annotations.validation import SHOWN, Report


class Defects:
    def __init__(self) -> None:
        self._count: dict[str, int] = {}
        self._first: dict[str, list[str]] = {}

    def add(self, kind: str, entry: str) -> None:
        """Count one; `kind` in the plural, "pictures without a caption"."""
        self._count[kind] = self._count.get(kind, 0) + 1
        first = self._first.setdefault(kind, [])
        if len(first) < SHOWN:
            first.append(printable(entry)[:300])

    def report(self) -> Report:
        """One warning a kind."""
        report = Report()
        for kind, count in self._count.items():
            more = ", ..." if count > SHOWN else ""
            named = ", ".join(self._first[kind])
            report.warnings.append(f"{kind}, which are left out: {count:,} ({named}{more})")
        return report
